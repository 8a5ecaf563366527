"""Is a job born, does it go through its states in its turn, and does it end in the right one?"""

from __future__ import annotations

import asyncio

import pytest
from support.driver_work import WORKING, stand_in
from support.job_world import World

from reactord.jobs import admitting, preflight, tidying
from reactord.jobs.stages import Next
from reactord.jobs.states import State

LIFE = ["queued", "reserving", "training", "exporting", "deploying", "completed"]


@pytest.fixture
def work(monkeypatch):
    return stand_in(monkeypatch)


@pytest.fixture
async def world(home, work):
    made = World(home)
    yield made
    await made.close()


# -- a life ------------------------------------------------------------------------------------------------------------
async def test_a_job_goes_through_its_states_and_everybody_is_told(world, work):
    world.start()
    world.ask()

    job = await world.until_over()

    assert (job.state, job.fence) == ("completed", 1)
    assert world.states() == world.told == LIFE
    assert work.calls == LIFE[1:-1]
    assert world.driver.running is None
    assert not world.slot.held


async def test_jobs_run_one_at_a_time_in_the_order_of_the_queue(world, work):
    running = set()

    async def alone(services, job):
        running.add(job.id)
        assert running == {job.id}
        await asyncio.sleep(0.005)
        running.discard(job.id)

    work.plan = dict.fromkeys(WORKING, alone)
    for identity, priority in (("low", "low"), ("high", "high"), ("normal", "normal")):
        world.ask(identity, priority=priority)
    world.start()
    for identity in ("low", "high", "normal"):
        assert (await world.until_over(identity)).state == "completed"

    ended = [event.subject for event in world.store.events() if event.topic == "job.completed"]
    assert ended == ["high", "normal", "low"]


# -- deadlines ---------------------------------------------------------------------------------------------------------
async def test_a_job_that_waited_too_long_in_the_queue_ends_and_says_for_what(world, work):
    work.does(State.RESERVING, Next("requeue", "no memory beside Prime", {"not_before": world.clock.now + 10}))
    world.start()
    world.ask()
    await world.until(lambda: world.states().count("queued") == 2)

    world.clock.now += world.settings.queue_deadline_s + 1

    job = await world.until_over()
    assert (job.state, job.facts["end_reason"]) == ("failed", "deadline")
    assert "no memory beside Prime" in job.cause
    assert "7.0 days" in job.cause


async def test_a_state_that_takes_too_long_is_shown_and_done_again(home, work):
    world = World(home, deploy_deadline_s=0.1)
    work.waits(State.DEPLOYING)
    world.start()
    world.ask()

    await world.until(lambda: world.driver.trouble)
    assert "deploying took longer than 0 s" in world.driver.trouble
    work.plan.clear()

    assert (await world.until_over()).state == "completed"
    assert work.calls.count("deploying") >= 2
    await world.close()


# -- the disk ----------------------------------------------------------------------------------------------------------
async def test_a_job_that_would_fill_the_disk_is_not_even_begun_until_there_is_room(world, work, monkeypatch):
    free = [10]
    usage = type("Usage", (), {"free": property(lambda _: free[0])})()
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: usage)
    world.start()
    world.ask()
    await world.until(lambda: world.job().facts.get("end_reason") == "disk_full")
    job = world.job()
    assert (job.state, work.calls) == ("queued", [])
    assert "make room, the job goes on by itself" in job.cause
    free[0] = 10**15

    world.clock.now += admitting.ROOM_EVERY_S

    assert (await world.until_over()).state == "completed"


@pytest.mark.parametrize(
    ("state", "said"), [("training", Next("fail", "no")), ("training", Next("skip", "no")), ("exporting", None)]
)
async def test_the_scratch_of_a_job_is_freed_when_it_is_over(world, work, home, state, said):
    for name in tidying.SCRATCH:
        (home.jobs / "j" / name).mkdir(parents=True)
        (home.jobs / "j" / name / "large").write_bytes(b"x" * 1000)
    (home.jobs / "j" / "worker.log").write_text("why")
    work.does(state, said) if said else work.waits(state)
    world.start()
    world.ask()
    if said is None:
        await world.until_state("exporting")
        world.driver.cancel("j")
    await world.until_over()

    await world.until(lambda: not any((home.jobs / "j" / name).exists() for name in tidying.SCRATCH))
    assert (home.jobs / "j" / "worker.log").read_text() == "why"


# -- other ends --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("state", "trigger", "end"),
    [("exporting", "reject", "rejected"), ("deploying", "roll_back", "rolled_back"), ("training", "fail", "failed")],
)
async def test_a_job_can_end_otherwise(world, work, state, trigger, end):
    work.does(state, Next(trigger, "for a reason"))
    world.start()
    world.ask()

    job = await world.until_over()

    assert (job.state, job.cause) == (end, "for a reason")
    assert not world.slot.held


async def test_a_job_that_found_no_memory_waits_in_the_queue_and_lets_others_pass(world, work):
    work.does(State.RESERVING, Next("requeue", "no memory", {"not_before": world.clock.now + 10}), times=1)
    world.start()
    world.ask("first", priority="high")
    world.ask("second")
    await world.until_over("second")
    assert world.job("first").state == "queued"

    world.clock.now += 10

    assert (await world.until_over("first")).state == "completed"


# -- birth -------------------------------------------------------------------------------------------------------------
async def test_a_job_is_born_of_new_experiences_once(home, work):
    world = World(home, experience_threshold=100, settle_s=0)
    world.inbox.intake.fresh = 100
    world.start()
    await world.until(world.store.jobs)
    (job,) = world.store.jobs()
    await world.until_over(job.id)
    world.inbox.intake.fresh_after = world.inbox.looked_upto
    world.clock.now += 1e6
    world.inbox.intake.fresh = 99
    await asyncio.sleep(0.05)

    assert len(world.store.jobs()) == 1
    assert job.request["born_of"] == "threshold"
    await world.close()


async def test_no_job_is_born_after_a_restart_of_what_one_has_looked_at(home, work):
    """The ingest thread counts anew when it learns what was looked at; until then its number means nothing."""
    world = World(home, experience_threshold=100, settle_s=0)
    world.ask()
    world.start()
    await world.until_over()
    await world.stop()
    world.clock.now += 1e6
    world.inbox.looked_upto, world.inbox.intake.fresh_after, world.inbox.intake.fresh = 0, 0, 100
    await world.restart()
    await asyncio.sleep(0.05)
    assert len(world.store.jobs()) == 1

    assert world.inbox.looked_upto == 7
    world.inbox.intake.fresh_after = 7
    await world.until(lambda: len(world.store.jobs()) == 2)
    await world.close()
