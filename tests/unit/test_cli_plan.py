"""Does `reactord plan` say what the daemon would decide, why, and what it is built on?"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.cli_house import House

from reactord.cli import main
from reactord.cli import plan as verb
from reactord.jobs.correction import first_margin
from reactord.jobs.negotiating import Snapshot
from reactord.jobs.planning import GIB, Work, predicted
from reactord.jobs.scarcity import Scarcity
from reactord.jobspec import Hyper
from reactord.ledger import peaks
from reactord.ledger.peaks import Kind, Peak
from reactord.memory import platform_name
from reactord.prime.memory import Holding

LLAMA = {"num_hidden_layers": 30, "hidden_size": 576, "vocab_size": 49152, "intermediate_size": 1536,
         "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True}  # fmt: skip


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path / "jarvis")
    folder = made.home.base_models / "smollm2" / "hf"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(LLAMA))
    (folder.parent / "BASE.json").write_text("{}")
    yield made
    made.close()


@pytest.fixture
def run(house, capsys, monkeypatch):
    """Run `reactord plan` on a machine with so much memory; (exit status, output)."""

    def go(*arguments, free=60, total=64, **seeing):
        seen = replace(Snapshot(total * GIB, int(free * GIB), others=(("jarvis-body", 2 * GIB),)), **seeing)
        monkeypatch.setattr(verb, "survey", lambda home, now, heard: seen)
        code = main(["plan", *arguments, "--home", str(house.home.root)])
        said = capsys.readouterr()
        return code, said.out + said.err

    return go


def test_it_shows_machine_prediction_decision_and_place(run):
    code, out = run()

    assert code == 0
    for said in ("available", "Prime      is not there", "jarvis-body holds 2.1 GB", "dpo on smollm2", "train",
                 f"{first_margin():.2f}", "for examples of 512 tokens", "decision   starts now",
                 "place      this machine", "not worth the way to a cloud"):  # fmt: skip
        assert said in out, said


def test_it_says_why_a_job_waits_with_the_measured_numbers(run):
    code, out = run(free=1.5)

    assert code == 0
    assert "decision   waits: needs" in out
    assert "1.5 GiB of 64.0 GiB are available" in out


def test_it_says_what_prime_would_lend_and_what_swap_means(run):
    prime = Holding(alive=True, held_bytes=7 * GIB, may_reach_bytes=None, leasable_bytes=6 * GIB)
    _, calm = run(prime=prime, swap_used_bytes=3 * GIB)
    _, short = run(scarcity=Scarcity("macOS warns of memory pressure", severe=False))

    assert "holds 7.5 GB, what it may reach is unknown, could lend 6.4 GB (REACTOR_PRIME_LEASE)" in calm
    assert "3.2 GB lie in swap; nobody waits for memory" in calm
    assert "decision   starts now" in calm
    assert "           memory is short: macOS warns of memory pressure" in short
    assert "decision   waits" in short


def test_a_job_that_can_run_nowhere_is_degraded_and_says_what_to_change(run):
    code, out = run(free=1.9, total=2)

    assert code == 4
    assert "decision   is refused" in out
    assert "it would be offloaded, but no cloud is configured: it can run nowhere" in out
    assert "Choose a smaller base model" in out


def test_what_would_be_offloaded_says_so_and_runs_here(run, monkeypatch):
    monkeypatch.setenv("LOCAL_TRAINING_MAX_SIZE_MB", "100")
    _, out = run()

    assert "above LOCAL_TRAINING_MAX_SIZE_MB (100)" in out
    assert "it would be offloaded, but no cloud is configured: it runs here because it fits" in out


def test_json_is_everything_and_what_was_measured_counts(house, run):
    hf = house.home.base_models / "smollm2" / "hf"
    kind, foretold = Kind(platform_name(), "judge", "smollm2"), predicted(Work("dpo", hf, Hyper()))["judge"]
    for _ in range(3):
        with house.store.transaction():
            peaks.remember(house.store.db, kind, Peak(foretold, 2 * foretold), "j", time.time())

    said = json.loads(run("--json", "--recipe", "sft")[1])

    assert said["schema_version"] == 1
    assert said["work"] == {"recipe": "sft", "base": "smollm2", "longest_tokens": None, "ended": []}
    assert said["factors"]["judge"] == pytest.approx(2.06)
    assert said["decision"]["kind"] == "grant"
    assert said["decision"]["granted_bytes"] == said["plans"][0]["peak_bytes"]
    assert said["placement"]["where"] == "local"
    assert said["machine"]["prime"] == {"alive": False, "held_bytes": None, "may_reach_bytes": None,
                                        "leasable_bytes": None}  # fmt: skip


def test_a_job_is_planned_for_as_far_as_it_is(house, run):
    house.job("job-1", ("admit", "its turn"))
    work = house.home.jobs / "job-1"
    for stage in ("prepare", "train"):
        said = {"ok": True, "base": "smollm2", "longest_example_tokens": 90}
        (work / f"outcome-{stage}.json").write_text(json.dumps(said))

    said = json.loads(run("job-1", "--json")[1])

    assert said["work"]["ended"] == ["prepare", "train"]
    assert [list(plan["stages"]) for plan in said["plans"]] == [["export", "judge"]]


@pytest.mark.parametrize(("arguments", "says"), [(("nobody",), "there is no job nobody"),
                                                 (("--recipe", "ppo"), "choose one of dpo, sft")])  # fmt: skip
def test_what_is_not_there_is_an_error_in_words(run, arguments, says):
    code, out = run(*arguments)

    assert code == 1
    assert says in out


def test_a_home_that_was_never_used_is_planned_for_with_a_guess(tmp_path, capsys):
    assert main(["plan", "--home", str(tmp_path / "new")]) == 0
    assert "a base that was never converted: a guess" in capsys.readouterr().out


# -- what it costs -----------------------------------------------------------------------------------------------------
ROOT = Path(__file__).resolve().parents[2]


def test_it_loads_no_machine_learning_and_nothing_of_the_daemon(tmp_path):
    script = "import sys; from reactord.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script, "plan", "--home", str(tmp_path / "new")], cwd=ROOT,
                          capture_output=True, text=True, timeout=60, check=True)  # fmt: skip
    heavy = {"torch", "transformers", "trl", "peft", "datasets", "llama_cpp", "gguf", "numpy", "asyncio", "aiohttp",
             "transitions", "watchfiles", "cffi", "http.client"}  # fmt: skip

    assert not set(done.stderr.split()) & heavy


def _cpu_s(*arguments):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, timeout=60, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_it_costs_little_more_than_reading_the_settings(tmp_path):
    """Which is most of it: the settings' library takes three quarters. A ratio does not depend on who else works."""
    subprocess.run([sys.executable, "-m", "compileall", "-q", "reactord"], cwd=ROOT, check=True, timeout=100)
    asked = ("-m", "reactord.cli", "plan", "--home", str(tmp_path / "new"))
    pairs = [(_cpu_s(*asked), _cpu_s("-c", "import argparse, sqlite3, psutil, reactord.settings")) for _ in range(4)]
    plan, needed = min(p for p, _ in pairs), min(n for _, n in pairs)
    print(f"plan {plan * 1000:.0f} ms, its libraries {needed * 1000:.0f} ms of CPU")

    assert plan <= 2 * needed
