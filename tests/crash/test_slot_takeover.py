"""The slot outlives the daemon and not the trainer; and who slept while it was another's commits nothing.

Real daemons in forks, with the real driver, ledger, slot and deployment; the workers are stand-ins (fake_worker.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import signal
import time
from contextlib import closing

import pytest
from support import forked, job_world
from support.peers import Body
from support.staged_world import FACTS, StagedWorld, fill, patch, plan, starts

from reactord.home import Home
from reactord.ipc import dlm
from reactord.jobs import deploying, exporting
from reactord.jobs import driver as driver_module
from reactord.jobs import slot as slot_module
from reactord.jobs.slot import NAME
from reactord.jobs.states import State
from reactord.jobs.worker_process import is_working
from reactord.ledger.sqlite import open_readonly
from reactord.ledger.state import State as Ledger
from reactord.prime import turn
from reactord.workdir import STAGES, WorkDir

ALL = list(STAGES)
PATIENCE_S = 60.0
CONTENT = b"GGUF" + bytes(range(256)) * 5
JUDGED = {**FACTS["judge"], "sha256": hashlib.sha256(CONTENT).hexdigest(), "size_bytes": len(CONTENT),
          "candidate": {"accuracy": 0.9}, "base": {"accuracy": 0.8}}  # fmt: skip


class WallClock:
    """What the peers go by."""

    @property
    def now(self):
        return time.time()

    def __call__(self):
        return time.time()


@pytest.fixture
def home(fast_dir, monkeypatch):
    made = Home(fast_dir / "home")
    made.create()
    patch(monkeypatch)
    for name in ("JPRIME_MODELS_DIR", "JARVIS_PRIME_MODELS_DIR", "JPRIME_REPO_DIR", "REACTOR_CORE_WATCH_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(job_world, "Clock", WallClock)
    monkeypatch.setattr(slot_module, "TTL_S", 6.0)
    monkeypatch.setattr(slot_module, "RENEW_EVERY_S", 0.3)
    monkeypatch.setitem(driver_module.WORK, State.DEPLOYING, deploying.work)
    said = fill(made) | {"date_range": ["2026-11-20T00:00:00+00:00"] * 2, "sources": {"telemetry": 10}}
    (made.datasets / "d1" / "manifest.json").write_text(json.dumps(said))
    return made


def _planned(home, **stages):
    workdir = plan(home, judge={"facts": JUDGED}, **stages)
    workdir.artifacts.mkdir(exist_ok=True)
    (workdir.artifacts / "Q8_0.gguf").write_bytes(CONTENT)
    return workdir


def _live(home, name="daemon", prepare=lambda: None):
    """One life of a daemon: it ends by itself when nothing is driven any more. What it says is in <name>.log."""
    logger = logging.getLogger("reactord.jobs")
    logger.addHandler(logging.FileHandler(home.root / f"{name}.log"))
    logger.setLevel(logging.INFO)
    prepare()

    async def live():
        world = StagedWorld(home)
        await world.until(lambda: world.inbox.intake.ready)
        keeping = asyncio.create_task(world.slot.keep())
        world.start()
        world.ask()
        await world.until(lambda: world.driver._driven)
        await asyncio.wait(list(world.driver._driven.values()))  # as far as this life takes it
        await world.until_over()
        keeping.cancel()
        await world.close()

    job_world.PATIENCE_S = PATIENCE_S
    asyncio.run(live())


def _wait(true, what=""):
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"it did not happen in time: {what}"
        time.sleep(0.005)


def _job(home):
    with closing(open_readonly(home.state_db)) as db:
        return Ledger(db).job("j")


def _topics(home, topic):
    with closing(open_readonly(home.state_db)) as db:
        return [event for event in Ledger(db).history("j") if event.topic == topic]


def _slot(home):
    return dlm.holder(home.locks, NAME)


def _trainer(home, workdir):
    """The pid of the trainer, once it owns the slot."""
    _wait(lambda: "train" in starts(workdir), "a trainer")
    pid = int((workdir.root / "starts").read_text().splitlines()[-1].split()[1])
    _wait(lambda: (found := _slot(home)) and found.is_worker(pid), "its name on the slot")
    return pid


def test_the_daemon_dies_and_the_slot_is_held_until_the_next_one_adopts_and_renews_it(home):
    workdir = _planned(home, train={"do": "talk", "for_s": 8.0})
    daemon = forked.start(_live, home)
    trainer = _trainer(home, workdir)
    assert forked.kill(daemon) == forked.DIED
    left = _slot(home)
    assert is_working(workdir)
    assert not Body(home.locks, NAME).acquire()
    assert isinstance(dlm.claim(home.locks, NAME, 60, time.time()), dlm.Busy)

    heir = forked.start(_live, home, "heir")

    _wait(lambda: _slot(home).expires_at > left.expires_at + 1, "a renewal")
    assert _slot(home).claim_id == left.claim_id
    assert _slot(home).is_worker(trainer)
    assert _slot(home).fence > left.fence
    assert forked.wait(heir) == 0
    assert starts(workdir) == ALL
    assert _job(home).state == "completed", _job(home).cause
    assert _slot(home) is None


def test_daemon_and_trainer_die_and_body_takes_the_slot_at_once_and_the_next_daemon_waits_for_it(home):
    workdir = _planned(home, train={"do": "talk", "for_s": 60.0})
    daemon = forked.start(_live, home)
    trainer = _trainer(home, workdir)
    assert forked.kill(daemon) == forked.DIED
    os.killpg(trainer, signal.SIGKILL)
    _wait(lambda: not is_working(workdir))
    body = Body(home.locks, NAME)
    _wait(body.acquire, "a free slot")
    _planned(home)

    heir = forked.start(_live, home, "heir")
    try:
        _wait(lambda: _job(home).facts.get("waits_for"), "a job that waits")
        time.sleep(0.5)
        assert "held by jarvis-" in _job(home).facts["waits_for"]
        assert starts(workdir) == ALL[:2]
        assert body.keep()
    finally:
        body.release()

    assert forked.wait(heir) == 0
    assert _job(home).state == "completed", _job(home).cause
    assert starts(workdir) == [*ALL[:2], *ALL[1:]]


def _stops_at(module, name):
    """Have the daemon stop itself, as SIGSTOP from outside would, before this step."""

    def prepare():
        real, stopped = getattr(module, name), []

        def step(*arguments, **named):
            if not stopped:
                stopped.append(1)
                os.kill(os.getpid(), signal.SIGSTOP)
                time.sleep(0.2)  # a thread runs on for a moment until its process has stopped
            return real(*arguments, **named)

        setattr(module, name, step)

    return prepare


@pytest.fixture
def sleepers():
    """The daemons that were stopped; those of a failed test are ended."""
    pids = []
    yield pids
    for pid in pids:
        with contextlib.suppress(ChildProcessError):  # waited for already
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                forked.kill(pid)


def _stopped(sleepers, home, name, prepare):
    pid = forked.start(_live, home, name, prepare)
    sleepers.append(pid)
    _, status = os.waitpid(pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), (home.root / f"{name}.log").read_text()
    return pid


def _body_has_it_for_a_while(home):
    """The sleeper's TTL runs out, Body takes the slot, trains, and gives it back."""
    if (held := _slot(home)) is not None:
        _wait(lambda: time.time() > held.expires_at, "the end of its time")
    body = Body(home.locks, NAME)
    assert body.acquire()
    body.release()


