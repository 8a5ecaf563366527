"""Which commands did we take, how far are they, and what did we answer?

One SQLite table, the truth: a command is in it before it disappears from the bus, an attempt is counted before its
effect begins, and the answer is in it before it is published. So a kill anywhere means: done again under the same id,
or answered again with the same words. What is done is remembered for `KEEP_S`, at most `KEEP` commands.
"""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from reactord.ipc.command_queue import Command, Family
from reactord.ledger.sqlite import is_damage, open_writer, set_aside, transaction

log = logging.getLogger("reactord.commands")

KEEP = 10_000
KEEP_S = 7 * 24 * 3600.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS commands(
    id TEXT PRIMARY KEY,
    family TEXT NOT NULL,
    came_from TEXT NOT NULL,
    raw BLOB,                       -- NULL once it is done
    rank REAL NOT NULL,
    first_seen REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at REAL NOT NULL DEFAULT 0,
    last_error TEXT,
    wants_answer INTEGER NOT NULL,
    answer BLOB,                    -- NULL until it is done
    done_at REAL,
    answered_at REAL
);
CREATE INDEX IF NOT EXISTS waiting ON commands(rank, first_seen) WHERE done_at IS NULL;
CREATE INDEX IF NOT EXISTS unanswered ON commands(id)
    WHERE answered_at IS NULL AND wants_answer AND done_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS done ON commands(done_at) WHERE done_at IS NOT NULL;
"""
_WAITING = "id, family, came_from, raw, first_seen, attempts, last_error"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A command that is to be done."""

    identity: str
    family: Family
    came_from: str
    raw: bytes
    first_seen: float
    attempts: int
    last_error: str | None


class Memory:
    """The table. One thread uses it. Every method raises sqlite3.OperationalError when the disk refuses."""

    def __init__(self, path: Path) -> None:
        try:
            self._db = open_writer(path, _SCHEMA, "FULL")
        except sqlite3.DatabaseError as trouble:
            if not is_damage(trouble):
                raise
            log.exception("%s is damaged and starts anew; a command that comes again is done again", path)
            set_aside(path)
            self._db = open_writer(path, _SCHEMA, "FULL")

    def close(self) -> None:
        self._db.close()

    # -- arrivals ------------------------------------------------------------------------------------------------------
    def take(self, command: Command, raw: bytes, came_from: str, now: float) -> bool:
        """Remember a command to be done. False: it is known, and if it is done it will be answered once more."""
        values = (command.identity, command.family, came_from, raw, command.rank, now, command.wants_answer)
        with transaction(self._db):
            added = self._db.execute(
                "INSERT OR IGNORE INTO commands(id, family, came_from, raw, rank, first_seen, wants_answer)"
                " VALUES(?,?,?,?,?,?,?)",
                values,
            ).rowcount
            if not added:
                self._ask_again(command.identity, wants=command.wants_answer)
        return bool(added)

    def take_refused(self, identity: str, family: Family, came_from: str, answer: bytes, now: float) -> None:
        """Remember a command that nobody can do, with its answer."""
        with transaction(self._db):
            added = self._db.execute(
                "INSERT OR IGNORE INTO commands(id, family, came_from, rank, first_seen, wants_answer, answer, done_at)"
                " VALUES(?,?,?,0,?,1,?,?)",
                (identity, family, came_from, now, answer, now),
            ).rowcount
            if not added:
                self._ask_again(identity, wants=True)

    def _ask_again(self, identity: str, *, wants: bool) -> None:
        if wants:
            self._db.execute("UPDATE commands SET wants_answer = 1, answered_at = NULL WHERE id = ?", (identity,))

    def came_from(self, identity: str) -> str | None:
        """Where a known command came from."""
        row = self._db.execute("SELECT came_from FROM commands WHERE id = ?", (identity,)).fetchone()
        return None if row is None else str(row[0])

    # -- work ----------------------------------------------------------------------------------------------------------
    def waiting(self) -> int:
        """How many are to be done."""
        return int(self._db.execute("SELECT count(*) FROM commands WHERE done_at IS NULL").fetchone()[0])

    def due(self, now: float, limit: int) -> list[Waiting]:
        """What may be done now: the most urgent first, then the oldest."""
        rows = self._db.execute(
            f"SELECT {_WAITING} FROM commands WHERE done_at IS NULL AND next_attempt_at <= ?"  # noqa: S608 - a constant
            " ORDER BY rank, first_seen, rowid LIMIT ?",
            (now, limit),
        )
        return [Waiting(*row) for row in rows]

    def begin(self, identity: str, next_attempt_at: float) -> None:
        """Count an attempt before its effect begins: one that kills us counts too."""
        with transaction(self._db):
            self._db.execute(
                "UPDATE commands SET attempts = attempts + 1, next_attempt_at = ? WHERE id = ?",
                (next_attempt_at, identity),
            )

    def failed(self, identity: str, error: str) -> None:
        """Remember why the attempt failed."""
        with transaction(self._db):
            self._db.execute("UPDATE commands SET last_error = ? WHERE id = ?", (error, identity))

    def finish(self, identity: str, answer: bytes, now: float) -> None:
        """Done, well or not; `answer` is what its sender is told."""
        with transaction(self._db):
            self._db.execute(
                "UPDATE commands SET raw = NULL, answer = ?, done_at = ? WHERE id = ?", (answer, now, identity)
            )

    # -- answers -------------------------------------------------------------------------------------------------------
    def unanswered(self, limit: int) -> list[tuple[str, bytes]]:
        """(id, answer) of what is done and wants an answer that is not published."""
        return self._db.execute(
            "SELECT id, answer FROM commands"
            " WHERE answered_at IS NULL AND wants_answer AND done_at IS NOT NULL LIMIT ?",
            (limit,),
        ).fetchall()

    def answered(self, identities: list[str], now: float) -> None:
        with transaction(self._db):
            self._db.executemany(
                "UPDATE commands SET answered_at = ? WHERE id = ?", [(now, identity) for identity in identities]
            )

    def old(self, now: float) -> list[tuple[str, bool]]:
        """(id, whether it was answered) of what need not be remembered any longer."""
        return [
            (str(identity), answered is not None)
            for identity, answered in self._db.execute(
                "SELECT id, answered_at FROM commands WHERE done_at IS NOT NULL AND (done_at < ? OR rowid IN"
                " (SELECT rowid FROM commands WHERE done_at IS NOT NULL ORDER BY done_at DESC, rowid DESC"
                " LIMIT -1 OFFSET ?))",
                (now - KEEP_S, KEEP),
            )
        ]

    def forget(self, identities: list[str]) -> None:
        with transaction(self._db):
            self._db.executemany("DELETE FROM commands WHERE id = ?", [(identity,) for identity in identities])
