"""Which times has the owner set aside for training, and is one of them now?

A *night* is one such time: from an instant to another, with a name that tells it from all others. Nights come from
windows ("mon-fri 22:00-06:00") and from cron expressions ("0 2 * * *", each so many hours long). A night is named by
what the clock on the wall shows when it begins: neither a clock that is set nor a traveller makes a second one of it.

Times that come twice, or never, are localtime.py's business for windows. For cron expressions they are the library's,
which does as Debian's cron: a fixed time comes once, with the leap if the clock leaps over it.

Pure: nothing here knows what has run, nor waits for anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import pairwise

from reactord.localtime import MachineZone, exists, instant, local, named

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_S = 86400.0
#: windows of one weekday come back after a week, or after two where a country skipped that day
AHEAD_DAYS = 15
#: more would be one run after the other
MIN_CRON_EVERY_S = 900.0
#: a cron expression is looked at for so many of its times
CRON_SAMPLE = 200

_WINDOW = re.compile(r"(?:([a-z]{3}(?:-[a-z]{3})?) )?(\d{1,2}):(\d\d) ?- ?(\d{1,2}):(\d\d)")


@dataclass(frozen=True, slots=True)
class Night:
    """One time for training; `opens` and `closes` are epoch seconds."""

    id: str
    opens: float
    closes: float

    @property
    def length_s(self) -> float:
        return self.closes - self.opens


@dataclass(frozen=True, slots=True)
class Window:
    """Comes back on some weekdays. `begin` and `end` are minutes of the day; an end not after the begin is tomorrow."""

    weekdays: tuple[bool, ...]  # does it begin on a Monday, a Tuesday, ...
    begin: int
    end: int

    def nights(self, after: float, before: float, zone: tzinfo) -> Iterator[Night]:
        """Those that begin before `before` and end after `after`."""
        day, last = local(after, zone).date() - timedelta(days=2), local(before, zone).date()
        while day <= last:
            night = _night(self, day, zone)
            if night and night.closes > after and night.opens < before:
                yield night
            day += timedelta(days=1)


@lru_cache(maxsize=256)
def _night(window: Window, day: date, zone: tzinfo) -> Night | None:
    """The night that begins on this day."""
    if not window.weekdays[day.weekday()] or not exists(day, zone):
        return None
    opens = instant(_at(day, window.begin), zone)
    ends_on = day
    if window.end <= window.begin:
        ends_on += timedelta(days=1)
        while not exists(ends_on, zone):
            ends_on += timedelta(days=1)
    closes = instant(_at(ends_on, window.end), zone)
    if closes <= opens:  # the clock leapt over all of it: it is as long as ever, and begins with the leap
        closes = opens + (window.end - window.begin) * 60
    return Night(f"night-{day}-{window.begin // 60:02d}{window.begin % 60:02d}", opens, closes)


def _at(day: date, minutes: int) -> datetime:
    return datetime.combine(day, datetime.min.time()) + timedelta(minutes=minutes)


@dataclass(frozen=True, slots=True)
class Cron:
    """A night begins whenever the expression says so, and ends after so long, or when the next one begins."""

    expression: str
    length_s: float

    def nights(self, after: float, before: float, zone: tzinfo) -> Iterator[Night]:
        """Those that begin before `before` and end after `after`."""
        begins: float | None = None
        for following in self._times(after - self.length_s - 1, zone):
            if begins is not None and min(begins + self.length_s, following) > after:
                yield Night(_cron_name(begins, zone), begins, min(begins + self.length_s, following))
            if following >= before:
                return
            begins = following

    def _times(self, after: float, zone: tzinfo) -> Iterator[float]:
        from cronsim import CronSim  # noqa: PLC0415 - only whoever has a cron expression pays for it

        for at in CronSim(self.expression, datetime.fromtimestamp(after, zone)):
            yield at.timestamp()
        yield float("inf")  # the library looks fifty years ahead


def _cron_name(at: float, zone: tzinfo) -> str:
    shown = datetime.fromtimestamp(at, zone)
    return f"cron-{shown:%Y-%m-%d-%H%M}{'b' if shown.fold else ''}"  # an hour that comes twice may hold two of them


@dataclass(frozen=True, slots=True)
class Look:
    """What the schedule says of one moment."""

    open: tuple[Night, ...]  # the one that ends first comes first
    next: Night | None


@dataclass(slots=True)
class Schedule:
    """All windows and cron expressions, in the zone that `zone` names now."""

    windows: tuple[Window, ...]
    crons: tuple[Cron, ...]
    zone: Callable[[], tzinfo]
    text: str = ""  # as the owner wrote it
    _held: tuple[float, float, tzinfo, Look] | None = field(default=None, init=False)
    _none: tuple[float, float, float, tzinfo] | None = field(default=None, init=False)

    def __bool__(self) -> bool:
        return bool(self.windows or self.crons)

    def nights(self, after: float, before: float) -> list[Night]:
        """Those that begin before `before` and end after `after`, in the order in which they begin."""
        zone = self.zone()
        found: dict[str, Night] = {}
        rules: tuple[Window | Cron, ...] = (*self.windows, *self.crons)
        for rule in rules:
            for night in rule.nights(after, before, zone):
                found.setdefault(night.id, night)
        return sorted(found.values(), key=lambda night: (night.opens, night.closes, night.id))

    def ended(self, after: float, upto: float) -> list[Night]:
        """Those that ended after `after`, and not later than `upto`. Asked every second: none is remembered."""
        zone, none = self.zone(), self._none
        if none and none[3] is zone and none[0] <= after and none[1] <= upto < none[2]:
            return []
        found = [night for night in self.nights(after, upto) if night.closes <= upto]
        if not found:
            self.look(upto)
            assert self._held
            self._none = (after, upto, self._held[1], zone)  # until then none begins or ends
        return found

    def look(self, now: float) -> Look:
        """Which nights are open now, and which begins next. Asked every second: it holds until one begins or ends."""
        zone = self.zone()
        if self._held and self._held[2] is zone and self._held[0] <= now < self._held[1]:
            return self._held[3]
        around = self.nights(now - DAY_S, now + DAY_S)
        later = [night for night in around if night.opens > now] or self._later(now, zone)
        opened = [night for night in around if night.opens <= now < night.closes]
        opened.sort(key=lambda night: night.closes)
        look = Look(tuple(opened), later[0] if later else None)
        turns = [now + DAY_S, *(night.opens for night in later), *(night.closes for night in opened)]
        self._held = (now, min(turns), zone, look)
        return look

    def _later(self, now: float, zone: tzinfo) -> list[Night]:
        """The next nights of rules that come seldom."""
        found = [night for w in self.windows for night in w.nights(now, now + AHEAD_DAYS * DAY_S, zone)]
        for cron in self.crons:
            found += (next(cron.nights(at - 1, at + 1, zone)) for at in _first(cron, now, zone))
        return sorted((night for night in found if night.opens > now), key=lambda night: night.opens)


def _first(cron: Cron, now: float, zone: tzinfo) -> list[float]:
    """The next time of a cron expression, if it has one."""
    at = next(cron._times(now, zone))  # noqa: SLF001 - the same module
    return [] if at == float("inf") else [at]


def of(windows_text: str, crons_text: str, hours: float, zone_name: str) -> Schedule:
    """The schedule that the settings describe. Raises ValueError in plain words."""
    zone = named(zone_name) if zone_name else None
    text = "; ".join(text for text in (windows_text.strip(), crons_text.strip()) if text)
    text += f" ({zone_name})" if text and zone_name else ""
    return Schedule(windows(windows_text), crons(crons_text, hours), (lambda: zone) if zone else MachineZone(), text)


# -- what the owner writes -------------------------------------------------------------------------------------------
def windows(text: str) -> tuple[Window, ...]:
    """Read "22:00-06:00" or "mon-fri 22:00-06:00, sat 10:00-18:00". Raises ValueError in plain words."""
    found = tuple(_window(part) for part in (" ".join(part.lower().split()) for part in text.split(",")) if part)
    taken: set[tuple[int, int]] = set()
    for window in found:
        begins = {(day, window.begin) for day in range(7) if window.weekdays[day]}
        if taken & begins:
            raise ValueError(f"two windows begin at {_clock(window.begin)} on the same day; leave one of them out")
        taken |= begins
    return found


def checked_windows(text: str) -> str:
    """The text, if it can be read. Raises ValueError in plain words."""
    windows(text)
    return text


def checked_crons(text: str) -> str:
    """The text, if it can be read. Raises ValueError in plain words."""
    crons(text, 1.0)
    return text


def _window(text: str) -> Window:
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:64]!a} is no window; write one like 22:00-06:00 or mon-fri 22:00-06:00")
    begin, end = (60 * int(match[i]) + int(match[i + 1]) for i in (2, 4))
    if int(match[3]) > 59 or int(match[5]) > 59 or begin >= 1440 or end > 1440:
        raise ValueError(f"{text[:64]!a} has a time that no day has; write times from 00:00 to 24:00")
    if begin == end:
        raise ValueError(f"{text[:64]!a} is an empty window; write 00:00-24:00 for the whole day")
    return Window(_weekdays(match[1]), begin, end)


def _weekdays(text: str | None) -> tuple[bool, ...]:
    if text is None:
        return (True,) * 7
    names = text.split("-")
    for name in names:
        if name not in DAYS:
            raise ValueError(f"{name!a} is no day of the week; write one of {', '.join(DAYS)}, or two like mon-fri")
    first, last = DAYS.index(names[0]), DAYS.index(names[-1])
    return tuple((day - first) % 7 <= (last - first) % 7 for day in range(7))


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def crons(text: str, hours: float) -> tuple[Cron, ...]:
    """Read cron expressions of five fields, separated by semicolons. Raises ValueError in plain words."""
    return tuple(_cron(" ".join(part.split()), hours * 3600) for part in text.split(";") if part.strip())


@lru_cache(maxsize=16)  # it looks at years of times
def _cron(expression: str, length_s: float) -> Cron:
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 - only whoever has a cron expression pays for it

    if len(expression.split()) != 5:
        raise ValueError(f"{expression[:64]!a} is no cron expression of five fields; write one like 0 2 * * mon-fri")
    try:
        times = CronSim(expression, datetime(2024, 1, 1, tzinfo=UTC))
        found = [at.timestamp() for _, at in zip(range(CRON_SAMPLE), times, strict=False)]
    except CronSimError as bad:
        raise ValueError(f"{expression[:64]!a}: {str(bad).lower()}; write a cron expression like 0 2 * * *") from None
    if not found:
        raise ValueError(f"{expression[:64]!a} never comes; write a cron expression like 0 2 * * *")
    if any(later - at < MIN_CRON_EVERY_S for at, later in pairwise(found)):
        raise ValueError(
            f"{expression[:64]!a} comes more often than every {MIN_CRON_EVERY_S / 60:.0f} minutes, and a run takes"
            " longer; write a cron expression like 0 2 * * *"
        )
    return Cron(expression, length_s)
