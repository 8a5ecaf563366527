"""Two real processes train one job together: the same result, one worker to adopt and to stop, nobody left behind."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from support import tiny
from support.ledgers import Ledger, chunk
from support.loop import Loop

from reactord.home import Home
from reactord.jobs import worker_process
from reactord.jobs.hanging import Limits
from reactord.jobs.keeping import family_bytes
from reactord.jobs.launching import launcher_of
from reactord.jobs.worker_process import WorkerLost, is_working, rss_bytes
from reactord.workdir import WorkDir
from reactord.worker import checkpoints

pytestmark = pytest.mark.timeout(300)
LIMITS = Limits(deadline_s=150.0)
PATIENCE_S = 90.0
STEPS = 8


# -- a job, and who trains it ------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, model) -> WorkDir:
    """A job whose dataset is chosen."""
    home = Home(tmp_path_factory.mktemp("home"))
    home.create()
    ledger = Ledger(home)
    ledger.add(chunk(json.dumps(line).encode() for line in tiny.telemetry()))
    ledger.journal.close()
    ledger.index.close()
    work = tiny.job(home, "prepared", model, upto=1_000_000)
    assert tiny.run(work, "prepare") == 0, work.worker_log.read_text()[-3000:]
    return work


def twin(prepared: WorkDir, name: str, recipe: str = "dpo", **hyper) -> WorkDir:
    """The same job in another directory, trained by two unless it is said otherwise."""
    work = WorkDir(prepared.root.with_name(name))
    shutil.copytree(prepared.root, work.root, symlinks=True)
    spec = work.spec()
    numbers = spec.hyper.model_copy(update={"processes": 2, **hyper})
    work.create(spec.model_copy(update={"job_id": name, "recipe": recipe, "threads": 2, "hyper": numbers}))
    return work


async def train(work: WorkDir, limits: Limits = LIMITS):
    return await (await launcher_of(work, "train").start(work, "train")).finished(limits)


@pytest.fixture(scope="module")
def undisturbed(prepared) -> WorkDir:
    work = twin(prepared, "undisturbed")
    outcome = asyncio.run(train(work))
    assert outcome["ok"], work.worker_log.read_text()[-3000:]
    return work


async def until(true, patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def steps(work: WorkDir) -> list[int]:
    return [line["step"] for line in work.recent_progress() if line["kind"] == "step"]


def saved(work: WorkDir) -> list[str]:
    return sorted(path.name for path in work.checkpoints.glob("step-*"))


def notes(work: WorkDir) -> str:
    return "\n".join(line["text"] for line in work.recent_progress() if line["kind"] == "note")


def family(work: WorkDir) -> list[psutil.Process]:
    """The worker that is known, then those it started: rank 0, rank 1."""
    leader = psutil.Process(json.loads(work.worker_path.read_bytes())["pid"])
    ranks = [one for one in leader.children(recursive=True) if one.environ().get("RANK")]
    return [leader, *sorted(ranks, key=lambda one: one.environ()["RANK"])]


def alive(processes: list[psutil.Process]) -> list[int]:
    return [one.pid for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def result(work: WorkDir) -> tuple[str, list[float]]:
    """The adapter's hash and the loss of every step: all bits of them."""
    adapter = (work.artifacts / "trained" / "adapter_model.safetensors").read_bytes()
    return hashlib.sha256(adapter).hexdigest(), [loss for _, loss, _ in work.outcome("train")["curve"]]


# -- the result --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("recipe", ["sft", "dpo"])
async def test_two_processes_learn_what_one_learns_from_the_same_steps(prepared, recipe):
    """The same pairs a step in the same pieces, a thread each. Half of the sum of two gradients is the sum of their
    halves to the last bit, so on the machine this was written on not one bit of the adapter differs. Other pieces of
    the same steps are off by 2 hundredths within eight steps (padding rounds differently), other pairs by a quarter.
    """
    one, two = twin(prepared, f"{recipe}-one", recipe, processes=1), twin(prepared, f"{recipe}-two", recipe)
    one.create(one.spec().model_copy(update={"threads": 1}))

    outcomes = [await train(one), await train(two)]

    assert [outcome["processes"] for outcome in outcomes] == [1, 2]
    alone, together = [result(work)[1] for work in (one, two)]
    assert together[-1] < 0.6 * together[0]
    assert together == pytest.approx(alone, rel=1e-3)
    assert outcomes[1]["peak_rss_mb"] > 1.5 * outcomes[0]["peak_rss_mb"], "it counts one process only"


