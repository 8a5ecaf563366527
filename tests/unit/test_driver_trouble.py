"""Does a bug cost one job and a broken environment none, and does the daemon live through both?"""

from __future__ import annotations

import asyncio
import errno
import sqlite3

import pytest
from support.driver_work import WORKING, fill_disk, put_in, stand_in
from support.job_world import World

from reactord.errors import EnvironmentTrouble
from reactord.jobs.stages import ENVIRONMENT_PATIENCE_S, Next
from reactord.jobs.states import State


@pytest.fixture
def work(monkeypatch):
    return stand_in(monkeypatch)


@pytest.fixture
async def world(home, work):
    made = World(home)
    yield made
    await made.close()


@pytest.mark.parametrize("state", WORKING)
@pytest.mark.parametrize("bug", [KeyError("loss"), ValueError("no"), FileNotFoundError(errno.ENOENT, "gone")])
async def test_a_bug_in_a_state_fails_the_job_loudly_and_the_daemon_lives(world, work, state, bug, caplog):
    work.does(state, error=bug, times=1)
    world.start()
    world.ask()

    job = await world.until_over()

    assert (job.state, job.facts["error"]) == ("failed", "bug")
    assert type(bug).__name__ in job.cause
    assert "Traceback" in caplog.text
    world.ask("next")
    assert (await world.until_over("next")).state == "completed"


@pytest.mark.parametrize(
    "said", [Next("deploy", "an edge that is not there"), Next("export", "", {"loss": object()}), Next("no such", "")]
)
async def test_work_that_says_what_cannot_be_fired_fails_the_job_and_not_the_daemon(world, work, said):
    work.does(State.TRAINING, said, times=1)
    world.start()
    world.ask()

    assert (await world.until_over()).state == "failed"
    assert work.calls.count("training") == 1


TROUBLES = [
    OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EIO, "Input/output error"),
    sqlite3.OperationalError("database or disk is full"), TimeoutError(), EnvironmentTrouble("no compiler"),
    PermissionError(errno.EACCES, "Permission denied"),
]  # fmt: skip


@pytest.mark.parametrize("state", WORKING)
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: type(trouble).__name__)
async def test_a_broken_environment_is_shown_and_left_by_itself_and_costs_no_attempt(world, work, state, trouble):
    work.does(state, error=trouble, times=3)
    world.start()
    world.ask()
    await world.until(lambda: world.driver.trouble)

    job = await world.until_over()

    assert (job.state, job.attempt) == ("completed", 0)
    assert work.calls.count(state) == 4
    await world.until(lambda: world.driver.trouble is None)


async def test_a_trouble_that_never_passes_fails_the_job_in_the_end(world, work):
    work.does(State.TRAINING, error=OSError(errno.ENOSPC, "No space left on device"))
    world.start()
    world.ask()
    await world.until(lambda: world.driver.trouble)

    world.clock.now += ENVIRONMENT_PATIENCE_S + 1

    assert (await world.until_over()).state == "failed"


async def test_a_job_can_be_cancelled_while_a_trouble_is_waited_out(world, work):
    work.does(State.TRAINING, error=OSError(errno.ENOSPC, "No space left on device"))
    world.start()
    world.ask()
    await world.until(lambda: world.driver.trouble)

    world.driver.cancel("j")

    assert (await world.until_over()).state == "cancelled"
    assert not world.slot.held


@pytest.mark.parametrize("state", ["queued", *WORKING])
async def test_a_state_db_on_a_full_disk_ends_neither_the_job_nor_the_daemon(world, work, state, monkeypatch):
    release = asyncio.Event()
    if state == "queued":
        fill_disk(monkeypatch, world)
        world.start()
        world.ask()
    else:
        work.waits(state, release)
        world.start()
        world.ask()
        await world.until(lambda: work.calls[-1:] == [state])
        fill_disk(monkeypatch, world)
        release.set()
    await world.until(lambda: world.driver.trouble)
    assert world.job().state == state

    monkeypatch.undo()
    put_in(monkeypatch, work)

    assert (await world.until_over()).state == "completed"


async def test_a_cancellation_that_could_not_be_written_down_is_not_forgotten(world, work, monkeypatch):
    work.waits(State.TRAINING)
    world.start()
    world.ask()
    await world.until(lambda: work.calls[-1:] == ["training"])
    fill_disk(monkeypatch, world)
    world.driver.cancel("j")
    await world.until(lambda: world.driver.trouble)

    monkeypatch.undo()
    put_in(monkeypatch, work)

    assert (await world.until_over()).state == "cancelled"
