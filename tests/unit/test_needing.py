"""Does a job wait for its data in nobody's way, with the reason, and never for ever?"""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.job_world import World

from reactord.jobs import driver as driver_module
from reactord.jobs import needing
from reactord.jobs.needing import Lack, lacks
from reactord.jobs.stages import Next
from reactord.jobs.states import State
from reactord.jobs.triggers import Growth, busy, due
from reactord.settings import Settings

DAY_S = 24 * 3600.0


@pytest.fixture
def world(home, monkeypatch):
    """Every state's work is done at once; what chooses examples has looked at all that was there."""

    async def work(services, job):
        following = {"reserving": "start", "training": "export", "exporting": "deploy", "deploying": "complete"}
        facts = {"fence": 1, "upto": 7} if job.state == State.RESERVING else {}
        return Next(following[job.state], "done", facts)

    for state in (State.RESERVING, State.TRAINING, State.EXPORTING, State.DEPLOYING):
        monkeypatch.setitem(driver_module.WORK, state, work)
    monkeypatch.setattr(driver_module, "LOOK_EVERY_S", 0.01)
    made = World(home)
    yield made
    made.store.close()


def _experiences(world, count):
    world.inbox.intake.fresh, world.inbox.intake.fresh_after = count, 10**6


def _lack(world, job_id="j", fresh=0, later_s=0.0, **settings):
    now = world.clock.now + later_s
    return lacks(world.job(job_id), Settings(**settings), fresh, world.store, now)


# -- decided -----------------------------------------------------------------------------------------------------------
def test_a_job_that_asks_for_nothing_waits_for_nothing(world):
    world.ask()

    assert _lack(world) is None


def test_how_many_of_how_many_is_said(world):
    world.ask(needs_experiences=100)

    assert _lack(world, fresh=12) == Lack("waits for data: 12 of 100 new experiences are there")
    assert _lack(world, fresh=100) is None


def test_the_setting_holds_for_jobs_that_somebody_asked_for_and_did_not_say_otherwise(world):
    world.ask("asked")
    world.ask("knows", needs_experiences=0)
    world.ask("born", born_of="threshold")

    assert _lack(world, "asked", min_experiences=5).words == "waits for data: 0 of 5 new experiences are there"
    assert _lack(world, "knows", min_experiences=5) is None
    assert _lack(world, "born", min_experiences=5) is None


def test_what_did_not_come_in_its_time_is_not_waited_for(world):
    world.ask(needs_experiences=100)

    assert not _lack(world, fresh=12, later_s=DAY_S - 1).final
    given_up = _lack(world, fresh=12, later_s=DAY_S)
    assert given_up == Lack("12 of 100 new experiences are there after 24.0 h (REACTOR_DATA_WAIT_S)", final=True)
    assert _lack(world, fresh=12, later_s=60.0, queue_deadline_s=60.0).final  # before the queue fails it


def test_a_dataset_is_named_by_its_id_or_by_the_job_that_makes_it(world):
    world.ask("maker")
    world.ask("a", needs_dataset="maker")
    world.ask("b", needs_dataset="d1")
    assert _lack(world, "a") == Lack("waits for data: maker has made no dataset (queued)")
    assert _lack(world, "b") == Lack("waits for data: the dataset d1 is not there")

    with world.store.transaction():
        world.store.insert_dataset("d1", "maker", 1.0)

    assert _lack(world, "a") is None
    assert _lack(world, "b") is None


async def test_a_dataset_that_will_never_be_there_is_not_waited_for(world):
    world.ask("maker")
    world.driver.cancel("maker")
    world.ask("a", needs_dataset="maker")
    world.ask("b", needs_dataset="b")

    assert _lack(world, "a") == Lack("maker has made no dataset (cancelled): there is nothing to wait for", final=True)
    assert _lack(world, "b").final


def test_a_job_that_has_begun_goes_on_with_what_was_there(world):
    """It has looked at the records: none is new any more."""
    job = world.ask(needs_experiences=100)

    assert lacks(replace(job, facts={"upto": 7}), Settings(), 0, world.store, world.clock.now) is None


def test_who_waits_for_data_keeps_no_job_from_being_born(world):
    waiting = replace(world.ask(needs_experiences=1000), facts={"lacks": "12 of 1000"})
    growth = Growth(fresh=500, last_arrival_at=0.0)

    assert not busy([waiting])
    assert due(Settings(experience_threshold=100), growth, [waiting], world.clock.now)
    assert busy([replace(waiting, facts={"lacks": None})])


# -- carried out -------------------------------------------------------------------------------------------------------
async def test_a_job_waits_queued_with_the_reason_and_goes_when_enough_is_there(world):
    world.ask(needs_experiences=100)
    _experiences(world, 12)
    world.start()
    await world.until(lambda: world.job().facts.get("lacks"))
    assert (world.job().state, world.job().cause) == ("queued", "waits for data: 12 of 100 new experiences are there")

    world.inbox.intake.fresh = 100
    job = await world.until_over()

    assert job.state == "completed"
    assert job.facts["lacks"] is None
    await world.stop()


async def test_others_pass_it_and_it_sees_what_is_left(world):
    world.ask("first", needs_experiences=100)
    _experiences(world, 12)
    world.ask("second")
    world.start()

    assert (await world.until_over("second")).state == "completed"
    assert world.job("first").state == "queued"
    await world.stop()


async def test_a_count_that_is_just_being_made_anew_starts_nothing(world):
    _experiences(world, 500)
    world.inbox.looked_upto = 10**6 + 1
    world.ask(needs_experiences=100)
    world.ask("other")
    world.start()
    await world.until_over("other")
    assert world.job().state == "queued"

    world.inbox.intake.fresh_after = world.inbox.looked_upto
    await world.until_over()
    await world.stop()


async def test_a_job_whose_data_never_comes_is_skipped_which_is_no_failure(world):
    world.ask("maker")
    world.driver.cancel("maker")
    world.ask(needs_dataset="maker")
    world.start()

    job = await world.until_over()

    assert (job.state, job.facts["lacks"]) == ("skipped", None)
    assert "there is nothing to wait for" in job.cause
    await world.stop()


async def test_a_chain_of_jobs_runs_in_its_order(world):
    _experiences(world, 0)
    world.ask("second", needs_dataset="first")
    world.start()
    await world.until(lambda: world.job("second").facts.get("lacks"))
    world.ask("first")
    await world.until_over("first")
    assert world.job("second").state in {"queued", "skipped"}  # this first made no dataset
    world.ask("third", needs_dataset="d3")
    with world.store.transaction():
        world.store.insert_dataset("d3", "somebody", 1.0)

    assert (await world.until_over("third")).state == "completed"
    assert (await world.until_over("second")).state == "skipped"
    await world.stop()


async def test_a_growing_count_does_not_fill_the_journal(world):
    world.ask(needs_experiences=10**6)
    _experiences(world, 0)
    world.start()
    for count in range(50):
        world.inbox.intake.fresh = count
        await world.until(lambda: world.job().facts.get("lacks"))
        world.driver._wake.set()
    facts = [event for event in world.store.events() if event.topic == "job.fact"]
    assert len(facts) == 1

    world.clock.now += needing.TELL_EVERY_S
    await world.until(lambda: "49 of" in world.job().cause)
    await world.stop()