def test_the_first_alone_tells_and_every_random_state_is_kept(undisturbed):
    assert steps(undisturbed) == list(range(1, STEPS + 1))
    newest = undisturbed.checkpoints / f"step-{STEPS:06d}"
    assert {path.name for path in newest.glob("rng_state*")} == {"rng_state_0.pth", "rng_state_1.pth"}
    assert checkpoints.processes_of(newest) == 2
    assert not (undisturbed.root / "ranks").exists()


AGREE = """
import hashlib, os, sys, types
from pathlib import Path
from reactord.worker import team
work = types.SimpleNamespace(root=Path(sys.argv[1]))
us = team.Team(int(sys.argv[2]), 2)
team.meet(work, us)
same = hashlib.sha256(b"the same").hexdigest()
us.require_equal(same)
print(us.any(us.first, not us.first, False), us.sum(us.rank + 1), us.told(lambda: f"from {us.rank}"))
try:
    us.require_equal(hashlib.sha256(str(us.rank).encode()).hexdigest())
except team.Apart as apart:
    print(apart)
"""


def test_what_depends_on_one_is_decided_by_all_and_different_weights_are_noticed(tmp_path):
    (tmp_path / "ranks").mkdir()
    both = [
        subprocess.Popen([sys.executable, "-c", AGREE, str(tmp_path), str(rank)], stdout=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=PATIENCE_S)[0].splitlines() for process in both]

    assert said[0] == said[1]
    assert said[0][0] == "(True, True, False) 3 from 0"
    assert "different weights after the same steps" in said[0][1]


# -- one worker, as seen from outside ----------------------------------------------------------------------------------
async def test_all_of_them_listen_on_the_loopback_only_and_are_weighed_together(prepared):
    work = twin(prepared, "seen", max_steps=500)
    worker = await launcher_of(work, "train").start(work, "train")
    task = asyncio.create_task(worker.finished(LIMITS))
    await until(lambda: len(steps(work)) >= 2)

    everybody = family(work)
    sockets = [one for process in everybody for one in process.net_connections("inet")]
    assert len(everybody) == 3
    assert [one for one in sockets if one.status == psutil.CONN_ESTABLISHED], "they do not talk at all"
    assert {one.laddr.ip for one in sockets} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert {process.nice() for process in everybody} == {10 + psutil.Process().nice()}
    sizes = [process.memory_info().rss for process in everybody]
    assert rss_bytes(work) == pytest.approx(sum(sizes), rel=0.2)
    assert family_bytes(worker.pid) > 2 * max(sizes) - 100 * 2**20
    told = [line["rss_mb"] for line in work.recent_progress() if line["kind"] == "step"][-1]
    assert told == pytest.approx(sum(sizes) / 2**20, rel=0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(everybody)


# -- killed, asked to leave, paused ------------------------------------------------------------------------------------
@pytest.mark.parametrize("victim", ["leader", "rank 1"])
async def test_whoever_of_them_is_killed_the_attempt_ends_soon_and_the_next_one_goes_on_bit_for_bit(
    prepared, undisturbed, victim, monkeypatch
):
    # another test on this machine may have the kernel end a process for its size, and it counts for all of them
    monkeypatch.setattr(worker_process, "count_oom_kills", lambda: None)
    work = twin(prepared, f"killed-{victim.replace(' ', '-')}")
    task = asyncio.create_task(train(work))
    await until(lambda: len(saved(work)) >= 1 and steps(work))
    everybody = family(work)

    began = time.monotonic()
    everybody[["leader", "rank 0", "rank 1"].index(victim)].kill()
    with pytest.raises(WorkerLost, match="killed by SIGKILL") as lost:
        await task

    assert time.monotonic() - began < 20
    assert lost.value.reason == "signal"
    assert not alive(everybody)
    assert not is_working(work)
    assert work.outcome("train") is None
    if victim != "leader":
        assert "one of 2 processes was ended by SIGKILL" in notes(work)
    assert (await train(work))["ok"]
    assert "continuing after step" in notes(work)
    assert result(work) == result(undisturbed)


async def test_what_one_of_them_says_of_its_end_is_the_cause_and_not_that_the_other_lost_it(prepared, monkeypatch):
    """Rank 1 finds no memory; rank 0 only finds that rank 1 is gone."""
    work = twin(prepared, "refused")
    site = work.root / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if os.environ.get('RANK') == '1':\n"
        "    import reactord.worker.team as team\n"
        "    def full(us, *mine): raise MemoryError('not enough memory')\n"
        "    team.Team.require_equal = full\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', tiny.ROOT)}")

    outcome = await train(work)

    assert (outcome["ok"], outcome["cause"], outcome["error"]) == (False, "out_of_memory", "MemoryError")
    assert saved(work) == []


