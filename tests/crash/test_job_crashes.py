"""The daemon, the worker or both die at any moment of a run: the next start finishes the job, once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import time

import pytest
from support import forked
from support.forked import DIED
from support.job_world import Clock
from support.ledgers import check
from support.staged_world import StagedWorld, fill, patch, plan, starts

from reactord.ipc import dlm
from reactord.jobs.machine import JobMachine
from reactord.jobs.slot import NAME
from reactord.jobs.worker_process import is_working
from reactord.ledger.index import Index
from reactord.ledger.state import Store
from reactord.workdir import STAGES, WorkDir

ALL = list(STAGES)
PATIENCE_S = 20.0


@pytest.fixture
def taken(home, monkeypatch):
    patch(monkeypatch)
    return fill(home)


def _daemon(home, die=lambda: None):
    """One life of a daemon: it ends by itself when the job is over."""
    logging.disable()
    die()

    async def live():
        world = StagedWorld(home)
        await world.until(lambda: world.inbox.intake.ready)
        world.start()
        world.ask()
        job = await world.until_over()
        assert job.state == "completed", job.cause
        await world.close()

    asyncio.run(live())


def _wait(true):
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def _worker_pid(workdir):
    return int((workdir.root / "starts").read_text().split()[-1])


def _verify(home, workdir, taken):
    """The job is done once, its dataset taken once, nobody works any more, and the ledger balances."""
    store = Store(home.state_db)
    (job,) = store.jobs()
    assert job.state == "completed"
    assert store.datasets() == ["d1"]
    assert [event.topic for event in store.events()].count("dataset.taken") == 1
    assert [event.topic for event in store.events()].count("job.completed") == 1
    assert sorted({f for event in store.events() if (f := event.data.get("facts", {}).get("version"))}) == ["v1.0.0"]
    store.close()
    assert not is_working(workdir)
    lock = dlm.holder(home.locks, NAME)
    assert lock is None or not lock.holds(Clock().now)  # a killed daemon cannot remove its lock; it counts for nobody
    counts = check(home, [("d1", taken)])
    assert (counts.in_datasets, counts.held_out, counts.pending, counts.rejected) == (6, 2, 1, {"a_twin": 1})


@pytest.mark.parametrize("stage", ALL)
@pytest.mark.parametrize("victim", ["the daemon", "the worker", "both"])
def test_kill_minus_nine_in_any_stage_and_the_job_finishes_after_a_restart(home, taken, stage, victim):
    workdir = plan(home, **{stage: {"for_s": 0.6}})
    daemon = forked.start(_daemon, home)
    _wait(lambda: stage in starts(workdir) and workdir.worker_path.exists())
    time.sleep(0.05)
    if victim != "the worker":
        assert forked.kill(daemon) == DIED
    if victim != "the daemon":
        os.killpg(_worker_pid(workdir), signal.SIGKILL)
        plan(home)
    if victim != "the worker":
        _wait(lambda: is_working(workdir) == (victim == "the daemon"))
        assert forked.run(_daemon, home) == 0
    else:
        assert forked.wait(daemon) == 0

    before, after = ALL[: ALL.index(stage)], ALL[ALL.index(stage) + 1 :]
    assert starts(workdir) == [*before, *([stage] if victim == "the daemon" else [stage, stage]), *after]
    _verify(home, workdir, taken)


def _dying(n, *, before):
    """The process dies before or after the n-th of the steps that must not be half done."""

    def install():
        count = [0]

        def step(real):
            def called(*arguments, **more):
                count[0] += 1
                mine = count[0]
                if before and mine == n:
                    os._exit(DIED)
                result = real(*arguments, **more)
                if not before and mine == n:
                    os._exit(DIED)
                return result

            return called

        for owner, name in ((JobMachine, "fire"), (Index, "take"), (Store, "insert_dataset"), (WorkDir, "create")):
            setattr(owner, name, step(getattr(owner, name)))

    return install


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_daemon_that_dies_at_any_commit_goes_on_from_it(home, taken, before, fast_dir):

    template = fast_dir / "template"
    plan(home)
    shutil.copytree(home.root, template, symlinks=True)
    died = 0
    for n in range(1, 30):
        shutil.rmtree(home.root)
        shutil.copytree(template, home.root, symlinks=True)
        status = forked.run(_daemon, home, _dying(n, before=before))
        died += status == DIED
        if status == 0:
            break
        with contextlib.suppress(OSError):
            os.killpg(_worker_pid(WorkDir(home.jobs / "j")), 0)  # it may still be at work, and will be adopted
        assert forked.run(_daemon, home) == 0, n
        _verify(home, WorkDir(home.jobs / "j"), taken)
    else:
        pytest.fail("the sweep did not reach the last step")

    assert died == 8
