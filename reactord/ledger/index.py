"""What became of each record?

`index.db` (SQLite, WAL, synchronous=NORMAL) knows the identity, place and fate of every record and how far each tail
was read. It is disposable: live ingest, recovery after a crash and a full rebuild all go through the same `apply`, fed
with batches of the journal; the fates come from the manifests of the datasets that were taken.

Conservation: received = pending + train + holdout + rejected + duplicates, checked whenever a dataset is taken.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from reactord import durable
from reactord.errors import Conservation
from reactord.ledger import news
from reactord.ledger.counts import HOLDOUT, REFUSED, REJECTED, TRAIN, Counts, counts, mended
from reactord.ledger.entering import Applied, Beside, enter, last_seq
from reactord.ledger.journal import Entry, Place, segment_path, segments
from reactord.ledger.news import News
from reactord.ledger.sqlite import open_writer, set_aside, transaction
from reactord.ledger.staged import COMPACTED, OnRefused, Staged, entry_row

#: raise it with every change of SCHEMA: an index of another shape is rebuilt from the journal
SHAPE = 4
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS entries(       -- what the records of one journal entry have in common
    id INTEGER PRIMARY KEY, format TEXT NOT NULL, arrived_at REAL NOT NULL, segment INTEGER NOT NULL,
    offset INTEGER NOT NULL, whence TEXT NOT NULL,   -- what the parser is told about where the bytes came from
    start INTEGER,                        -- offset of the first line in its file; NULL for a whole document
    received INTEGER NOT NULL,            -- how many records it brought, known ones included
    mended TEXT);                         -- JSON: what had to be mended, and in how many documents; NULL for nothing
CREATE INDEX IF NOT EXISTS entries_by_segment ON entries(segment);
CREATE INDEX IF NOT EXISTS entries_mended ON entries(segment) WHERE mended IS NOT NULL;
CREATE TABLE IF NOT EXISTS records(
    seq INTEGER PRIMARY KEY, identity INTEGER NOT NULL UNIQUE, entry INTEGER NOT NULL,
    offset INTEGER NOT NULL, length INTEGER NOT NULL,  -- of its bytes within the entry
    item INTEGER NOT NULL,                -- position among what those bytes hold, -1 for a part that was refused whole
    fate INTEGER NOT NULL DEFAULT 0, reason TEXT);
CREATE TABLE IF NOT EXISTS counters(name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tails(path TEXT PRIMARY KEY, position TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claims(name TEXT PRIMARY KEY, reason TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pointers(path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS taken(dataset TEXT PRIMARY KEY, upto INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cursor(one INTEGER PRIMARY KEY CHECK (one = 1), segment INTEGER, offset INTEGER);
{news.SCHEMA}
"""


def _set_aside_if_of_another_shape(path: Path) -> None:
    if not path.exists():
        return
    # not read-only: who died while it was made may have left a journal that only a writer can roll back
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        shape = db.execute("PRAGMA user_version").fetchone()[0]
    if shape != SHAPE:
        set_aside(path)


def _end_of(journal: Path) -> Place:
    """Behind the last byte that is there."""
    number = max(segments(journal), default=1)
    path = segment_path(journal, number)
    return Place(number, path.stat().st_size if path.exists() else 0)


