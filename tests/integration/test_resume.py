"""A run that was killed goes on as if nothing had happened, or says that it cannot."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path

import orjson
import pytest
from support import tiny
from support.forge import Forge
from support.ledgers import Ledger, chunk

from reactord.home import Home
from reactord.workdir import WorkDir
from reactord.worker import checkpoints

pytestmark = pytest.mark.timeout(400)
KILLS = 20
STEPS = 12
HYPER = tiny.HYPER.model_copy(update={"max_steps": STEPS, "checkpoint_every_steps": 2})
KILLED = -9


@pytest.fixture(scope="module")
def forge():
    made = Forge()
    yield made
    made.close()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> WorkDir:
    """A job whose dataset is chosen."""
    home = Home(tmp_path_factory.mktemp("home"))
    home.create()
    ledger = Ledger(home)
    ledger.add(chunk(json.dumps(line).encode() for line in tiny.telemetry()))
    ledger.journal.close()
    ledger.index.close()
    model = tiny.tiny_model(tmp_path_factory.mktemp("model") / "tiny")
    work = tiny.job(home, "prepared", model, upto=1_000_000, hyper=HYPER)
    assert tiny.run(work, "prepare") == 0, work.worker_log.read_text()[-3000:]
    return work


def twin(prepared: WorkDir, name: str, **hyper) -> WorkDir:
    """The same job in another directory."""
    work = WorkDir(prepared.root.with_name(name))
    shutil.copytree(prepared.root, work.root, symlinks=True)
    spec = work.spec()
    work.create(spec.model_copy(update={"hyper": spec.hyper.model_copy(update=hyper)}))
    return work


@pytest.fixture(scope="module")
def whole(prepared, forge) -> tuple[WorkDir, float]:
    """A run without a disturbance, and how long it took."""
    work = twin(prepared, "whole")
    life = forge.train(work.root)
    assert life["status"] == 0, work.worker_log.read_text()[-3000:]
    return work, life["took_s"]


@pytest.fixture(scope="module")
def halfway(prepared, forge) -> WorkDir:
    """A run that was killed after eight of its steps, with the checkpoints of steps 6 and 8."""
    work = twin(prepared, "halfway")
    assert forge.train(work.root, kill_when=work.checkpoints / "step-000008")["status"] == KILLED
    shutil.rmtree(work.checkpoints / "step-000004", ignore_errors=True)  # it may have died while it removed this one
    return work


def result(work: WorkDir) -> tuple[str, list[float]]:
    """The adapter's hash and the loss of every step: all bits of them."""
    adapter = (work.artifacts / "trained" / "adapter_model.safetensors").read_bytes()
    return hashlib.sha256(adapter).hexdigest(), [loss for _, loss, _ in work.outcome("train")["curve"]]


def notes(work: WorkDir) -> str:
    return "\n".join(line["text"] for line in work.recent_progress() if line["kind"] == "note")


def test_killed_at_twenty_random_moments_the_losses_and_the_adapter_are_those_of_the_undisturbed_run(
    prepared, whole, forge
):
    undisturbed, took_s = whole
    chance, kills, resumed, runs = random.Random(4), 0, 0, 0
    while kills < KILLS:
        runs += 1
        work = twin(prepared, f"killed-{runs}")
        while forge.train(work.root, kill_after_s=chance.uniform(0.1, took_s))["status"] == KILLED:
            kills += 1
        resumed += notes(work).count("continuing after step")
        assert result(work) == result(undisturbed)
        shutil.rmtree(work.root)

    assert len(result(undisturbed)[1]) == STEPS
    assert resumed >= 5, "most moments were before the first checkpoint: the test proves little"


def test_checkpoints_by_the_clock_do_not_change_the_result(prepared, whole, forge):
    work = twin(prepared, "by-the-clock", checkpoint_every_steps=10_000, checkpoint_every_s=1.0)

    assert forge.train(work.root)["status"] == 0

    saved = [line["step"] for line in work.recent_progress() if line["kind"] == "checkpoint"]
    assert saved[-1] == STEPS
    assert forge.train(work.root)["status"] == 0
    assert result(work) == result(whole[0])


