"""Are jobs born for the right reason, at the right time, once; and is it told why not?"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from support.job_world import World

from reactord.formats import curriculum
from reactord.jobs import births as module
from reactord.jobs.nights import MAX_NIGHTS
from reactord.jobs.scoring import Score
from reactord.ledger import told
from reactord.ledger.state import Model

SAMPLES = Path(__file__).parents[1] / "samples"
NIGHT = {"night_shift": "22:00-06:00", "time_zone": "UTC"}
HOUR = 3600.0


def at(text):
    return datetime.strptime(f"2026-11-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp()


class Owner:
    """A world in which births are looked at by hand. Jobs are moved by `ends`."""

    def __init__(self, home):
        self.home, self.world = home, None

    def set(self, text="20 12:00", fresh=5, **settings):
        if self.world:
            self.world.store.close()
        self.world = World(self.home, settle_s=0, **settings)
        self.intake, self.store = self.world.inbox.intake, self.world.store
        self.intake.fresh = fresh
        self.look(text)
        return self

    @property
    def births(self):
        return self.world.driver.births

    def look(self, text):
        """One look; the ids of the jobs that there are now, the newest first."""
        self.world.clock.now = at(text) if isinstance(text, str) else text
        self.births.go_on(self.store.live_jobs(), self.world.clock.now)
        self.births.look(self.world.clock.now)
        return [job.id for job in self.store.jobs()]

    def ends(self, job_id, trigger="fail", cause="for a reason", **facts):
        machine = self.world.driver.services.machine
        if trigger in ("complete", "reject", "roll_back"):
            for step in ("admit", "start", "export", *(("deploy",) if trigger != "reject" else ())):
                machine.fire(job_id, step, self.world.clock.now, cause="")
        machine.fire(job_id, trigger, self.world.clock.now, cause=cause, **facts)

    def fails(self, n):
        for i in range(n):
            self.world.ask(f"bad{i}")
            self.ends(f"bad{i}")

    def shown(self):
        return json.loads(self.home.births.read_bytes())

    def events(self):
        return [event.topic for event in reversed(told.about(self.store, "schedule", 99))]


@pytest.fixture
def owner(home):
    made = Owner(home)
    yield made
    made.world.store.close()


# -- enough is new -----------------------------------------------------------------------------------------------------
async def test_a_heavy_score_starts_a_job_before_the_number_does(owner, monkeypatch):
    owner.set(fresh=12, experience_threshold=100)
    score = Score(99.9, {"correction": 9}, "9 correction", 12)
    monkeypatch.setattr(owner.births._scoring, "look", lambda *_: score)
    assert owner.look("20 12:01") == []

    monkeypatch.setattr(owner.births._scoring, "look", lambda *_: replace(score, total=100.0))

    (job_id,) = owner.look("20 12:02")
    job = owner.world.job(job_id)
    assert job.request["born_of"] == "threshold"
    assert job.cause == "new experiences with a score of 100 (threshold 100): 9 correction"
    assert owner.world.told == ["queued"]


async def test_nothing_is_born_while_the_ingest_counts_anew(owner):
    owner.set(fresh=0, experience_threshold=100)
    owner.world.inbox.looked_upto, owner.intake.fresh = 7, 100

    assert owner.look("20 12:01") == []


# -- nights ------------------------------------------------------------------------------------------------------------
async def test_a_night_has_one_run_with_a_deadline_also_across_restarts(owner):
    owner.set(**NIGHT)
    assert owner.look("20 21:59") == []

    assert owner.look("20 22:00") == ["night-2026-11-20-2200"]
    job = owner.world.job("night-2026-11-20-2200")
    assert (job.request["born_of"], job.facts["not_after"]) == ("schedule", at("21 06:00"))
    owner.ends(job.id, "complete")
    owner.set("21 01:00", **NIGHT)

    assert owner.look("21 02:00") == [job.id]
    assert owner.look("21 22:00")[0] == "night-2026-11-21-2200"
    assert owner.events() == ["schedule.set", "schedule.kept"]


async def test_a_night_that_was_slept_through_is_told_and_made_up_once(owner):
    owner.set(**NIGHT)

    assert owner.look("21 09:00") == ["night-2026-11-20-2200"]
    assert owner.events() == ["schedule.set", "schedule.missed"]
    assert owner.shown()["schedule"]["last_missed"]["night"] == "night-2026-11-20-2200"
    assert owner.shown()["schedule"]["owed"] is None  # it is being made up
    owner.ends("night-2026-11-20-2200", "complete")
    owner.set("21 10:00", **NIGHT)
    assert owner.look("21 11:00") == ["night-2026-11-20-2200"]


async def test_nights_that_the_owner_did_not_want_for_a_while_were_not_missed(owner):
    owner.set(**NIGHT)
    owner.set("20 13:00", night_shift="")
    owner.look("25 12:00")
    owner.set("25 13:00", **NIGHT)

    assert owner.look("25 21:00") == []
    assert owner.events() == ["schedule.set"] * 3


async def test_whoever_never_had_nights_hears_nothing_of_them(owner):
    owner.set()
    owner.look("25 12:00")

    assert owner.events() == []


async def test_what_comes_when_a_night_is_nearly_over_is_for_the_next_one(owner):
    owner.set(fresh=0, **NIGHT)
    owner.look("20 22:00")
    owner.look("21 05:45")
    owner.intake.fresh = 5
    assert owner.look("21 05:50") == []

    assert owner.look("21 06:00") == []
    assert owner.events() == ["schedule.set", "schedule.kept"]


async def test_a_run_of_the_night_waits_neither_for_the_interval_nor_for_the_threshold(owner):
    owner.set("20 12:00", min_training_interval_s=12 * HOUR, **NIGHT)
    owner.world.ask("asked")
    owner.ends("asked", "complete")

    assert owner.look("20 22:00")[0] == "night-2026-11-20-2200"


async def test_another_job_holds_the_run_up_and_is_named_when_it_was_missed(owner):
    owner.set(**NIGHT)
    owner.world.ask("long")
    assert owner.look("20 23:00") == ["long"]
    owner.look("21 05:00")
    owner.ends("long")

    owner.look("21 06:00")

    missed = told.about(owner.store, "schedule", 1)[0]
    assert (missed.topic, missed.data["last_missed"]["why"]) == ("schedule.missed", "another job was at work")


async def test_a_run_that_is_not_done_goes_on_in_the_next_night(owner):
    owner.set(**NIGHT)
    (job_id,) = owner.look("20 22:00")
    machine = owner.world.driver.services.machine
    for step in ("admit", "start"):
        machine.fire(job_id, step, at("20 22:01"), cause="")
    owner.world.clock.now = at("21 05:59")
    leave = owner.births.leave(owner.world.job(job_id), "preempt", at("21 05:59"))
    machine.fire(job_id, leave.trigger, at("21 05:59"), cause=leave.cause, **leave.facts)

    assert owner.world.job(job_id).facts["not_before"] == at("21 22:00")
    assert owner.look("21 22:00") == [job_id]  # it is this night's run
    assert owner.world.job(job_id).facts["not_after"] == at("22 06:00")
    owner.ends(job_id, "fail")
    owner.look("22 06:00")
    assert owner.events()[1:] == ["schedule.kept", "schedule.kept"]


async def test_a_run_that_no_night_is_long_enough_for_fails_in_the_end(owner):
    owner.set(**NIGHT)
    (job_id,) = owner.look("20 22:00")
    job = owner.world.job(job_id)
    job.facts["nights"] = ["n"] * MAX_NIGHTS

    leave = owner.births.leave(job, "preempt", at("21 05:59"))

    assert leave.trigger == "fail"
    assert "make them longer" in leave.cause


async def test_a_driver_ends_a_run_before_its_night_does(home, monkeypatch):
    from reactord.jobs import driver

    stopped = []

    async def work(services, job):
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(services.clock())

    monkeypatch.setattr(driver, "WORK", dict.fromkeys(driver.WORK, work))
    monkeypatch.setattr(driver, "LOOK_EVERY_S", 0.01)
    world = World(home, settle_s=0, **NIGHT)
    world.inbox.intake.fresh, world.clock.now = 5, at("20 22:00")
    job_id = "night-2026-11-20-2200"
    world.start()
    await world.until(lambda: world.store.job(job_id) and world.job(job_id).state == "reserving")
    world.clock.now = at("21 05:59") + 29
    await asyncio.sleep(0.05)
    assert not stopped

    world.clock.now += 1

    job = await world.until_state("queued", identity=job_id)
    assert stopped == [at("21 05:59") + 30]
    assert (job.facts["not_before"], job.cause) == (at("21 22:00"), "its time was over; it goes on in the next night")
    world.clock.now = at("21 22:00")
    await world.until_state("reserving", identity=job_id)
    await world.stop()
    world.store.close()


# -- reasons of their own ----------------------------------------------------------------------------------------------
def _curriculum(owner):
    facts = {"top_k": [{"task_type": "bug_fix", "priority": 0.4, "failure_rate": 0.6}]}
    with owner.store.transaction():
        owner.store.note("curriculum", "today", owner.world.clock.now, facts=facts)


async def test_a_curriculum_starts_a_job_when_a_bit_is_new(owner):
    owner.set(fresh=19, signal_threshold=20)
    _curriculum(owner)
    assert owner.look("20 12:01") == []
    owner.intake.fresh = 20

    (job_id,) = owner.look("20 12:02")

    assert owner.world.job(job_id).request["born_of"] == "curriculum"
    assert "bug_fix" in owner.world.job(job_id).cause
    owner.ends(job_id, "complete")
    assert owner.look("20 18:00") == [job_id]  # it was followed
    _curriculum(owner)
    assert len(owner.look("20 18:01")) == 2


async def test_a_curriculum_as_body_writes_it_reaches_the_rule(owner):
    owner.set(fresh=20)
    raw = (SAMPLES / "curriculum" / "good-curriculum.json").read_bytes()
    (notice,) = curriculum.parse(raw, "curriculum_1.json")
    with owner.store.transaction():  # as jobs/news.py tells it on
        owner.store.note(notice.topic, notice.subject, owner.world.clock.now, event_id="1-2-0", facts=notice.facts)

    (job_id,) = owner.look("20 12:01")

    assert owner.world.job(job_id).cause == "the curriculum asks for 'bug_fix' (failed 61%)"


async def test_a_measured_drift_starts_a_job_when_a_bit_is_new(owner):
    owner.set(fresh=20)
    model = Model(version="v1", model_id="m", job_id="maker", created_at=at("19 12:00"), fate="deployed",
                  facts={"candidate": {"exact_answer_rate": 0.9, "verifiable": 48}})  # fmt: skip
    with owner.store.transaction():
        owner.store.put_model(model)
    owner.world.ask("judge")
    owner.ends("judge", "reject", incumbent={"exact_answer_rate": 0.4, "verifiable": 48})
    assert owner.look("20 12:30") == ["judge"]  # too soon

    job_id = owner.look("20 13:00")[0]

    assert owner.world.job(job_id).request["born_of"] == "drift"


# -- the breaker -------------------------------------------------------------------------------------------------------
async def test_after_failures_nothing_is_born_until_the_time_that_is_told(owner):
    owner.set(fresh=100, experience_threshold=100, min_training_interval_s=0, breaker_failures=3, breaker_wait_s=3600)
    owner.ends(owner.look("20 12:01")[0])
    owner.fails(2)

    assert len(owner.look("20 13:00")) == 3
    paused = owner.shown()["paused"]
    assert (paused["failures"], paused["until"], paused["cause"]) == (3, at("20 13:01"), "for a reason")
    assert len(owner.look("20 13:01")) == 4  # one is tried
    assert owner.shown()["paused"] is None


async def test_who_asks_gets_a_job_and_its_success_ends_the_pause(owner):
    owner.set(fresh=0, experience_threshold=100, min_training_interval_s=0)
    owner.fails(5)
    owner.intake.fresh = 100
    assert len(owner.look("20 12:30")) == 5
    owner.world.ask("asked")
    owner.ends("asked", "complete")

    assert len(owner.look("20 12:31")) == 7


async def test_a_night_that_the_pause_kept_from_its_run_was_missed_for_that(owner):
    owner.set(breaker_wait_s=24 * HOUR, **NIGHT)
    owner.world.clock.now = at("20 21:00")
    owner.fails(3)
    assert len(owner.look("20 23:00")) == 3

    owner.look("21 06:00")

    assert told.about(owner.store, "schedule", 1)[0].data["last_missed"]["why"] == "3 jobs in a row had failed"


# -- what is shown -----------------------------------------------------------------------------------------------------
async def test_what_is_shown_is_written_when_it_changes(owner, monkeypatch):
    owner.set(**NIGHT)
    written = []
    real = module.durable.publish
    monkeypatch.setattr(module.durable, "publish", lambda *what: (written.append(what), real(*what)))
    owner.look("20 12:01")
    owner.look("20 12:02")
    assert written == []
    owner.look("20 22:00")

    assert len(written) == 1
    assert owner.shown()["schedule"]["open_until"] == at("21 06:00")


async def test_a_restart_writes_nothing_that_is_known(owner, monkeypatch):
    owner.set(**NIGHT)
    monkeypatch.setattr(module.durable, "publish", lambda *_: pytest.fail("written again"))

    owner.set("20 12:05", **NIGHT)


async def test_a_score_that_changes_all_the_time_is_written_now_and_then(owner, monkeypatch):
    owner.set(fresh=12)
    scores = (Score(float(n), {"plain": n}, "", n) for n in range(1, 100))
    monkeypatch.setattr(owner.births._scoring, "look", lambda *_: next(scores))
    owner.look("20 12:01")
    owner.look("20 12:01")
    assert owner.shown()["score"]["total"] == 1.0  # the first one at once

    owner.births._publish_at = 0.0  # ten seconds have passed
    owner.look("20 12:01")
    owner.look("20 12:01")

    assert owner.shown()["score"] == {"total": 3.0, "counts": {"plain": 3}, "complete": True}


# -- all of it, for a season -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("crons", ["", "30 2 * * *"])
async def test_a_season_with_a_clock_change_has_one_run_a_night_across_restarts(owner, crons):
    """What the simulation of years (tests/properties) leaves out: the store, the events, and the looks themselves."""
    zone = ZoneInfo("Australia/Lord_Howe")
    plan = {"time_zone": "Australia/Lord_Howe", "min_training_interval_s": 0.0}
    plan |= {"night_shift_cron": crons, "night_shift_cron_hours": 3.0} if crons else {"night_shift": "22:00-06:00"}
    begin = datetime(2026, 9, 25, 12, tzinfo=zone).timestamp()
    owner.set(begin, **plan)
    for step in range(20 * 24 * 4):
        now = begin + step * 900
        if step % 150 == 149:
            owner.set(now, **plan)
        for job in owner.store.live_jobs() if owner.look(now) else ():
            owner.ends(job.id, "complete")

    nights = sorted(job.id for job in owner.store.jobs())
    assert len(nights) == len({night[:16] for night in nights}) == 20
    ran = sum(event.data.get("ran", 0) for event in told.about(owner.store, "schedule", 99))
    assert (ran, owner.events().count("schedule.missed")) == (20, 0)
    assert owner.shown()["schedule"]["owed"] is None