@pytest.mark.parametrize("asked", ["leader", "rank 1"])
async def test_asked_to_leave_they_checkpoint_the_same_step_and_are_gone_within_eight_seconds(
    prepared, undisturbed, asked
):
    """Whoever is asked: the daemon asks the leader, a person at the machine may ask any of them."""
    work = twin(prepared, f"left-{asked.replace(' ', '-')}", checkpoint_every_steps=1000)
    task = asyncio.create_task(train(work))
    await until(lambda: len(steps(work)) >= 3)
    everybody = family(work)

    began = time.monotonic()
    os.killpg(everybody[["leader", "rank 0", "rank 1"].index(asked)].pid, signal.SIGTERM)
    with pytest.raises(WorkerLost) as lost:
        await task

    assert time.monotonic() - began < 8
    assert lost.value.reason == "preempted"
    assert not alive(everybody)
    assert saved(work) == [f"step-{steps(work)[-1]:06d}"]
    assert (await train(work))["ok"]
    assert result(work) == result(undisturbed)


async def test_one_that_is_stuck_does_not_keep_a_cancelled_job_from_ending(prepared):
    work = twin(prepared, "stuck")
    task = asyncio.create_task(train(work))
    await until(lambda: len(saved(work)) >= 1 and steps(work))
    everybody = family(work)
    everybody[2].suspend()

    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert time.monotonic() - began < 8
    assert not alive(everybody)
    assert not is_working(work)
    assert saved(work), "what was safe is still there"


async def test_short_of_memory_they_pause_at_the_same_checkpoint_and_go_on_together(prepared, undisturbed):
    work = twin(prepared, "paused", checkpoint_every_steps=1000)
    task = asyncio.create_task(train(work))
    await until(lambda: len(steps(work)) >= 2)

    work.pressure_path.write_text("constrained")
    await until(lambda: "paused at a checkpoint" in notes(work))
    reached = steps(work)[-1]
    await asyncio.sleep(2.0)
    assert steps(work)[-1] == reached
    assert saved(work) == [f"step-{reached:06d}"]
    work.pressure_path.unlink()

    assert (await task)["ok"]
    assert "there is memory again" in notes(work)
    assert result(work) == result(undisturbed)


@pytest.mark.parametrize("processes", [1])
async def test_another_number_of_processes_does_not_go_on_from_there_and_says_so(undisturbed, processes):
    work = twin(undisturbed, f"as-{processes}", processes=processes)
    (work.root / "outcome-train.json").unlink()
    before = saved(work)

    outcome = await train(work)

    assert (outcome["ok"], outcome["cause"]) == (False, "bad_data")
    assert f"of a run in 2 processes, and this one has {processes}" in outcome["message"]
    assert saved(work) == before


# -- the daemon --------------------------------------------------------------------------------------------------------
def test_a_daemon_that_was_killed_adopts_them_and_starts_nobody_else(fast_dir, model):
    loop = Loop(fast_dir / "jarvis", model, training_processes=2,
                hyper=tiny.HYPER.model_copy(update={"max_steps": 60}).model_dump(exclude_unset=True))  # fmt: skip
    loop.write_telemetry()
    try:
        loop.start()
        loop.wait(lambda: any(line["kind"] == "step" for line in loop.progress()), PATIENCE_S)
        work = WorkDir(loop.home.jobs / loop.job().id)
        everybody = family(work)
        assert len(everybody) == 3
        loop.kill_daemon()
        assert len(alive(everybody)) == 3
        loop.start()
        loop.wait(lambda: any(event.topic == "run.adopted" for event in loop.events()), PATIENCE_S)
        assert family(work) == everybody
        loop.wait(lambda: loop.outcome("train"), PATIENCE_S)
        trained = loop.outcome("train")
        assert (trained["ok"], trained["processes"], trained["steps"]) == (True, 2, 60)
        assert steps(work)[-1] == 60
        assert len(steps(work)) == len(set(steps(work))), "a step was made twice"
        started = [event for event in loop.events() if event.topic == "run.started" and event.data["stage"] == "train"]
        assert len(started) == 1
        assert loop.stop() < 8
    finally:
        loop.clean_up()
