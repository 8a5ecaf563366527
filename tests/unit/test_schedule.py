"""Which times are nights, right through the days on which clocks are changed?"""

from __future__ import annotations

import os
import shutil
import zoneinfo
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from reactord import schedule
from reactord.localtime import MachineZone, exists, instant, local, named

BERLIN, APIA, SANTIAGO, LORD_HOWE = (
    named(name) for name in ("Europe/Berlin", "Pacific/Apia", "America/Santiago", "Australia/Lord_Howe")
)


def wall(text):
    return datetime.strptime(text, "%Y-%m-%d %H:%M")  # noqa: DTZ007


def made(windows="", crons="", zone=BERLIN, hours=8.0):
    return schedule.Schedule(schedule.windows(windows), schedule.crons(crons, hours), lambda: zone)


def nights(made, zone, first, last):
    """(name, what the clock shows at its begin and its end, its hours) of all nights between two midnights."""
    found = made.nights(instant(wall(f"{first} 00:00"), zone), instant(wall(f"{last} 00:00"), zone))
    return [(n.id, f"{local(n.opens, zone):%d %H:%M}", f"{local(n.closes, zone):%d %H:%M}", n.length_s / 3600)
            for n in found]  # fmt: skip


# -- times -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("zone", "shown", "utc"),
    [
        (BERLIN, "2026-11-21 22:00", "2026-11-21 21:00"),
        (BERLIN, "2026-10-25 02:30", "2026-10-25 00:30"),  # twice: the first one, still in summer
        (BERLIN, "2026-10-25 03:00", "2026-10-25 02:00"),
        (BERLIN, "2026-03-29 02:00", "2026-03-29 01:00"),  # never: the leap
        (BERLIN, "2026-03-29 02:30", "2026-03-29 01:00"),
        (BERLIN, "2026-03-29 03:00", "2026-03-29 01:00"),
        (APIA, "2011-12-30 12:00", "2011-12-30 10:00"),  # a day that was never there
        (LORD_HOWE, "2026-10-04 02:15", "2026-10-03 15:30"),  # a leap of half an hour
        (SANTIAGO, "2026-09-06 00:00", "2026-09-06 04:00"),  # a leap at midnight
    ],
)
def test_a_time_is_the_first_instant_at_which_the_clock_shows_it_or_has_leapt_over_it(zone, shown, utc):
    assert instant(wall(shown), zone) == wall(utc).replace(tzinfo=UTC).timestamp()


def test_a_day_that_a_country_skipped_does_not_exist():
    assert not exists(date(2011, 12, 30), APIA)
    assert exists(date(2011, 12, 31), APIA)
    assert exists(date(2026, 9, 6), SANTIAGO)  # it has no midnight


# -- windows -----------------------------------------------------------------------------------------------------------
def test_a_night_is_shorter_in_spring_and_longer_in_autumn():
    assert nights(made("22:00-06:00"), BERLIN, "2026-03-28", "2026-03-30")[1:] == [
        ("night-2026-03-28-2200", "28 22:00", "29 06:00", 7.0),
        ("night-2026-03-29-2200", "29 22:00", "30 06:00", 8.0),
    ]
    assert nights(made("22:00-06:00"), BERLIN, "2026-10-24", "2026-10-25")[1:] == [
        ("night-2026-10-24-2200", "24 22:00", "25 06:00", 9.0)
    ]


def test_a_window_that_the_clock_leaps_over_is_there_all_the_same():
    assert nights(made("02:15-02:45"), BERLIN, "2026-03-29", "2026-03-30") == [
        ("night-2026-03-29-0215", "29 03:00", "29 03:30", 0.5)
    ]


def test_a_window_in_an_hour_that_comes_twice_is_there_once():
    assert nights(made("02:15-02:45"), BERLIN, "2026-10-25", "2026-10-26") == [
        ("night-2026-10-25-0215", "25 02:15", "25 02:45", 0.5)
    ]


def test_a_skipped_day_has_no_night_and_cuts_none_short():
    assert nights(made("22:00-06:00", zone=APIA), APIA, "2011-12-29", "2012-01-01") == [
        ("night-2011-12-28-2200", "28 22:00", "29 06:00", 8.0),
        ("night-2011-12-29-2200", "29 22:00", "31 06:00", 8.0),
        ("night-2011-12-31-2200", "31 22:00", "01 06:00", 8.0),
    ]


def test_windows_are_on_the_days_of_the_week_on_which_they_begin():
    two = made("mon-wed 22:00-06:00, sat 10:00-18:00")

    assert [night for night, *_ in nights(two, BERLIN, "2026-11-16", "2026-11-23")] == [
        "night-2026-11-16-2200", "night-2026-11-17-2200", "night-2026-11-18-2200", "night-2026-11-21-1000",
    ]  # fmt: skip
    assert len(nights(made("fri-mon 01:00-02:00"), BERLIN, "2026-11-16", "2026-11-23")) == 4


def test_a_window_can_be_the_whole_day():
    assert [hours for *_, hours in nights(made("00:00-24:00"), BERLIN, "2026-03-28", "2026-03-31")] == [24, 23, 24]


# -- cron expressions --------------------------------------------------------------------------------------------------
def test_a_time_of_a_cron_expression_comes_once_also_when_it_never_is_or_is_twice():
    assert nights(made(crons="30 2 * * *"), BERLIN, "2026-03-28", "2026-03-31") == [
        ("cron-2026-03-28-0230", "28 02:30", "28 10:30", 8.0),
        ("cron-2026-03-29-0300", "29 03:00", "29 11:00", 8.0),
        ("cron-2026-03-30-0230", "30 02:30", "30 10:30", 8.0),
    ]
    assert [night for night, *_ in nights(made(crons="30 2 * * *"), BERLIN, "2026-10-25", "2026-10-26")] == [
        "cron-2026-10-25-0230"
    ]


