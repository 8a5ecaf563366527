"""What became of each record?

`index.db` (SQLite, WAL, synchronous=NORMAL) knows the identity, place and fate of every record and how far each tail
was read. It is disposable: live ingest, recovery after a crash and a full rebuild all go through the same `apply`, fed
with batches of the journal; the fates come from the manifests of the datasets that were taken.

Conservation: received = pending + train + holdout + rejected + duplicates, checked whenever a dataset is taken.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from reactord.errors import BadRecord, Conservation
from reactord.formats import FORMATS, Parser, Record, Refusal
from reactord.formats.records import content_identity
from reactord.ledger.counts import HOLDOUT, PENDING, REJECTED, TRAIN, Counts, counts
from reactord.ledger.journal import Entry, Place
from reactord.ledger.sqlite import open_writer, transaction

SCHEMA = """
CREATE TABLE IF NOT EXISTS records(
    seq INTEGER PRIMARY KEY, identity BLOB NOT NULL UNIQUE, format TEXT NOT NULL, arrived_at REAL NOT NULL,
    segment INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
    item INTEGER NOT NULL,                -- position within a document, -1 for a line
    whence TEXT NOT NULL,                 -- what the parser is told about where the bytes came from
    fate INTEGER NOT NULL DEFAULT 0, reason TEXT);
CREATE INDEX IF NOT EXISTS undecided ON records(seq) WHERE fate = 0;
CREATE TABLE IF NOT EXISTS counters(name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tails(path TEXT PRIMARY KEY, position TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claims(name TEXT PRIMARY KEY, reason TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS taken(dataset TEXT PRIMARY KEY, upto INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cursor(one INTEGER PRIMARY KEY CHECK (one = 1), segment INTEGER, offset INTEGER);
"""


def key_of(identity: str) -> bytes:
    """The 16 bytes under which an identity of any length is kept."""
    return hashlib.blake2b(identity.encode("utf-8", "surrogateescape"), digest_size=16).digest()


#: (the entry, offset and length of the refused part, the reason); called before the commit, so it must be idempotent
OnRefused = Callable[[Entry, int, int, str], None]


def parse(entry: Entry) -> list[tuple[int, int, int, Record | Refusal]]:
    """(offset within the entry, length, item, record) of everything an entry holds.

    An entry that was refused as a whole is one refusal. So is one that this version no longer reads: the journal is
    older than the parsers, and must always be readable to its end.
    """
    meta = entry.meta
    if reason := meta.get("refused"):
        return [(0, len(entry.raw), -1, Refusal(meta["identity"], reason))]
    parser, where = FORMATS[meta["format"]], meta["where"]
    if meta.get("tail") is None:
        return [(0, len(entry.raw), i, record) for i, record in enumerate(_records(parser, entry.raw, where))]
    found: list[tuple[int, int, int, Record | Refusal]] = []
    offset = 0
    for line in entry.raw.split(b"\n")[:-1]:
        if line.strip():
            at = f"{where}@{meta['tail']['start'] + offset}"
            found += [(offset, len(line), -1, record) for record in _records(parser, line, at)]
        offset += len(line) + 1
    return found


def _records(parser: Parser, raw: bytes, where: str) -> list[Record | Refusal]:
    try:
        return parser(raw, where)
    except BadRecord as bad:
        return [Refusal(content_identity("refused", where, raw), str(bad))]


class Index:
    """The one writer of index.db."""

    def __init__(self, path: Path, on_refused: OnRefused) -> None:
        self.on_refused = on_refused
        self.db = open_writer(path, SCHEMA, "NORMAL")

    def close(self) -> None:
        self.db.close()

    def cursor(self) -> Place:
        """How far into the journal this index has read."""
        row = self.db.execute("SELECT segment, offset FROM cursor").fetchone()
        return Place(*row) if row else Place(1, 0)

    def apply(self, batch: Iterable[tuple[Place, Entry]], end: Place) -> int:
        """Enter one journal batch; return how many records were new. All or nothing."""
        with transaction(self.db):
            new = sum(self._apply_entry(place, entry) for place, entry in batch)
            self.db.execute("INSERT OR REPLACE INTO cursor VALUES (1, ?, ?)", (end.segment, end.offset))
        return new

    def _apply_entry(self, place: Place, entry: Entry) -> int:
        meta, rows = entry.meta, []
        for offset, length, item, record in parse(entry):
            reason = record.reason if isinstance(record, Refusal) else None
            if reason is not None:
                self.on_refused(entry, offset, length, reason)
            rows.append((
                key_of(record.identity), meta["format"], meta["at"], place.segment, place.offset + offset, length, item,
                f"{meta['where']}@{meta['tail']['start'] + offset}" if meta.get("tail") else meta["where"],
                PENDING if reason is None else REJECTED, reason and _short(reason),
            ))  # fmt: skip
        before = self.db.total_changes
        self.db.executemany(
            "INSERT OR IGNORE INTO records"
            "(identity, format, arrived_at, segment, offset, length, item, whence, fate, reason)"
            " VALUES (?,?,?,?,?,?,?,?,?,?)",
            rows,
        )
        new = self.db.total_changes - before
        self._count("received", len(rows))
        self._count("duplicates", len(rows) - new)
        if tail := meta.get("tail"):
            self.db.execute("INSERT OR REPLACE INTO tails VALUES (?, ?)", (tail["path"], tail["position"]))
        if claim := meta.get("claim"):
            self.db.execute("INSERT OR REPLACE INTO claims VALUES (?, ?)", (claim, meta.get("refused")))
        return new

    def _count(self, name: str, n: int) -> None:
        if n:
            self.db.execute(
                "INSERT INTO counters VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET n = n + excluded.n", (name, n)
            )

    def tail(self, path: str) -> str | None:
        """The position that was stored for a tailed file, as its writer encoded it."""
        row = self.db.execute("SELECT position FROM tails WHERE path = ?", (path,)).fetchone()
        return str(row[0]) if row else None

    def claimed(self, name: str) -> tuple[bool, str | None]:
        """(is this claimed file in the journal already?, the reason it was refused for)."""
        row = self.db.execute("SELECT reason FROM claims WHERE name = ?", (name,)).fetchone()
        return (row is not None, row[0] if row else None)

    def forget_claims(self, names: Sequence[str]) -> None:
        """Claimed files that are unlinked need no memory any more."""
        with transaction(self.db):
            self.db.executemany("DELETE FROM claims WHERE name = ?", [(name,) for name in names])

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
        decided = [(TRAIN, None, bytes.fromhex(i)) for i in fates["train"]]
        decided += [(HOLDOUT, None, bytes.fromhex(i)) for i in fates["holdout"]]
        decided += [(REJECTED, reason, bytes.fromhex(i)) for reason, ids in fates["rejected"].items() for i in ids]
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
        last = self.db.execute("SELECT coalesce(max(seq), 0) FROM records").fetchone()[0]
        return n, last


def _short(reason: str) -> str:
    """A reason is a key in counts: the class of the trouble, not the bytes that caused it."""
    return re.split("[:;]", reason, maxsplit=1)[0][:80]
