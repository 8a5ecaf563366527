"""A job in which every weight learns: all four stages on the tiny model, killed in between, and its files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from support import tiny
from test_worker_stages import MANY, filled, twin, wait_for_step

from reactord.home import Home
from reactord.workdir import STAGES, WorkDir
from reactord.worker import checkpoints
from reactord.worker.gguf_file import GgufFile

pytestmark = pytest.mark.timeout(300)
HYPER = tiny.HYPER.model_copy(update={"lora_rank": 0})


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> WorkDir:
    """A job that ran from prepare to judge without a disturbance."""
    home: Home = filled(tmp_path_factory.mktemp("home"))
    model = tiny.tiny_model(tmp_path_factory.mktemp("model") / "tiny")
    work = tiny.job(home, "full", model, upto=MANY, hyper=HYPER)
    for stage in STAGES:
        assert tiny.run(work, stage) == 0, work.worker_log.read_text()[-3000:]
    return work


def weights(work: WorkDir) -> Path:
    return work.artifacts / "trained" / "model.safetensors"


def base_weights(work: WorkDir) -> dict[str, np.ndarray]:
    base = Home(work.spec().home).base_models / work.outcome("prepare")["base"]
    return load_file(base / "hf" / "model.safetensors")


def test_every_matrix_has_learned_and_is_exported_as_it_was_trained(whole):
    trained = load_file(weights(whole))
    before = base_weights(whole)
    assert set(trained) == set(before)
    assert all(np.any(trained[name] != before[name]) for name in trained if trained[name].ndim > 1)

    exported = GgufFile(whole.artifacts / "f16.gguf").array("token_embd.weight")
    wanted = trained["model.embed_tokens.weight"].astype(np.float16)
    np.testing.assert_array_equal(exported, wanted.astype(np.float32))


def test_there_is_no_adapter_and_the_outcome_says_so(whole):
    said = whole.outcome("train")
    assert (said["method"], list(said["trained_sha256"])) == ("full", ["model.safetensors"])
    assert not list(whole.artifacts.rglob("adapter*"))
    assert [file["name"] for file in whole.outcome("export")["files"]] == ["f16", "Q4_K_M", "Q6_K", "Q8_0"]
    assert all(file["codes_changed"] > 0.01 for file in whole.outcome("export")["files"])
    assert whole.outcome("judge")["verdict"] in {"pass", "worse"}


def test_the_pairs_are_compared_with_what_the_base_said_of_them(whole):
    """Before the first step the model is its own reference: no reward, and the loss of a coin for the pairs."""
    first, last = whole.outcome("train")["curve"][0], whole.outcome("train")["curve"][-1]
    assert last[1] < first[1]
    assert last[2] > 0.5


def test_a_killed_run_ends_in_the_same_bytes(whole):
    """The reference too: the resumed run asks the base, not the half trained model."""
    work = twin(whole, "full-killed", "train")
    process = tiny.start(work, "train")
    wait_for_step(work, process, 4, "checkpoint")
    process.kill()
    process.wait(10)
    # what it was told by the first run must not help the second one
    for path in (work.root / "scratch").rglob("*.arrow"):
        path.unlink()

    assert tiny.run(work, "train") == 0, work.worker_log.read_text()[-3000:]

    assert hashlib.sha256(weights(work).read_bytes()).digest() == hashlib.sha256(weights(whole).read_bytes()).digest()
    assert work.outcome("train")["curve"] == whole.outcome("train")["curve"]


def test_a_checkpoint_holds_every_weight_and_both_moments(whole):
    newest = max(whole.checkpoints.glob("step-*"))
    assert checkpoints.problem(newest) is None
    learned = sum(array.size for array in load_file(newest / "model.safetensors").values())
    assert (newest / "optimizer.pt").stat().st_size > 8 * learned
