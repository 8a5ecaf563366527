"""Does a job go on after its daemon stopped or died, or after it lost what it ran on?"""

from __future__ import annotations

import asyncio
import json

import pytest
from support.driver_work import WORKING, fill_disk, stand_in
from support.job_world import World

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
async def test_a_daemon_that_stops_in_any_state_goes_on_at_the_next_start(world, work, state):
    work.waits(state)
    world.start()
    world.ask()
    await world.until(lambda: work.calls[-1:] == [state])

    await world.stop()

    assert work.interrupted == [state]
    stopped = world.job()
    assert stopped.state == ("deploying" if state == State.DEPLOYING else "queued")
    assert state == State.DEPLOYING or stopped.cause == "the daemon was stopped"
    assert stopped.attempt == 0
    work.plan.clear()
    await world.restart()
    assert (await world.until_over()).state == "completed"


@pytest.mark.parametrize("state", WORKING)
async def test_a_daemon_that_is_killed_in_any_state_goes_on_from_there(home, work, state):
    world = World(home)
    work.waits(state)
    world.start()
    world.ask()
    await world.until(lambda: work.calls[-1:] == [state])
    world.driver._interrupt = lambda *arguments: asyncio.sleep(0)  # killed: nobody says goodbye
    await world.stop()
    assert world.job().state == state
    work.plan.clear()
    work.calls.clear()

    await world.restart()

    assert (await world.until_over()).state == "completed"
    assert work.calls[0] == state
    await world.close()


async def test_a_disk_that_is_full_while_the_daemon_stops_does_not_keep_it_from_stopping(world, work, monkeypatch):
    work.waits(State.TRAINING)
    world.start()
    world.ask()
    await world.until(lambda: work.calls[-1:] == ["training"])
    fill_disk(monkeypatch, world)

    await asyncio.wait_for(world.stop(), 5)

    assert world.task.cancelled()


async def test_losing_the_slot_checkpoints_and_queues_the_job_again(world, work):
    work.waits(State.TRAINING)
    world.start()
    world.ask()
    await world.until(lambda: work.calls[-1:] == ["training"])
    work.plan.clear()

    world.slot.lost()

    job = await world.until_over()
    assert (job.state, job.attempt) == ("completed", 0)
    assert world.states().count("training") == 2
    world.slot.lost()  # nothing runs: nothing happens


@pytest.mark.parametrize("state", WORKING)
async def test_a_job_whose_lease_on_primes_memory_is_lost_checkpoints_and_queues_again_unless_it_is_being_placed(
    world, work, state
):
    ends = asyncio.Event()
    work.waits(state, ends)
    world.start()
    world.ask()
    await world.until(lambda: work.calls[-1:] == [state])
    work.plan.pop(state)

    world.leasing.lost("j", "Prime took its memory back")
    world.leasing.lost("nobody", "Prime took its memory back")
    await asyncio.sleep(0.02)
    ends.set()

    job = await world.until_over()
    assert (job.state, job.attempt) == ("completed", 0)
    assert world.states().count(state) == (1 if state == State.DEPLOYING else 2)


@pytest.mark.parametrize("state", WORKING)
async def test_at_the_end_of_its_night_a_run_leaves_but_a_model_that_is_being_placed_is_placed(world, work, state):
    """Placing costs seconds; a model that is judged and half-way before Prime would otherwise wait there for a day."""
    ends = asyncio.Event()
    work.waits(state, ends)
    world.start()
    world.ask()
    await world.until(lambda: work.calls[-1:] == [state])
    night = {"night": "n", "nights": ["n"], "not_after": world.clock.now + 10}
    world.store.db.execute("UPDATE jobs SET facts=? WHERE id='j'", (json.dumps(night),))
    await asyncio.sleep(0.05)
    ends.set()
    work.plan.pop(state)

    assert (await world.until_over()).state == "completed"
    assert world.states().count(state) == (1 if state == State.DEPLOYING else 2)


@pytest.mark.parametrize("ticks", range(6))
async def test_a_daemon_that_is_stopped_in_the_moment_in_which_a_job_is_asked_for_stops(world, work, ticks):
    """`asyncio.wait_for` loses such a cancellation before Python 3.12, and then nothing stops the daemon."""
    work.waits(State.RESERVING)
    world.start()
    await asyncio.sleep(0.03)
    world.ask()
    for _ in range(ticks):
        await asyncio.sleep(0)
    world.task.cancel()

    await asyncio.wait([world.task], timeout=2)

    assert world.task.cancelled()
