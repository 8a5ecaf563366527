"""Is the right run born in a night, once, and is what was missed told?"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from reactord import schedule
from reactord.jobs import nights
from reactord.jobs.nights import KEPT, MISSED, SET, Seen

HOUR = 3600.0


def at(text):
    return datetime.strptime(f"2026-11-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp()


def plan(text="22:00-06:00"):
    return schedule.Schedule(schedule.windows(text), (), lambda: UTC, text)


@dataclass
class Owner:
    """Looks at one schedule, remembers what was written down, and which nights a job had."""

    schedule: schedule.Schedule = field(default_factory=plan)
    waits: int = 5
    had: set[str] = field(default_factory=set)
    entries: list[tuple[str, dict]] = field(default_factory=list)
    make_up: bool = True

    def seen(self):
        return Seen(self.waits, self.had.__contains__)

    def known(self, now):
        return nights.applicable((facts for _, facts in reversed(self.entries)), self.schedule.text, now)

    def account(self, text):
        """Account for what ended; returns the entry that was written down."""
        _, entry = nights.account(self.schedule, self.known(at(text)), self.seen(), at(text))
        if entry:
            self.entries.append((entry.topic, entry.facts))
        return entry

    def look(self, text):
        """The run to be born."""
        self.account(text)
        return nights.tonight(
            self.schedule, self.known(at(text)), self.seen(), at(text), make_up=self.make_up
        )  # fmt: skip


@pytest.fixture
def owner():
    made = Owner()
    made.account("20 12:00")
    return made


# -- tonight -----------------------------------------------------------------------------------------------------------
def test_the_run_of_the_night_is_born_when_it_opens_and_must_end_before_it_closes(owner):
    assert owner.look("20 21:59") is None

    run = owner.look("20 22:00")

    assert (run.night.id, run.not_after, run.made_up) == ("night-2026-11-20-2200", at("21 06:00"), False)
    assert run.facts == {"night": run.night.id, "nights": [run.night.id], "not_after": at("21 06:00")}
    assert "5 new experiences wait" in run.cause


def test_a_night_that_a_job_had_has_no_other(owner):
    owner.had.add("night-2026-11-20-2200")

    assert owner.look("20 22:00") is None
    assert owner.look("21 03:00") is None
    assert owner.look("21 22:00").night.id == "night-2026-11-21-2200"


def test_nothing_is_born_of_nothing(owner):
    owner.waits = 0

    assert owner.look("20 23:00") is None


def test_who_wakes_in_the_night_still_runs_unless_too_little_is_left_of_it(owner):
    assert owner.look("21 05:45")
    assert owner.look("21 05:46") is None


# -- what became of the nights -----------------------------------------------------------------------------------------
def test_no_night_before_the_schedule_was_new_is_missed(owner):
    assert [topic for topic, _ in owner.entries] == [SET]
    assert owner.account("20 21:00") is None


def test_a_night_with_a_run_is_kept(owner):
    owner.had.add("night-2026-11-20-2200")

    entry = owner.account("21 06:00")

    assert (entry.topic, entry.facts["ran"], entry.facts["missed"]) == (KEPT, 1, 0)
    assert owner.account("21 06:01") is None  # told once


def test_a_night_in_which_nothing_waited_is_kept(owner):
    owner.waits = 0

    entry = owner.account("21 06:00")

    assert (entry.topic, entry.facts["quiet"]) == (KEPT, 1)


def test_a_night_without_its_run_is_missed_and_told_once_with_the_reason(owner):
    entry = owner.account("21 07:00")

    assert entry.topic == MISSED
    assert entry.facts["last_missed"] == {
        "night": "night-2026-11-20-2200", "ended": at("21 06:00"), "why": nights.UNWATCHED,
    }  # fmt: skip
    assert owner.account("21 07:01") is None


def test_of_many_missed_nights_the_account_is_one(owner):
    owner.had.add("night-2026-11-22-2200")

    entry = owner.account("27 12:00")

    assert (entry.facts["missed"], entry.facts["ran"]) == (6, 1)
    assert (entry.facts["first"], entry.facts["last"]) == ("night-2026-11-20-2200", "night-2026-11-26-2200")


def test_another_schedule_begins_anew(owner):
    owner.schedule = plan("01:00-05:00")

    assert owner.account("24 12:00").topic == SET
    assert owner.account("24 12:01") is None
    owner.schedule = plan()
    assert owner.account("26 12:00").topic == SET  # not the nights in which it was another one


# -- clocks ------------------------------------------------------------------------------------------------------------
def test_what_a_clock_far_ahead_had_us_tell_does_not_count_before_its_time(owner):
    assert owner.account("27 12:00").facts["missed"] == 7
    owner.had.add("night-2026-11-20-2200")

    entry = owner.account("21 12:00")

    assert (entry.topic, entry.facts["first"], entry.facts["last"]) == (KEPT, *["night-2026-11-20-2200"] * 2)


def test_a_clock_that_was_far_behind_has_no_night_told_twice(owner):
    owner.account("24 12:00")
    assert owner.account("21 12:00").facts["missed"] == 1  # by that clock, it was

    assert owner.account("24 12:01") is None


def test_a_clock_before_our_time_tells_nothing(owner):
    assert owner.account("11 12:00") is None
    assert len(owner.entries) == 1


# -- making up ---------------------------------------------------------------------------------------------------------
def test_a_missed_night_is_made_up_once_and_not_longer_than_it_was(owner):
    run = owner.look("21 08:00")

    assert (run.night.id, run.made_up, run.not_after) == ("night-2026-11-20-2200", True, at("21 16:00"))
    owner.had.add(run.night.id)
    assert owner.look("21 09:00") is None
    assert owner.look("21 17:00") is None


def test_of_many_missed_nights_one_is_made_up(owner):
    run = owner.look("27 08:00")
    assert run.night.id == "night-2026-11-26-2200"
    owner.had.add(run.night.id)

    assert owner.look("27 12:00") is None


def test_what_is_made_up_ends_before_the_next_night_begins(owner):
    assert owner.look("21 17:00").not_after == at("21 22:00")


def test_a_night_is_not_made_up_when_the_next_one_is_near(owner):
    assert owner.look("21 18:01") is None
    assert owner.look("21 22:00").night.id == "night-2026-11-21-2200"


def test_a_night_with_its_run_leaves_nothing_to_make_up(owner):
    owner.make_up = False
    assert owner.look("21 08:00") is None
    owner.had.add("night-2026-11-21-2200")
    owner.make_up = True

    assert owner.look("22 08:00") is None


def test_nothing_is_made_up_for_whoever_does_not_want_it(owner):
    owner.make_up = False

    assert owner.look("21 08:00") is None


# -- deadlines ---------------------------------------------------------------------------------------------------------
def test_time_is_up_a_bit_before_the_night_ends():
    facts = {"not_after": 1000.0}

    assert not nights.time_is_up(facts, 1000.0 - nights.END_BEFORE_S - 1)
    assert nights.time_is_up(facts, 1000.0 - nights.END_BEFORE_S)
    assert not nights.time_is_up({}, 1e12)
    assert not nights.time_is_up({"not_after": None}, 1e12)


def told(facts, text, made=None):
    new = nights.go_on(plan() if made is None else made, facts, at(text))
    return {**facts, **new} if new else None


@pytest.fixture
def facts(owner):
    return owner.look("20 22:00").facts


def test_a_run_that_is_not_done_goes_on_in_the_next_night_and_counts_as_its_run(facts):
    waits = told(facts, "21 05:59")
    assert (waits["night"], waits["not_before"]) == ("night-2026-11-21-2200", at("21 22:00"))
    assert waits["nights"] == ["night-2026-11-20-2200"]
    assert told(waits, "21 12:00") is None

    goes_on = told(waits, "21 22:00")

    assert (goes_on["not_before"], goes_on["not_after"]) == (0.0, at("22 06:00"))
    assert goes_on["nights"] == ["night-2026-11-20-2200", "night-2026-11-21-2200"]
    assert told(goes_on, "21 22:01") is None


def test_a_pause_within_a_night_is_left_alone(facts):
    assert told(facts | {"not_before": at("20 23:00")}, "20 22:30") is None


def test_a_night_that_was_slept_through_is_followed_by_the_next(facts):
    waits = told(facts, "21 05:59")

    assert told(waits, "23 12:00")["night"] == "night-2026-11-23-2200"
    assert told(waits, "24 02:00")["nights"] == ["night-2026-11-20-2200", "night-2026-11-23-2200"]


def test_no_job_waits_for_a_night_that_a_wrong_clock_chose(facts):
    waits = told(facts, "29 12:00")
    assert waits["not_before"] == at("29 22:00")

    assert told(waits, "21 12:00")["not_before"] == at("21 22:00")
    assert told(waits, "21 23:00")["not_before"] == 0.0


def test_a_run_that_is_made_up_keeps_its_own_time_and_then_goes_on_at_night(owner):
    facts = owner.look("21 08:00").facts

    assert told(facts, "21 12:00") is None
    assert told(facts, "21 16:00")["night"] == "night-2026-11-21-2200"
    assert told(facts, "20 12:00") is not None  # no clock that is right gave it so much time


def test_without_a_schedule_a_run_may_go_on_at_once(facts):
    freed = told(facts, "21 12:00", made=plan(""))

    assert (freed["not_after"], freed["not_before"]) == (None, 0.0)
    assert told(freed, "21 12:00", made=plan("")) is None


def test_a_job_that_was_asked_for_has_no_deadline():
    assert nights.go_on(plan(), {"not_before": 5.0}, at("20 12:00")) is None
