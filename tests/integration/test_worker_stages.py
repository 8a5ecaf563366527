"""All four stages on the tiny model, as the daemon runs them: one process each."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import tiny
from support.ledgers import Ledger, chunk

from reactord.home import Home
from reactord.workdir import EXIT_STOPPED, STAGES, WorkDir

pytestmark = pytest.mark.timeout(300)
MANY = 1_000_000
PATIENCE_S = 60.0


def filled(root: Path) -> Home:
    """A home whose ledger holds the tiny day."""
    home = Home(root)
    home.create()
    ledger = Ledger(home)
    ledger.add(chunk(json.dumps(line).encode() for line in tiny.telemetry()))
    ledger.journal.close()
    ledger.index.close()
    return home


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny.tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    return filled(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def whole(home, model) -> WorkDir:
    """A job that ran from prepare to judge without a disturbance."""
    work = tiny.job(home, "whole", model, upto=MANY)
    for stage in STAGES:
        assert tiny.run(work, stage) == 0, work.worker_log.read_text()[-3000:]
    return work


def twin(whole: WorkDir, name: str, upto_stage: str) -> WorkDir:
    """A copy of the job as it was before `upto_stage`."""
    work = WorkDir(whole.root.with_name(name))
    shutil.copytree(whole.root, work.root, symlinks=True)
    for stage in STAGES[STAGES.index(upto_stage) :]:
        work.outcome_path(stage).unlink()
    if upto_stage == "train":
        shutil.rmtree(work.checkpoints)
        shutil.rmtree(work.artifacts)
        work.create(work.spec())
    work.progress_path.unlink()
    return work


def wait_for_step(work: WorkDir, process: subprocess.Popen[bytes], step: int, kind: str = "step") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not any(p["kind"] == kind and p["step"] >= step for p in work.recent_progress() if p["kind"] == kind):
        assert process.poll() is None, work.worker_log.read_text()[-3000:]
        assert time.monotonic() < deadline, f"step {step} was not reached in {PATIENCE_S} s"
        time.sleep(0.01)


def adapter_sha256(work: WorkDir) -> str:
    return hashlib.sha256((work.artifacts / "trained" / "adapter_model.safetensors").read_bytes()).hexdigest()


def test_every_stage_says_what_it_found(whole):
    prepared, trained, exported, judged = (whole.outcome(stage) for stage in STAGES)
    assert prepared["counts"]["train"] == 40
    assert prepared["counts"]["holdout"] == 8
    assert (whole.dataset / "manifest.json").exists()
    assert trained["steps"] == tiny.HYPER.max_steps == len(trained["curve"])
    tokens = trained["tokens"]
    assert tokens["seen"] == tokens["trained"] + tokens["masked"] + tokens["truncated"] > 0
    assert [file["name"] for file in exported["files"]] == ["adapter", "f16", "Q4_K_M", "Q6_K", "Q8_0"]
    assert all(file["codes_changed"] > 0.01 for file in exported["files"] if file["name"] != "adapter")
    assert (whole.artifacts / judged["chosen"]).exists()
    assert judged["verdict"] in {"pass", "worse"}


def test_a_wrong_terse_answer_is_never_preferred(whole):
    """The tiny model learns to be brief within eight steps, and forgets the capitals: shorter, and refused for it."""
    judged = whole.outcome("judge")
    assert judged["candidate"]["preference_accuracy"] == 1.0
    assert judged["candidate"]["median_reply_tokens_simple"] < judged["base"]["median_reply_tokens_simple"] / 2
    assert judged["verdict"] == "worse"
    assert any("shorter but wrong" in reason or "perplexity" in reason for reason in judged["reasons"])


def test_the_judgement_shows_each_prompt_with_both_replies(whole):
    judgement = json.loads(whole.judgement_path.read_bytes())
    assert len(judgement["answers"]) == judgement["candidate"]["prompts"] == 8
    assert {"prompt", "expected", "before", "after", "right_before", "right_after"} <= judgement["answers"][0].keys()
    assert judgement["token_parity"]["leading_begin_tokens"] == 1
    assert judgement["rungs"][0]["name"] == "Q4_K_M"


def test_progress_is_told_line_by_line(whole):
    lines = [json.loads(line) for line in whole.progress_path.read_bytes().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    assert [line["step"] for line in steps] == list(range(1, tiny.HYPER.max_steps + 1))
    assert all(line["loss"] > 0 and 0 <= line["reward_accuracy"] <= 1 and line["rss_mb"] > 50 for line in steps)
    assert steps[-1]["eta_s"] == 0
    assert [line["step"] for line in lines if line["kind"] == "checkpoint"] == [2, 4, 6, 8]
    imported = [line["done"] for line in lines if line["stage"] == "prepare" and line["kind"] == "work"]
    assert imported == sorted(imported)
    assert len(list(whole.checkpoints.glob("step-*"))) == tiny.HYPER.keep_checkpoints


def test_a_stage_that_is_done_is_not_done_again(whole):
    before = whole.progress_path.stat().st_size
    assert [tiny.run(whole, stage) for stage in STAGES] == [0, 0, 0, 0]
    assert whole.progress_path.stat().st_size == before


def test_a_run_that_was_killed_stopped_and_damaged_ends_in_the_same_bytes(whole):
    """kill -9, then SIGTERM, then a truncated newest checkpoint: the adapter is that of the undisturbed run."""
    work = twin(whole, "disturbed", "train")
    process = tiny.start(work, "train")
    wait_for_step(work, process, 2, "checkpoint")
    process.kill()
    process.wait(10)

    process = tiny.start(work, "train")
    wait_for_step(work, process, 5)
    process.terminate()
    assert process.wait(10) == EXIT_STOPPED
    newest = max(work.checkpoints.glob("step-*"))
    assert int(newest.name[-6:]) >= 5, "the last full step is checkpointed, whatever the interval says"
    assert work.outcome("train") is None

    victim = newest / "optimizer.pt"
    victim.write_bytes(victim.read_bytes()[:-100])
    assert tiny.run(work, "train") == 0, work.worker_log.read_text()[-3000:]
    assert list(work.checkpoints.glob(f"damaged-{newest.name}-*"))
    assert adapter_sha256(work) == adapter_sha256(whole)
    curve = [entry[:2] for entry in work.outcome("train")["curve"]]
    assert curve == [entry[:2] for entry in whole.outcome("train")["curve"]]


def test_a_cold_start_with_another_seed_is_another_run(whole, model, home):
    work = tiny.job(home, "other-seed", model, upto=MANY, seed=8)
    shutil.copy(whole.outcome_path("prepare"), work.outcome_path("prepare"))
    work.dataset.symlink_to(whole.dataset.readlink())
    assert tiny.run(work, "train") == 0
    assert adapter_sha256(work) != adapter_sha256(whole)


@pytest.mark.parametrize("stage", ["prepare", "export", "judge"])
def test_sigterm_ends_every_other_stage_at_once_and_the_next_run_finishes_it(whole, stage):
    work = twin(whole, f"stopped-{stage}", stage)
    work.worker_path.unlink()
    # the tiny model is prepared within milliseconds of its first progress: that one is stopped before
    under_way = work.worker_path if stage == "prepare" else work.progress_path
    process = tiny.start(work, stage)
    deadline = time.monotonic() + PATIENCE_S
    while not under_way.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert process.wait(10) == EXIT_STOPPED
    assert time.monotonic() - began < 1.0
    assert work.outcome(stage) is None
    assert tiny.run(work, stage) == 0
    before, after = whole.outcome(stage), work.outcome(stage)
    same = {"prepare": "dataset", "export": "gguf_version", "judge": "reasons"}[stage]
    assert after[same] == before[same]


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_without_the_dataset_before_a_job_goes_on_alone_and_says_so(whole, home, model, damage):
    parent = "0" * 64
    if damage == "changed":
        (home.datasets / parent).mkdir()
        shutil.copy(whole.dataset / "manifest.json", home.datasets / parent)
    work = tiny.job(home, f"parent-{damage}", model, upto=MANY, parent_dataset=parent)
    assert tiny.run(work, "prepare") == 0, work.worker_log.read_text()[-3000:]
    assert json.loads((work.dataset / "manifest.json").read_bytes())["parents"] == []
    assert any("training without it" in line.get("text", "") for line in work.recent_progress())


def test_a_fine_tune_that_changed_nothing_is_called_erased(whole):
    work = twin(whole, "erased", "export")
    zero_adapter(work)
    assert tiny.run(work, "export") == 0
    assert all(file["codes_changed"] == 0 for file in work.outcome("export")["files"] if file["name"] != "adapter")
    assert tiny.run(work, "judge") == 0
    judged = work.outcome("judge")
    assert judged["verdict"] == "worse"
    assert any("erased" in reason for reason in judged["reasons"])
    rungs = json.loads(work.judgement_path.read_bytes())["rungs"]
    assert all("erased" in rung["reasons"][0] for rung in rungs)


def test_a_candidate_that_babbles_is_refused(whole):
    work = twin(whole, "babbling", "export")
    zero_adapter(work, scale=40.0)
    assert tiny.run(work, "export") == 0
    assert tiny.run(work, "judge") == 0
    judged = work.outcome("judge")
    assert judged["verdict"] == "worse"
    assert any("loop" in reason for reason in judged["reasons"]), judged["reasons"]


def zero_adapter(work: WorkDir, scale: float = 0.0) -> None:
    """Multiply what the adapter learned."""
    from safetensors.numpy import load_file, save_file

    path = work.artifacts / "trained" / "adapter_model.safetensors"
    halves = {name: a * scale if "lora_B" in name else a for name, a in load_file(path).items()}
    save_file(halves, path, metadata={"format": "pt"})


def test_a_missing_base_is_an_outcome_with_the_way_out_and_can_be_mended(tmp_path, model):
    home = filled(tmp_path / "home")
    where = tmp_path / "later"
    work = tiny.job(home, "early", where, upto=MANY)
    assert tiny.run(work, "prepare") == 1
    assert (work.outcome("prepare")["cause"], work.outcome("prepare")["ok"]) == ("missing_model", False)
    assert "correct base_model" in work.outcome("prepare")["message"]
    shutil.copytree(model, where)
    assert tiny.run(work, "prepare") == 0
    assert work.outcome("prepare")["ok"] is True


def test_a_home_without_pairs_says_what_it_saw(tmp_path, whole, model):
    home = Home(tmp_path / "home")
    home.create()
    ledger = Ledger(home)
    ledger.add(chunk(json.dumps(line).encode() for line in list(tiny.telemetry())[:1]))
    ledger.journal.close()
    ledger.index.close()
    base = whole.outcome("prepare")["base"]
    shutil.copytree(whole.spec().home / "reactor" / "models" / "base" / base, home.base_models / base)
    work = tiny.job(home, "poor", model, upto=MANY)
    assert tiny.run(work, "prepare") == 1
    outcome = work.outcome("prepare")
    assert outcome["cause"] == "no_data"
    assert "1 records" in outcome["message"]
    assert "'alone': 1" in outcome["message"]


def test_sft_learns_from_the_good_answers_alone_and_is_judged_by_them(whole, home, model):
    work = tiny.job(home, "sft", model, upto=MANY, recipe="sft", hyper=tiny.HYPER.model_copy(update={"max_steps": 2}))
    for stage in STAGES:
        assert tiny.run(work, stage) == 0, work.worker_log.read_text()[-3000:]
    trained, judged = work.outcome("train"), work.outcome("judge")
    assert trained["curve"][0][2] is None
    assert trained["tokens"]["trained"] < whole.outcome("train")["tokens"]["trained"]
    assert (judged["candidate"]["pairs"], judged["candidate"]["preference_accuracy"]) == (0, None)
    assert judged["candidate"]["chosen_log_likelihood"] > judged["base"]["chosen_log_likelihood"]
    assert not any("good answers" in reason for reason in judged["reasons"])


def test_the_gguf_files_say_what_the_trained_model_says(whole):
    """transformers + peft against llama.cpp: merged f16, and base f16 with the adapter added at run time."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.parity_check", str(whole.root)]
    done = subprocess.run(command, cwd=tiny.ROOT, capture_output=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["merged_max_difference"] < 0.05
    assert found["adapter_max_difference"] < 0.05
    assert found["base_max_difference"] > 1.0, "the comparison would notice an untrained model"
    assert found["greedy_equal"] == found["greedy"]


def test_a_gguf_file_is_as_good_a_base_as_a_folder(whole, home):
    from reactord.worker.gguf_llama import Weights

    folder = home.base_models / whole.outcome("prepare")["base"]
    work = tiny.job(home, "from-gguf", folder / "base-f16.gguf", upto=MANY)
    assert tiny.run(work, "prepare") == 0, work.worker_log.read_text()[-3000:]
    imported = home.base_models / work.outcome("prepare")["base"]
    assert json.loads((imported / "BASE.json").read_bytes())["kind"] == "gguf"
    before, after = Weights(folder / "hf"), Weights(imported / "hf")
    assert before.names() == after.names()
    worst = max(float(abs(before.get(name) - after.get(name)).max()) for name in before.names())
    assert worst < 1e-3, "only the rounding to f16 lies between them"
