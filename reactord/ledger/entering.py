"""How do staged rows get into the index? In one transaction, all of them or none.

SQLite works without the interpreter's lock, so `Beside` has a thread do it while more is staged. One transaction at a
time; whoever wants the database, or what the rows have brought, waits for it.
"""

from __future__ import annotations

import logging
import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from reactord.ledger import news
from reactord.ledger.counts import REFUSED
from reactord.ledger.sqlite import insert, transaction
from reactord.ledger.staged import Staged

log = logging.getLogger("reactord.ingest")


@dataclass(frozen=True, slots=True)
class Applied:
    """What rows have brought."""

    new: int = 0  # records and refusals that were not known before
    fresh: int = 0  # of them the records
    last_seq: int = 0
    news: bool = False  # of our own work
    pointed: bool = False  # files were named

    def __add__(self, later: Applied) -> Applied:
        return Applied(
            self.new + later.new, self.fresh + later.fresh, later.last_seq, self.news or later.news,
            self.pointed or later.pointed,
        )  # fmt: skip


def enter(db: sqlite3.Connection, staged: Staged) -> Applied:
    """One transaction."""
    gone = 0
    with transaction(db):
        insert(db, "INSERT INTO entries", staged.entries)
        known = last_seq(db)
        insert(db, "INSERT OR IGNORE INTO records(identity, entry, offset, length, item)", staged.records)
        db.executemany(
            f"UPDATE records SET fate = {REFUSED}, reason = ?"  # noqa: S608 - a constant
            " WHERE identity = ? AND entry = ? AND offset = ? AND length = ? AND item = ?",
            [(why, *row) for why, row in staged.refused],
        )
        db.executemany(  # with its own number, unless today's parsers find more in what came before it
            "INSERT OR IGNORE INTO records(seq, identity, entry, reason, fate, offset, length, item)"
            " VALUES (max(?, (SELECT coalesce(max(seq), 0) + 1 FROM records)),?,?,?,?,0,0,-1)",
            staged.compacted,
        )
        fresh, new, last = _after(db, known)
        _count(db, "received", staged.received)
        _count(db, "duplicates", staged.received - new)
        db.executemany("INSERT OR REPLACE INTO tails VALUES (?,?)", staged.tails.items())
        db.executemany("INSERT OR REPLACE INTO claims VALUES (?,?)", staged.claims.items())
        db.executemany("INSERT OR IGNORE INTO pointers VALUES (?)", staged.pointers)
        if staged.news:
            gone = news.enter(db, staged.news)
        db.execute("INSERT OR REPLACE INTO cursor VALUES (1, ?, ?)", staged.end)
    if gone:
        log.warning("%d news of our own work go untold: only the newest %d wait. `reactord status` says what holds"
                    " the jobs up", gone, news.MAX_WAITING)  # fmt: skip
    return Applied(new, fresh, last, bool(staged.news), bool(staged.pointers))


def last_seq(db: sqlite3.Connection) -> int:
    """The number of the newest record."""
    return int(db.execute("SELECT coalesce(max(seq), 0) FROM records").fetchone()[0])


def _after(db: sqlite3.Connection, seq: int) -> tuple[int, int, int]:
    """(pending records, all records newer than `seq`, the newest)."""
    query = "SELECT total(fate = 0), count(*), coalesce(max(seq), ?) FROM records WHERE seq > ?"
    fresh, new, last = db.execute(query, (seq, seq)).fetchone()
    return int(fresh), new, last


def _count(db: sqlite3.Connection, name: str, n: int) -> None:
    if n:
        db.execute("INSERT INTO counters VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET n = n + excluded.n", (name, n))


class Beside:
    """The one transaction that is under way, and what the ones before it have brought."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="index")  # begun with its first work
        self._under_way: Future[Applied] | None = None
        self._brought: Applied | None = None
        self.failed = False  # rows were lost: they have to be staged again, from the journal

    def begin(self, staged: Staged) -> None:
        """Begin to enter rows. Raises what kept those before them from being entered, and these are not, then."""
        self.wait()
        self._under_way = self._thread.submit(self._enter, staged)

    def _enter(self, staged: Staged) -> Applied:
        try:
            return enter(self._db, staged)
        except BaseException:
            self.failed = True
            raise

    def wait(self) -> None:
        """Wait until nothing is under way. Raises, once, what kept rows from being entered."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            applied = under_way.result()
            self._brought = applied if self._brought is None else self._brought + applied

    def take(self) -> Applied | None:
        """What was brought since the last time; None: nothing was entered."""
        self.wait()
        brought, self._brought = self._brought, None
        return brought

    def forget(self) -> None:
        """Wait until nothing is under way; what failed, and what was brought, is known already."""
        if self._under_way is not None:
            wait([self._under_way])
        self._under_way = self._brought = None
        self.failed = False

    def close(self) -> None:
        self._thread.shutdown()
