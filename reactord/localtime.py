"""At which instant does a clock on the wall show a given time?

A wall clock leaps over an hour in spring and shows one twice in autumn; now and then a country skips a whole day (Apia,
30 December 2011). Instants (epoch seconds) have none of this, so everything is decided in them. The rules here:

    a time that exists twice     is the first of the two
    a time that never exists     is the instant at which the clock leapt over it
    a day that never exists      has no times at all
"""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, time, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

LOCALTIME = Path("/etc/localtime")


def named(name: str) -> tzinfo:
    """The time zone of this name. Raises ValueError in plain words."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"there is no time zone {name[:64]!a}; write one like Europe/Berlin, or nothing for this machine's own"
        ) from None


def checked(name: str) -> str:
    """The name, if there is such a zone, or none is named. Raises ValueError in plain words."""
    if name:
        named(name)
    return name


class MachineZone:
    """The zone of this machine, also after somebody has travelled with it."""

    def __init__(self, localtime: Path = LOCALTIME) -> None:
        self._path = localtime
        self._known: tuple[object, tzinfo] | None = None

    def __call__(self) -> tzinfo:
        mark = self._mark()
        if self._known is None or self._known[0] != mark:
            self._known = (mark, self._read())
        return self._known[1]

    def _mark(self) -> object:
        try:
            seen = self._path.stat()
        except OSError:
            return os.environ.get("TZ")
        return os.environ.get("TZ"), seen.st_dev, seen.st_ino, seen.st_mtime_ns

    def _read(self) -> tzinfo:
        """As the C library does it: TZ, then /etc/localtime, then UTC."""
        if name := os.environ.get("TZ", "").removeprefix(":"):
            if not name.startswith("/"):
                return named(name)
            path = Path(name)
        else:
            path = self._path
        try:
            with path.open("rb") as file:
                return ZoneInfo.from_file(file, key=str(path))
        except (OSError, ValueError):
            return UTC


def local(at: float, zone: tzinfo) -> datetime:
    """What the wall clock shows at an instant, without its zone."""
    return datetime.fromtimestamp(at, zone).replace(tzinfo=None)


def instant(wall: datetime, zone: tzinfo) -> float:
    """When the clock shows `wall` for the first time; if it never does, when it leaps over it."""
    # in a leap the offset before it counts for fold 0, and that after it for fold 1: one is too late, one too early
    late = wall.replace(tzinfo=zone, fold=0).timestamp()
    if local(late, zone) == wall:
        return late
    early = wall.replace(tzinfo=zone, fold=1).timestamp()
    while late - early > 1:
        middle = (early + late) // 2
        early, late = (early, middle) if local(middle, zone) > wall else (middle, late)
    return late


def exists(day: date, zone: tzinfo) -> bool:
    """Whether the clock ever shows this day."""
    return local(instant(datetime.combine(day, time()), zone), zone).date() == day
