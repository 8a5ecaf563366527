"""Ten years in twenty time zones: every night has its run, or is reported; none has two; none lasts too long."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from support.night_years import Found, Machine

from reactord import schedule
from reactord.jobs import nights
from reactord.localtime import named

ZONES = (
    "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "Asia/Kolkata", "Pacific/Chatham", "America/Santiago",
    "Europe/Berlin", "Europe/London", "Europe/Dublin", "America/New_York", "America/Los_Angeles", "America/St_Johns",
    "America/Sao_Paulo", "America/Havana", "Asia/Tehran", "Asia/Gaza", "Africa/Cairo", "Antarctica/Troll",
    "Asia/Kathmandu", "UTC",
)  # fmt: skip
#: (windows, cron expression, begin and end in minutes of the day)
PLANS = (
    ("22:00-06:00", "", 1320, 360), ("02:15-02:45", "", 135, 165), ("00:00-05:30", "", 0, 330),
    ("", "30 2 * * *", 150, 330), ("23:30-02:30", "", 1410, 150), ("01:30-03:30", "", 90, 210),
    ("", "0 23 * * *", 1380, 120),
)  # fmt: skip
FIRST = datetime(2011, 1, 1)  # noqa: DTZ001 - of each zone's own; Apia leaps over a day at the end of that year


def live(number: int, years: int) -> Found:
    zone, (windows, crons, begin, end) = named(ZONES[number]), PLANS[number % len(PLANS)]
    schedule._night.cache_clear()
    read = schedule.windows(windows), schedule.crons(crons, 3.0)
    made = schedule.Schedule(*read, lambda: zone, windows + crons)
    return Machine(made, zone, begin, end, seed=number).run(FIRST, years)


def test_ten_years_in_twenty_time_zones():
    found = {ZONES[number]: live(number, 10) for number in range(len(ZONES))}

    missed = {zone: f.missed[:3] for zone, f in found.items() if f.missed}
    doubled = {zone: f.doubled[:3] for zone, f in found.items() if f.doubled}
    overrun = {zone: f.overrun[:3] for zone, f in found.items() if f.overrun}
    assert (missed, doubled, overrun) == ({}, {}, {})
    # and it was no easy life
    assert all(f.nights > 3640 and f.ran > 2900 and f.spells > 200 for f in found.values())
    assert all(f.reported > 500 and f.made_up > 10 and f.quiet > 10 for f in found.values())
    assert sum(f.went_on for f in found.values()) > 5000


# -- planted mistakes --------------------------------------------------------------------------------------------------
def _no_summer(wall, zone):
    """The offset of January all year round."""
    offset = wall.replace(month=1, day=5, tzinfo=zone).utcoffset()
    return wall.replace(tzinfo=timezone(offset or timedelta())).timestamp()


def _forgets_what_ran(real):
    def tonight(made, known, seen, now, *, make_up):
        return real(made, known, nights.Seen(seen.waits, lambda _: False), now, make_up=make_up)

    return tonight


def _as_a_timer(real):
    """Who was not there when the night began has missed it."""

    def tonight(made, known, seen, now, *, make_up):
        run = real(made, known, seen, now, make_up=make_up)
        return run if run and now - run.night.opens < 60 else None

    return tonight


@pytest.mark.parametrize(
    ("number", "place", "mistake", "found"),
    [
        (8, (schedule, "instant"), lambda _: _no_summer, "overrun"),
        (8, (nights, "time_is_up"), lambda _: lambda facts, now: False, "overrun"),
        (9, (nights, "tonight"), _forgets_what_ran, "doubled"),
        (9, (nights, "tonight"), _as_a_timer, "missed"),
        (9, (nights, "applicable"), lambda _: lambda entries, text, now: None, "missed"),
    ],
    ids=["no summer time", "no deadline", "runs again", "a timer", "forgets at a restart"],
)
def test_the_judge_finds_a_planted_mistake(number, place, mistake, found, monkeypatch):
    monkeypatch.setattr(*place, mistake(getattr(*place)))

    try:
        assert getattr(live(number, 2), found)
    finally:
        schedule._night.cache_clear()