def test_a_cron_run_ends_before_the_next_one_begins():
    found = nights(made(crons="0 */4 * * *"), BERLIN, "2026-11-21", "2026-11-22")

    assert [(begin, end) for _, begin, end, _ in found] == [
        ("21 00:00", "21 04:00"), ("21 04:00", "21 08:00"), ("21 08:00", "21 12:00"),
        ("21 12:00", "21 16:00"), ("21 16:00", "21 20:00"), ("21 20:00", "22 00:00"),
    ]  # fmt: skip


def test_hours_that_come_twice_have_names_of_their_own():
    found = nights(made(crons="0 * * * *"), BERLIN, "2026-10-25", "2026-10-26")

    assert len(found) == 25
    assert {"cron-2026-10-25-0200", "cron-2026-10-25-0200b"} <= {night for night, *_ in found}


# -- a look ------------------------------------------------------------------------------------------------------------
def test_a_look_says_what_is_open_and_what_comes_next_until_that_changes():
    plan, at = made("22:00-06:00"), instant(wall("2026-11-21 12:00"), BERLIN)
    seen = []
    for hours in range(0, 24, 2):
        look = plan.look(at + hours * 3600)
        assert look == made("22:00-06:00").look(at + hours * 3600)  # what is held is what would be found
        seen.append((len(look.open), look.next.id[-7:-5]))
    assert seen == [(0, "21")] * 5 + [(1, "22")] * 4 + [(0, "22")] * 3


def test_that_no_night_has_ended_is_remembered_until_one_has():
    plan, at = made("22:00-06:00"), instant(wall("2026-11-21 07:00"), BERLIN)
    for minutes in range(0, 3 * 1440, 7):
        now = at + 60 * minutes
        assert plan.ended(at, now) == made("22:00-06:00").ended(at, now)
    assert len(plan.ended(at, at + 3 * 86400)) == 3
    assert plan.ended(at + 40 * 3600, at + 41 * 3600) == []
    assert len(plan.ended(at, at + 41 * 3600)) == 1  # another question


def test_a_look_survives_a_clock_that_is_set_back():
    plan, at = made("22:00-06:00"), instant(wall("2026-11-21 23:00"), BERLIN)
    assert plan.look(at).open

    assert not plan.look(at - 7200).open


@pytest.mark.parametrize(("windows", "crons"), [("sun 10:00-11:00", ""), ("", "0 3 29 2 *")])
def test_a_night_that_comes_seldom_is_seen_long_before(windows, crons):
    look = made(windows, crons).look(instant(wall("2026-11-23 12:00"), BERLIN))

    assert look.next
    assert look.next.id in ("night-2026-11-29-1000", "cron-2028-02-29-0300")


def test_a_schedule_of_nothing_is_none():
    assert not made()
    assert made("22:00-06:00")


# -- what the owner writes ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("22-06", "is no window; write one like 22:00-06:00"),
        ("22:00-22:00", "is an empty window"),
        ("24:00-06:00", "a time that no day has"),
        ("22:00-24:01", "a time that no day has"),
        ("22:60-23:00", "a time that no day has"),
        ("xyz 22:00-06:00", "'xyz' is no day of the week"),
        ("22:00-06:00, mon 22:00-05:00", "two windows begin at 22:00"),
        ("x" * 1000, "is no window"),
    ],
)
def test_a_window_that_is_none_is_refused_in_words(text, says):
    with pytest.raises(ValueError, match=says):
        schedule.windows(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0 2 * *", "no cron expression of five fields"),
        ("61 2 * * *", "bad minute"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("* * * * *", "more often than every 15 minutes"),
        ("0 0 2 * * *", "no cron expression of five fields"),
    ],
)
def test_a_cron_expression_that_is_none_is_refused_in_words(text, says):
    with pytest.raises(ValueError, match=says):
        schedule.crons(text, 8)


def test_a_zone_that_is_none_is_refused_in_words():
    for name in ("Mars/Base", "../../etc/passwd", "\0"):
        with pytest.raises(ValueError, match="there is no time zone"):
            named(name)


# -- this machine's zone -----------------------------------------------------------------------------------------------
@pytest.fixture
def localtime(tmp_path, monkeypatch):
    monkeypatch.delenv("TZ", raising=False)
    return tmp_path / "localtime"


def _move_to(path, name):
    source = next(Path(root) / name for root in zoneinfo.TZPATH if (Path(root) / name).exists())
    fresh = path.with_name(f"new{name.replace('/', '-')}")
    shutil.copyfile(source, fresh)
    os.replace(fresh, path)  # noqa: PTH105


def test_the_zone_of_the_machine_is_followed_when_it_travels(localtime):
    zone, at = MachineZone(localtime), 1.8e9
    _move_to(localtime, "Europe/Berlin")
    home = local(at, zone())
    held = zone()
    assert zone() is held

    _move_to(localtime, "Asia/Tokyo")

    assert (local(at, zone()) - home).total_seconds() == 8 * 3600


def test_a_machine_without_a_zone_is_in_utc(localtime):
    assert local(0.0, MachineZone(localtime)()) == datetime(1970, 1, 1)  # noqa: DTZ001


def test_the_environment_can_name_the_zone_of_the_machine(localtime, monkeypatch):
    monkeypatch.setenv("TZ", ":Asia/Kolkata")

    assert local(0.0, MachineZone(localtime)()) == datetime(1970, 1, 1, 5, 30)  # noqa: DTZ001