def test_who_slept_beyond_its_time_before_the_commit_is_refused_by_the_ledger(home, sleepers):
    """Both stand before the same edge of the table: only the fence tells them apart."""
    _planned(home)
    sleeper = _stopped(sleepers, home, "sleeper", _stops_at(exporting, "take_slot"))
    old = _job(home)
    assert (old.state, _slot(home).fence) == ("exporting", old.fence)
    assert not Body(home.locks, NAME).is_free(time.time()) or time.time() > _slot(home).expires_at
    _body_has_it_for_a_while(home)
    heir = _stopped(sleepers, home, "heir", _stops_at(exporting, "take_slot"))
    new = _job(home)
    assert (new.state, new.fence > old.fence) == ("exporting", True)

    os.kill(sleeper, signal.SIGCONT)
    log = home.root / "sleeper.log"
    _wait(lambda: "was moved by a newer run" in log.read_text(), "a refusal")
    assert (_job(home).state, _job(home).fence) == ("exporting", new.fence)
    assert not (home.root / "models" / "current.gguf").is_symlink()

    os.kill(heir, signal.SIGCONT)
    assert forked.wait(heir) == 0
    assert forked.wait(sleeper) == 0
    assert _job(home).state == "completed", _job(home).cause
    assert len(_topics(home, "job.deploying")) == 1


def test_who_slept_beyond_its_time_before_it_placed_the_model_is_refused_by_what_stands_before_prime(home, sleepers):
    workdir = _planned(home)
    models = home.root / "models"
    sleeper = _stopped(sleepers, home, "sleeper", _stops_at(deploying, "_place"))
    old = _job(home)
    assert old.state == "deploying"
    _body_has_it_for_a_while(home)
    heir = forked.start(_live, home, "heir")
    assert forked.wait(heir) == 0, (home.root / "heir.log").read_text()
    assert _job(home).state == "completed", _job(home).cause
    placed = turn.fence_at(models)
    assert placed > old.fence
    with turn.taken(models, placed + 1):  # and the next job, too
        (models / "next.gguf").write_bytes(CONTENT)
        (models / "current.gguf").unlink()
        (models / "current.gguf").symlink_to("next.gguf")

    os.kill(sleeper, signal.SIGCONT)
    assert forked.wait(sleeper) == 0

    assert "cannot fail" in (home.root / "sleeper.log").read_text()  # it wanted to, for it was refused
    assert str((models / "current.gguf").readlink()) == "next.gguf"
    assert turn.fence_at(models) == placed + 1
    assert (_job(home).state, len(_topics(home, "job.completed"))) == ("completed", 1)
    assert starts(workdir) == ALL
    assert not is_working(WorkDir(home.jobs / "j"))
