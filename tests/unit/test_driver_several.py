"""Do two jobs train beside each other, and only train, and does each go its own way?"""

from __future__ import annotations

import asyncio

import pytest
from support.driver_work import WORKING, stand_in
from support.job_world import World

from reactord.jobs.states import State


@pytest.fixture
def work(monkeypatch):
    return stand_in(monkeypatch)


@pytest.fixture
async def wide(home, work):
    """A daemon that may run two jobs at once."""
    made = World(home, max_concurrent_training_jobs=2)
    yield made
    await made.close()


async def _taken(services, job):
    await services.slot.take(1, delegated=False)
    services.machine.learn(job, services.clock(), dataset=f"of {job.id}")


async def test_two_jobs_train_beside_each_other_but_choose_and_deploy_one_after_the_other(wide, work):
    seen, at_work, release = [], set(), asyncio.Event()

    async def watched(services, job):
        at_work.add((job.id, str(job.state)))
        seen.append(frozenset(at_work))
        if job.state == State.TRAINING:
            await _taken(services, job)
            await release.wait()
        await asyncio.sleep(0.02)
        at_work.discard((job.id, str(job.state)))

    work.plan = dict.fromkeys(WORKING, watched)
    for identity in "abc":
        wide.ask(identity)
    wide.start()
    await wide.until(lambda: {("a", "training"), ("b", "training")} <= at_work)
    assert wide.job("c").state == "queued"
    release.set()
    for identity in "abc":
        assert (await wide.until_over(identity)).state == "completed"

    assert max(len(moment) for moment in seen) == 2
    for moment in seen:
        assert len([state for _, state in moment if state in ("exporting", "deploying")]) <= 1
        assert len([state for _, state in moment if state == "reserving"]) <= 1
    assert not wide.slot.held


async def test_a_second_job_waits_until_the_first_has_taken_its_dataset(wide, work):
    release = asyncio.Event()

    async def choose(services, job):
        if job.state == State.TRAINING and job.id == "a":
            await release.wait()
            await _taken(services, job)
            await asyncio.Event().wait()

    work.plan[State.TRAINING] = choose
    wide.ask("a")
    wide.ask("b")
    wide.start()
    await wide.until_state("training", identity="a")
    await asyncio.sleep(0.05)
    assert wide.job("b").state == "queued"

    release.set()

    assert (await wide.until_over("b")).state == "completed"
    assert wide.slot.held  # the other one is still at it


async def test_stopping_ends_all_jobs_at_the_same_time(wide, work):
    async def leaves_slowly(services, job):
        await _taken(services, job)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.3)  # SIGTERM, checkpoint
            raise

    work.plan[State.TRAINING] = leaves_slowly
    wide.ask("a")
    wide.ask("b")
    wide.start()
    await wide.until_state("training", identity="b")
    await wide.until(lambda: work.calls.count("training") == 2)
    began = asyncio.get_running_loop().time()

    await wide.stop()

    assert asyncio.get_running_loop().time() - began < 0.55
    assert [wide.job(identity).state for identity in "ab"] == ["queued", "queued"]


async def test_cancelling_one_of_two_leaves_the_other_alone(wide, work):
    async def wait(services, job):
        await _taken(services, job)
        await asyncio.Event().wait()

    work.plan[State.TRAINING] = wait
    wide.ask("a")
    wide.ask("b")
    wide.start()
    await wide.until(lambda: work.calls.count("training") == 2)

    wide.driver.cancel("a")

    await wide.until_over("a")
    assert (wide.job("b").state, wide.driver.running) == ("training", "b")
    assert wide.slot.held


async def test_a_job_that_waits_to_be_judged_can_be_cancelled_while_another_is(wide, work):
    release = asyncio.Event()

    async def go(services, job):
        if job.state == State.TRAINING:
            await _taken(services, job)
        if job.state == State.EXPORTING:
            await release.wait()

    work.plan = dict.fromkeys(WORKING, go)
    wide.ask("a")
    wide.ask("b")
    wide.start()
    await wide.until_state("exporting", identity="b")
    await asyncio.sleep(0.02)
    assert work.calls.count("exporting") == 1

    wide.driver.cancel("b")

    assert (await wide.until_over("b")).state == "cancelled"
    release.set()
    assert (await wide.until_over("a")).state == "completed"