class Index:
    """The one writer of index.db."""

    def __init__(self, path: Path, on_refused: OnRefused) -> None:
        self.path, self.on_refused = path, on_refused
        _set_aside_if_of_another_shape(path)
        self._db = open_writer(path, f"PRAGMA user_version={SHAPE}; {SCHEMA}", "NORMAL")
        self._beside = Beside(self._db)
        self._staged: Staged | None = None
        self._last: int | None = None  # the number of the newest entry, those that are staged included
        self._news_from = news.beginning(self.db) or Place(1, 0)

    @property
    def db(self) -> sqlite3.Connection:
        """The database, with nothing under way in it. Raises, once, what kept rows from being entered."""
        self._beside.wait()
        return self._db

    @property
    def torn(self) -> bool:
        """Whether rows were lost: `unstage`, and read again from the journal."""
        return self._beside.failed

    def close(self) -> None:
        self._beside.close()
        self._db.close()

    def cursor(self) -> Place:
        """How far into the journal this index has read."""
        row = self.db.execute("SELECT segment, offset FROM cursor").fetchone()
        return Place(*row) if row else Place(1, 0)

    def apply(self, batch: Iterable[tuple[Place, Entry]], end: Place) -> Applied:
        """Enter one journal batch, all of it or nothing."""
        self.stage(batch, end)
        return self.flush()

    def stage(self, batch: Iterable[tuple[Place, Entry]], end: Place) -> bool:
        """Read one journal batch. True: it has to be entered (`flush`), or begin to be (`begin`), before the next."""
        if self._staged is None:
            self._staged = Staged(self._last_entry(), self.on_refused)
        staged, self._staged = self._staged, None  # what fails half way is not entered at all
        for place, entry in batch:
            before = len(staged.notices)
            staged.add(place, entry)
            if len(staged.notices) > before and place >= self._news_from:
                staged.news += news.found_at(place, staged.notices[before:])
        self._staged, self._last, staged.end = staged, staged.last, end
        return staged.full

    def _last_entry(self) -> int:
        if self._last is None:
            self._last = int(self.db.execute("SELECT coalesce(max(id), 0) FROM entries").fetchone()[0])
        return self._last

    def unstage(self) -> None:
        """Forget what is staged: it will be read again, from the journal."""
        self._beside.forget()
        self._staged = self._last = None

    def begin(self) -> None:
        """Begin to enter what is staged, beside what comes next: `flush` tells what it brought. Raises like `flush`."""
        staged, self._staged = self._staged, None
        if staged is not None:
            self._beside.begin(staged)

    def flush(self) -> Applied:
        """Enter what is staged, all of it or nothing; when that fails, it has to be staged again.

        Returns what was brought since the last time. Raises what kept earlier rows from being entered, too.
        """
        brought, staged, self._staged = self._beside.take(), self._staged, None
        if staged is not None:
            applied = enter(self._db, staged)
            return applied if brought is None else brought + applied
        return brought or Applied(last_seq=last_seq(self._db))

    # -- news --------------------------------------------------------------------------------------------------------
    def begin_news(self, journal: Path) -> None:
        """Of an index that was just made: what the journal says already was told from the one before."""
        if news.beginning(self.db) is None:
            self._news_from = _end_of(journal)
            with transaction(self.db):
                news.begin(self.db, self._news_from)

    def untold(self) -> tuple[News, ...]:
        """News to be told on, the oldest first."""
        return news.waiting(self.db)

    def forget_news(self, told: Sequence[News]) -> None:
        with transaction(self.db):
            news.forget(self.db, told)

    # -- compaction --------------------------------------------------------------------------------------------------
    def newest_in(self, segment: int) -> float | None:
        """When the last entry of a segment arrived. None: it holds none, or it is compacted."""
        query = "SELECT arrived_at, format FROM entries WHERE segment = ? ORDER BY id DESC LIMIT 1"
        row = self.db.execute(query, (segment,)).fetchone()
        return float(row[0]) if row and row[1] != COMPACTED else None

    def may_compact(self, segment: int) -> bool:
        """Whether the bytes of a segment are of no more use: it is not written any more, and none of it is pending."""
        if segment >= self.cursor().segment or self.newest_in(segment) is None:
            return False
        query = "SELECT 1 FROM records WHERE seq BETWEEN ? AND ? AND fate = 0 LIMIT 1"
        return self.db.execute(query, self._records_in(segment)).fetchone() is None

    def _records_in(self, segment: int) -> tuple[int, int]:
        """The numbers of the first and the last record of a segment; it must have entries.

        Records are numbered in the order of their entries, and so they are found without another index: that would cost
        every record that arrives.
        """
        edges = "SELECT id FROM entries WHERE segment = ? ORDER BY id"
        first, last = (self.db.execute(f"{edges} {way} LIMIT 1", (segment,)).fetchone()[0] for way in ("ASC", "DESC"))
        numbers = range(1, last_seq(self.db) + 1)
        return bisect_left(numbers, first, key=self._entry_of) + 1, bisect_right(numbers, last, key=self._entry_of)

    def _entry_of(self, seq: int) -> int:
        row = self.db.execute("SELECT entry FROM records WHERE seq >= ? ORDER BY seq LIMIT 1", (seq,)).fetchone()
        return int(row[0])

    def kept_of(self, segment: int) -> dict[str, Any]:
        """What must be known of a segment without its bytes: who was received, and what was refused at the door."""
        records = self.db.execute(
            "SELECT seq, identity, CASE WHEN fate = ? THEN reason END FROM records WHERE seq BETWEEN ? AND ?",
            (REFUSED, *self._records_in(segment)),
        ).fetchall()
        entries = "SELECT max(id), sum(received) FROM entries WHERE segment = ?"
        last, received = self.db.execute(entries, (segment,)).fetchone()
        known = {"entry": last, "received": received, "records": records, "pointers": self.pointers()}
        return known | {"mended": mended(self.db, segment)}

    def settle(self) -> None:
        """Make all that was entered durable: else a power cut may undo the newest transactions (synchronous=NORMAL)."""
        written = self.path.with_name(f"{self.path.name}-wal")
        if written.exists():
            durable.sync_file(written)
        durable.sync_directory(self.path.parent)

    def forget_places(self, segment: int, kept: dict[str, Any], meta: dict[str, Any], place: Place) -> None:
        """The bytes of a segment are gone: its records know their fate, and no place."""
        records = self._records_in(segment)
        with transaction(self.db):
            self.db.execute(
                "UPDATE records SET entry = ?, offset = 0, length = 0, item = -1 WHERE seq BETWEEN ? AND ?",
                (kept["entry"], *records),
            )
            self.db.execute("DELETE FROM entries WHERE segment = ?", (segment,))
            row = entry_row(kept["entry"], meta, place, None, kept["received"], kept["mended"])
            self.db.execute("INSERT INTO entries VALUES (?,?,?,?,?,?,?,?,?)", row)

    # -- doors -------------------------------------------------------------------------------------------------------
    def pointers(self) -> list[str]:
        """The files that events have named."""
        return [str(path) for (path,) in self.db.execute("SELECT path FROM pointers ORDER BY path")]

    def tail(self, path: str) -> str | None:
        """The position that was stored for a tailed file, as its writer encoded it."""
        if self._staged is not None and path in self._staged.tails:
            return self._staged.tails[path]
        row = self.db.execute("SELECT position FROM tails WHERE path = ?", (path,)).fetchone()
        return str(row[0]) if row else None

    def claimed(self, name: str) -> tuple[bool, str | None]:
        """(is this claimed file in the journal already?, the reason it was refused for)."""
        row = self.db.execute("SELECT reason FROM claims WHERE name = ?", (name,)).fetchone()
        return (row is not None, row[0] if row else None)

    def forget_claims(self, names: Sequence[str]) -> None:
        """Claimed files that are unlinked need no memory any more; nearly always they are still staged."""
        staged = self._staged.claims if self._staged is not None else {}
        entered = [(name,) for name in names if staged.pop(name, self) is self]
        if entered:
            with transaction(self.db):
                self.db.executemany("DELETE FROM claims WHERE name = ?", entered)

    def keep_claims(self, present: set[str]) -> None:
        """At start: remember only the claims whose files are still there."""
        known = {str(name) for (name,) in self.db.execute("SELECT name FROM claims")}
        self.forget_claims(sorted(known - present))

    def has_taken(self, dataset: str) -> bool:
        return self.db.execute("SELECT 1 FROM taken WHERE dataset = ?", (dataset,)).fetchone() is not None

    def take(self, dataset: str, manifest: dict[str, Any]) -> None:
        """Give every record the fate that a dataset's manifest says; idempotent.

        Raises Conservation, and changes nothing, when the manifest does not account for exactly the records that are
        pending up to `manifest["upto"]`.
        """
        if self.has_taken(dataset):
            return
        fates, upto = manifest["fates"], int(manifest["upto"])
        decided = [(TRAIN, None, int(i, 16)) for i in fates["train"]]
        decided += [(HOLDOUT, None, int(i, 16)) for i in fates["holdout"]]
        decided += [(REJECTED, reason, int(i, 16)) for reason, ids in fates["rejected"].items() for i in ids]
        with transaction(self.db):
            seen = self.db.execute("SELECT count(*) FROM records WHERE fate = 0 AND seq <= ?", (upto,)).fetchone()[0]
            before = self.db.total_changes
            self.db.executemany("UPDATE records SET fate = ?, reason = ? WHERE identity = ? AND fate = 0", decided)
            changed = self.db.total_changes - before
            if changed != len(decided) or changed + len(fates["waiting"]) != seen:
                raise Conservation(
                    f"dataset {dataset[:12]} decides {len(decided)} records and leaves {len(fates['waiting'])} waiting,"
                    f" but {seen} were pending and {changed} of the decided ones were among them. Nothing was changed"
                    " and the job stops. Please report this with the output of `reactord ledger --json`."
                )
            self.db.execute("INSERT INTO taken VALUES (?, ?)", (dataset, upto))

    def counts(self) -> Counts:
        return counts(self.db)

    def fresh(self, after: int) -> tuple[int, int]:
        """(pending records newer than `after`, the newest record): what a trigger needs, cheaply."""
        n = self.db.execute("SELECT count(*) FROM records WHERE fate = 0 AND seq > ?", (after,)).fetchone()[0]
        return n, last_seq(self.db)
