"""What was told last, about something or of some kind? Read-only; the events are written by `state.py`."""

from __future__ import annotations

from typing import Any

import orjson

from reactord.ledger.state import Event, State


def about(state: State, subject: str, most: int) -> list[Event]:
    """The newest events about a subject, newest first."""
    rows = state.db.execute("SELECT * FROM events WHERE subject = ? ORDER BY seq DESC LIMIT ?", (subject, most))
    return [_event(row) for row in rows]


def of(state: State, topic: str, after: int) -> Event | None:
    """The newest event of a topic that is newer than the event number `after`. Looks at each of those."""
    row = state.db.execute(
        "SELECT * FROM events WHERE seq > ? AND topic = ? ORDER BY seq DESC LIMIT 1", (after, topic)
    ).fetchone()
    return _event(row) if row else None


def _event(row: tuple[Any, ...]) -> Event:
    seq, at, topic, subject, data = row
    return Event(seq=seq, at=at, topic=topic, subject=subject, data=orjson.loads(data))
