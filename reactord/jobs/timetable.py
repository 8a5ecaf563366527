"""Which times for training did somebody ask for, besides the settings?

`reactor/schedules.json`: name -> cron expression. Asked for over HTTP, so it outlives the daemon; a night of these is a
night like any other (nights.py).
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from reactord import durable, schedule
from reactord.errors import BadRequest
from reactord.home import Home
from reactord.schedule import Schedule
from reactord.settings import Settings

MAX_ENTRIES = 32


def asked(home: Home) -> dict[str, str]:
    """What was asked for. A file that cannot be read asks for nothing."""
    try:
        found = orjson.loads(home.schedules.read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(name): cron for name, cron in found.items() if isinstance(cron, str)} if isinstance(found, dict) else {}


def ask(home: Home, settings: Settings, name: str, cron: str | None) -> dict[str, str]:
    """Add a time, or another one under the same name; None: none any more. Raises BadRequest in plain words."""
    known = {other: said for other, said in asked(home).items() if other != name}
    if cron is not None:
        if not cron.strip() or ";" in cron:
            raise BadRequest("cron_expression must be one cron expression; write one like 0 2 * * *")
        known[name] = cron
    if len(known) > MAX_ENTRIES:
        raise BadRequest(f"{MAX_ENTRIES} schedules are there already; end one of them: enabled false")
    try:
        schedule_of(settings, known)
    except ValueError as wrong:
        raise BadRequest(f"cron_expression: {wrong}") from None
    durable.publish(home.schedules, orjson.dumps(known))
    return known


def schedule_of(settings: Settings, known: Mapping[str, str]) -> Schedule:
    """The nights of the settings and those that were asked for. Raises ValueError."""
    crons = "; ".join(dict.fromkeys(text for text in (settings.night_shift_cron, *known.values()) if text.strip()))
    return schedule.of(settings.night_shift, crons, settings.night_shift_cron_hours, settings.time_zone)
