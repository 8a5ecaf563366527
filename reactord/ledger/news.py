"""Which news has nobody told on yet?

News of our own work (`Notice`) waits in index.db from the transaction that enters its bytes until whoever tells it on
says that it did, so no crash loses any. Its id is the place of its bytes in the journal: whoever reads those again, or
tells it again, means the same event.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from reactord.formats import Notice
from reactord.ledger.journal import Place

SCHEMA = """
CREATE TABLE IF NOT EXISTS notices(
    n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, topic TEXT NOT NULL, subject TEXT NOT NULL, facts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS news_from(     -- what the journal says before this place is old news
    one INTEGER PRIMARY KEY CHECK (one = 1), segment INTEGER NOT NULL, offset INTEGER NOT NULL);
"""
#: so many wait at most, and are handed out at once
MAX_WAITING, AT_ONCE = 1000, 100


@dataclass(frozen=True, slots=True)
class News:
    """A notice that waits, and the id of its event."""

    event_id: str
    topic: str
    subject: str
    facts: dict[str, Any]


def found_at(place: Place, notices: Iterable[Notice]) -> list[News]:
    """The news of one journal entry."""
    return [
        News(f"{place.segment}-{place.offset}-{n}", notice.topic, notice.subject, notice.facts)
        for n, notice in enumerate(notices)
    ]


def enter(db: sqlite3.Connection, found: Iterable[News]) -> int:
    """Within the caller's transaction; returns how many of the oldest had to go for it."""
    db.executemany(
        "INSERT OR IGNORE INTO notices(id, topic, subject, facts) VALUES (?,?,?,?)",
        [(new.event_id, new.topic, new.subject, orjson.dumps(new.facts).decode()) for new in found],
    )
    beyond = "SELECT n FROM notices ORDER BY n DESC LIMIT -1 OFFSET ?"
    return db.execute(f"DELETE FROM notices WHERE n IN ({beyond})", (MAX_WAITING,)).rowcount  # noqa: S608 - a constant


def waiting(db: sqlite3.Connection) -> tuple[News, ...]:
    """The oldest that wait."""
    rows = db.execute("SELECT id, topic, subject, facts FROM notices ORDER BY n LIMIT ?", (AT_ONCE,))
    return tuple(News(event_id, topic, subject, orjson.loads(facts)) for event_id, topic, subject, facts in rows)


def forget(db: sqlite3.Connection, told: Iterable[News]) -> None:
    """Within the caller's transaction: they are told."""
    db.executemany("DELETE FROM notices WHERE id = ?", [(new.event_id,) for new in told])


def beginning(db: sqlite3.Connection) -> Place | None:
    """What lies before this place in the journal was told from the index before this one."""
    row = db.execute("SELECT segment, offset FROM news_from").fetchone()
    return Place(*row) if row else None


def begin(db: sqlite3.Connection, place: Place) -> None:
    """Once, when an index is made; within the caller's transaction."""
    db.execute("INSERT INTO news_from VALUES (1, ?, ?)", (place.segment, place.offset))
