"""Does a job that is cancelled end as cancelled, whatever else happens in that moment?"""

from __future__ import annotations

import asyncio

import pytest
from support.driver_work import WORKING, stand_in
from support.job_world import World

from reactord.errors import EnvironmentTrouble
from reactord.jobs.states import State


@pytest.fixture
def work(monkeypatch):
    return stand_in(monkeypatch)


@pytest.fixture
async def world(home, work):
    made = World(home)
    yield made
    await made.close()


async def test_a_job_can_be_cancelled_in_the_queue(world):
    world.ask()

    assert world.driver.cancel("j").state == "cancelled"
    assert world.driver.cancel("nobody") is None


@pytest.mark.parametrize("state", [state for state in WORKING if state != "deploying"])
async def test_a_job_can_be_cancelled_until_it_is_being_placed_and_the_next_one_runs(world, work, state):
    work.waits(state)
    world.start()
    world.ask()
    await world.until(lambda: work.calls[-1:] == [state])

    world.driver.cancel("j")

    assert (await world.until_over()).state == "cancelled"
    assert work.interrupted == [state]
    assert not world.slot.held
    del work.plan[state]
    world.ask("next")
    assert (await world.until_over("next")).state == "completed"


async def test_a_job_that_is_being_placed_is_past_cancelling(world, work):
    work.waits("deploying")
    world.start()
    world.ask()
    await world.until(lambda: work.calls[-1:] == ["deploying"])

    assert world.driver.cancel("j").state == "deploying"

    assert work.interrupted == []


async def test_a_finished_job_stays_as_it_is(world):
    world.start()
    world.ask()
    await world.until_over()

    assert world.driver.cancel("j").state == "completed"


async def test_a_second_cancellation_does_not_interrupt_the_stopping_of_the_worker(world, work):
    stopped = []

    async def stop_slowly(services, job):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)  # SIGTERM, checkpoint
            stopped.append(job.id)
            raise

    work.plan[State.TRAINING] = stop_slowly
    world.start()
    world.ask()
    await world.until_state("training")
    await asyncio.sleep(0)
    for _ in range(3):
        world.driver.cancel("j")
        await asyncio.sleep(0.01)

    assert (await world.until_over()).state == "cancelled"
    assert stopped == ["j"]


async def test_a_cancellation_outranks_the_loss_of_the_slot_and_a_shutdown(world, work):
    async def stop_slowly(services, job):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            raise

    work.plan[State.TRAINING] = stop_slowly
    world.start()
    world.ask()
    await world.until(lambda: work.calls[-1:] == ["training"])
    world.slot.lost()
    await asyncio.sleep(0.01)
    world.driver.cancel("j")
    world.slot.lost()
    await asyncio.sleep(0.01)
    await world.stop()

    assert world.job().state == "cancelled"


async def test_a_job_that_a_restart_has_not_taken_up_yet_can_be_cancelled(world, work):
    work.waits(State.TRAINING)
    world.start()
    world.ask()
    await world.until_state("training")
    world.task.cancel()  # no goodbye: the daemon is simply gone
    world.driver._interrupt = lambda *arguments: asyncio.sleep(0)
    await asyncio.gather(world.task, return_exceptions=True)
    assert world.job().state == "training"
    world.inbox.refuses = EnvironmentTrouble("still recovering")
    await world.restart()

    world.driver.cancel("j")
    await asyncio.sleep(0.03)
    assert world.job().state == "training"  # its worker may live: it is buried when the job's turn comes
    world.inbox.refuses = None

    assert (await world.until_over()).state == "cancelled"
    assert work.calls.count("training") == 1


async def test_a_cancellation_in_the_moment_in_which_the_work_ends_counts(world, work):
    release = asyncio.Event()
    work.waits(State.TRAINING, release)
    world.start()
    world.ask()
    await world.until_state("training")
    await asyncio.sleep(0.01)
    release.set()
    await asyncio.sleep(0)
    world.driver.cancel("j")

    assert (await world.until_over()).state == "cancelled"