def reseal(checkpoint: Path) -> None:
    """Have COMPLETE.json say what is there now: its hashes are right, whatever happened to the files."""
    files = {
        path.name: {"size_bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in checkpoint.iterdir()
        if path.name != checkpoints.COMPLETE
    }
    said = orjson.loads((checkpoint / checkpoints.COMPLETE).read_bytes())
    (checkpoint / checkpoints.COMPLETE).write_bytes(orjson.dumps({**said, "files": files}))


def _forget(checkpoint: Path) -> None:
    """An optimiser of the right shape that has seen nothing."""
    import torch

    state = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    torch.save({**state, "state": {}}, checkpoint / "optimizer.pt")
    reseal(checkpoint)


def _take_an_older_one(checkpoint: Path) -> None:
    shutil.copy(checkpoint.with_name("step-000006") / "optimizer.pt", checkpoint)
    reseal(checkpoint)


def _take_an_older_schedule(checkpoint: Path) -> None:
    shutil.copy(checkpoint.with_name("step-000006") / "scheduler.pt", checkpoint)
    reseal(checkpoint)


def _remove(checkpoint: Path) -> None:
    (checkpoint / "optimizer.pt").unlink()
    reseal(checkpoint)


def _truncate(checkpoint: Path) -> None:
    data = (checkpoint / "optimizer.pt").read_bytes()
    (checkpoint / "optimizer.pt").write_bytes(data[:-100])


def _truncate_and_reseal(checkpoint: Path) -> None:
    _truncate(checkpoint)
    reseal(checkpoint)


VARIANTS = {
    "missing": (_remove, "lacks optimizer.pt"),
    "cold": (_forget, "the optimiser remembers nothing of"),
    "older": (_take_an_older_one, "the optimiser has seen [6] steps, not 8"),
    "older schedule": (_take_an_older_schedule, "the learning rate is that of step 6, not 8"),
    "damaged": (_truncate, "optimizer.pt is not what was written"),
    "damaged before it was hashed": (_truncate_and_reseal, "is damaged"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_optimiser_that_is_not_the_run_s_own_is_noticed_and_the_checkpoint_before_is_taken(
    halfway, whole, forge, variant
):
    work = twin(halfway, f"with-{variant.replace(' ', '-')}")
    spoil, says = VARIANTS[variant]
    spoil(work.checkpoints / "step-000008")

    assert forge.train(work.root)["status"] == 0, work.worker_log.read_text()[-3000:]

    assert says in notes(work)
    assert "continuing after step 6" in notes(work)
    assert list(work.checkpoints.glob("damaged-step-000008-*"))
    assert result(work) == result(whole[0])


def test_without_that_look_a_cold_start_would_be_another_run_and_nobody_would_know(halfway, whole, forge):
    """Three arms: the uninterrupted run and the resumed one are equal, the one with a cold optimiser is not."""
    work = twin(halfway, "cold-and-unchecked")
    _forget(work.checkpoints / "step-000008")

    assert forge.train(work.root, unchecked=["cold", "require"])["status"] == 0

    assert "continuing after step 8" in notes(work)
    adapter, losses = result(work)
    assert adapter != result(whole[0])[0]
    assert losses[:8] == result(whole[0])[1][:8]
    assert losses[9:] != result(whole[0])[1][9:]


def test_what_is_loaded_is_looked_at_once_more_and_a_cold_optimiser_ends_the_run_loudly(halfway, forge):
    work = twin(halfway, "cold-once-loaded")
    _forget(work.checkpoints / "step-000008")

    assert forge.train(work.root, unchecked=["cold"])["status"] == 1

    outcome = work.outcome("train")
    assert (outcome["error"], outcome["cause"]) == ("ColdOptimizer", "bug")
    assert "after resuming at step 8, the optimiser remembers nothing" in outcome["message"]


def test_without_any_checkpoint_to_trust_the_run_begins_again_and_says_so(halfway, whole, forge):
    work = twin(halfway, "nothing-left")
    for path in work.checkpoints.glob("step-*"):
        _forget(path)

    assert forge.train(work.root)["status"] == 0

    assert "the run begins again from its first step" in notes(work)
    assert result(work) == result(whole[0])
