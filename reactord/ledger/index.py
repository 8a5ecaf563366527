"""What became of each record?

`index.db` (SQLite, WAL, synchronous=NORMAL) knows the identity, place and fate of every record and how far each tail
was read. It is disposable: live ingest, recovery after a crash and a full rebuild all go through the same `apply`, fed
with batches of the journal; the fates come from the manifests of the datasets that were taken.

Conservation: received = pending + train + holdout + rejected + duplicates, checked whenever a dataset is taken.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import orjson

from reactord.errors import BadRecord, Conservation
from reactord.formats import FORMATS, Item, Notice, Parser, Pointer, Record, Refusal
from reactord.formats.records import content_identity
from reactord.ledger.counts import HOLDOUT, PENDING, REFUSED, REJECTED, TRAIN, Counts, counts
from reactord.ledger.journal import Entry, Place
from reactord.ledger.sqlite import open_writer, set_aside, transaction

#: raise it with every change of SCHEMA: an index of another shape is rebuilt from the journal
SHAPE = 2
SCHEMA = """
CREATE TABLE IF NOT EXISTS entries(       -- what the records of one journal entry have in common
    id INTEGER PRIMARY KEY, format TEXT NOT NULL, arrived_at REAL NOT NULL, segment INTEGER NOT NULL,
    offset INTEGER NOT NULL, whence TEXT NOT NULL,   -- what the parser is told about where the bytes came from
    start INTEGER,                        -- offset of the first line in its file; NULL for a whole document
    received INTEGER NOT NULL);           -- how many records it brought, known ones included
CREATE TABLE IF NOT EXISTS records(
    seq INTEGER PRIMARY KEY, identity BLOB NOT NULL UNIQUE, entry INTEGER NOT NULL,
    offset INTEGER NOT NULL, length INTEGER NOT NULL,  -- of its bytes within the entry
    item INTEGER NOT NULL,                -- position among what those bytes hold, -1 for a part that was refused whole
    fate INTEGER NOT NULL DEFAULT 0, reason TEXT);
CREATE TABLE IF NOT EXISTS counters(name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tails(path TEXT PRIMARY KEY, position TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claims(name TEXT PRIMARY KEY, reason TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pointers(path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS taken(dataset TEXT PRIMARY KEY, upto INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cursor(one INTEGER PRIMARY KEY CHECK (one = 1), segment INTEGER, offset INTEGER);
"""


#: the format of an entry that stands for all of a segment (ledger/compaction.py)
COMPACTED = "compacted"


def _set_aside_if_of_another_shape(path: Path) -> None:
    if not path.exists():
        return
    # not read-only: who died while it was made may have left a journal that only a writer can roll back
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        shape = db.execute("PRAGMA user_version").fetchone()[0]
    if shape != SHAPE:
        set_aside(path)


def key_of(identity: str) -> bytes:
    """The 16 bytes under which an identity of any length is kept."""
    return hashlib.blake2b(identity.encode("utf-8", "surrogateescape"), digest_size=16).digest()


#: (the entry, offset and length of the refused part, the reason); called before the commit, so it must be idempotent
OnRefused = Callable[[Entry, int, int, str], None]


@dataclass(frozen=True, slots=True)
class Applied:
    """What a batch brought."""

    new: int  # records and refusals that were not known before
    fresh: int  # of them the records
    last_seq: int
    notices: list[Notice]
    pointed: bool  # files were named


@dataclass(slots=True)
class _Found:
    """The rows of one batch."""

    last: int  # number of the newest entry
    entries: list[tuple[Any, ...]] = field(default_factory=list)
    pending: list[tuple[bytes, int, int, int, int]] = field(default_factory=list)
    refused: list[tuple[bytes, int, int, int, int, str, int]] = field(default_factory=list)
    tails: list[tuple[str, str]] = field(default_factory=list)
    claims: list[tuple[str, str | None]] = field(default_factory=list)
    pointers: list[tuple[str]] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    compacted: list[tuple[int, bytes, str | None, int, int]] = field(default_factory=list)
    received_compacted: int = 0

    @property
    def received(self) -> int:
        return len(self.pending) + len(self.refused) + self.received_compacted

    def add_compacted(self, kept: dict[str, Any], meta: dict[str, Any], place: Place) -> None:
        """What `Index.kept_of` remembered of a segment whose bytes are gone."""
        self.last = kept["entry"]
        self.entries.append(_entry_row(self.last, meta, place, None, kept["received"]))
        self.received_compacted += kept["received"]
        for seq, identity, reason in kept["records"]:
            fate = PENDING if reason is None else REFUSED  # the manifests of the datasets tell of the others
            self.compacted.append((seq, bytes.fromhex(identity), reason, fate, self.last))
        self.tails += kept["tails"].items()
        self.pointers += [(path,) for path in kept["pointers"]]


def _entry_row(number: int, meta: dict[str, Any], place: Place, start: int | None, received: int) -> tuple[Any, ...]:
    return number, meta["format"], meta["at"], place.segment, place.offset, meta["where"], start, received


#: (offset within the entry, length, position within those bytes, item)
_Placed = tuple[int, int, int, Item]


def _document(entry: Entry) -> Iterable[_Placed]:
    """What a whole document holds.

    One that was refused as a whole is one refusal. So is one that this version no longer reads: the journal is older
    than the parsers, and must always be readable to its end.
    """
    meta, size = entry.meta, len(entry.raw)
    if reason := meta.get("refused"):
        return [(0, size, -1, Refusal(meta["identity"], reason))]
    items = entry.items
    if items is None:
        items = _items(FORMATS[meta["format"]].parse, entry.raw, meta["where"])
    return [(0, size, position, item) for position, item in enumerate(items)]


def _lines(entry: Entry, number: int, found: _Found) -> Iterator[_Placed]:
    """What the lines of a tailed file hold. Rows that need no look at their line go straight into the batch."""
    meta, lines = entry.meta, entry.raw.split(b"\n")
    lines.pop()
    form, where, start = FORMATS[meta["format"]], meta["where"], meta["tail"]["start"]
    sizes = list(map(len, lines))
    offsets = list(accumulate(map(_BEHIND, sizes), initial=0))
    keys: list[bytes | None] = [None] * len(lines)
    if form.identities and _is_utf8(entry.raw):
        keys = [key_of(identity) if identity else None for identity in form.identities(lines)]
        known = zip(keys, offsets, sizes, strict=False)
        found.pending += [(key, number, offset, size, 0) for key, offset, size in known if key]
        if None not in keys:
            return
    for key, line, offset in zip(keys, lines, offsets, strict=False):
        if key is None and line and not line.isspace():
            for position, item in enumerate(_items(form.parse, line, f"{where}@{start + offset}")):
                yield offset, len(line), position, item


_BEHIND = (1).__add__  # a line and its newline


def _is_utf8(raw: bytes) -> bool:
    """The quick way does not look into strings that it does not need; `parse` would refuse what is no text."""
    try:
        return raw.isascii() or bool(raw.decode())
    except UnicodeDecodeError:
        return False


def _items(parser: Parser, raw: bytes, where: str) -> list[Item]:
    try:
        return parser(raw, where)
    except BadRecord as bad:
        return [Refusal(content_identity("refused", where, raw), str(bad))]


class Index:
    """The one writer of index.db."""

    def __init__(self, path: Path, on_refused: OnRefused) -> None:
        self.on_refused = on_refused
        _set_aside_if_of_another_shape(path)
        self.db = open_writer(path, f"PRAGMA user_version={SHAPE}; {SCHEMA}", "NORMAL")

    def close(self) -> None:
        self.db.close()

    def cursor(self) -> Place:
        """How far into the journal this index has read."""
        row = self.db.execute("SELECT segment, offset FROM cursor").fetchone()
        return Place(*row) if row else Place(1, 0)

    def apply(self, batch: Iterable[tuple[Place, Entry]], end: Place) -> Applied:
        """Enter one journal batch, all of it or nothing."""
        with transaction(self.db):
            found = _Found(self.db.execute("SELECT coalesce(max(id), 0) FROM entries").fetchone()[0])
            for place, entry in batch:
                self._read(place, entry, found)
            self.db.executemany("INSERT INTO entries VALUES (?,?,?,?,?,?,?,?)", found.entries)
            before = self.db.total_changes
            self.db.executemany(
                "INSERT OR IGNORE INTO records(identity, entry, offset, length, item) VALUES (?,?,?,?,?)", found.pending
            )
            fresh = self.db.total_changes - before
            self.db.executemany(
                "INSERT OR IGNORE INTO records(identity, entry, offset, length, item, reason, fate)"
                " VALUES (?,?,?,?,?,?,?)",
                found.refused,
            )
            self.db.executemany(
                "INSERT OR IGNORE INTO records(seq, identity, reason, fate, entry, offset, length, item)"
                " VALUES (?,?,?,?,?,0,0,-1)",
                found.compacted,
            )
            new = self.db.total_changes - before
            self._count("received", found.received)
            self._count("duplicates", found.received - new)
            self.db.executemany("INSERT OR REPLACE INTO tails VALUES (?,?)", found.tails)
            self.db.executemany("INSERT OR REPLACE INTO claims VALUES (?,?)", found.claims)
            self.db.executemany("INSERT OR IGNORE INTO pointers VALUES (?)", found.pointers)
            self.db.execute("INSERT OR REPLACE INTO cursor VALUES (1, ?, ?)", (end.segment, end.offset))
            last = self.db.execute("SELECT coalesce(max(seq), 0) FROM records").fetchone()[0]
        return Applied(new, fresh, last, found.notices, bool(found.pointers))

    def _read(self, place: Place, entry: Entry, found: _Found) -> None:
        """Add what one entry says to what its batch says."""
        meta = entry.meta
        if meta["format"] == COMPACTED:
            found.add_compacted(orjson.loads(entry.raw), meta, place)
            return
        tail, spool, claim = meta.get("tail"), meta.get("spool"), meta.get("claim")
        start, before = tail and tail["start"], found.received
        found.last += 1
        placed = _lines(entry, found.last, found) if tail and "refused" not in meta else _document(entry)
        for offset, length, position, item in placed:
            if item.__class__ is Record:
                found.pending.append((key_of(item.identity), found.last, offset, length, position))
            elif isinstance(item, Refusal):
                self.on_refused(entry, offset, length, item.reason)
                key = key_of(item.identity)
                found.refused.append((key, found.last, offset, length, position, _short(item.reason), REFUSED))
            elif isinstance(item, Pointer):
                found.pointers.append((item.path,))
            elif isinstance(item, Notice):
                found.notices.append(item)
        found.entries.append(_entry_row(found.last, meta, place, start, found.received - before))
        found.tails += [(file["path"], file["position"]) for file in (tail, spool) if file]
        if claim:
            found.claims.append((claim, meta.get("refused")))

    def _count(self, name: str, n: int) -> None:
        if n:
            self.db.execute(
                "INSERT INTO counters VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET n = n + excluded.n", (name, n)
            )

    def may_compact(self, segment: int) -> bool:
        """Whether the bytes of a segment are of no more use: it is not written any more, and none of it is pending."""
        if segment >= self.cursor().segment:
            return False
        query = "SELECT 1 FROM entries e LEFT JOIN records r ON r.entry = e.id WHERE segment = ?"
        raw = self.db.execute(f"{query} AND format <> ? LIMIT 1", (segment, COMPACTED)).fetchone()
        return raw is not None and not self.db.execute(f"{query} AND fate = 0 LIMIT 1", (segment,)).fetchone()

    def newest_in(self, segment: int) -> float:
        """When the last entry of a segment arrived."""
        return float(self.db.execute("SELECT max(arrived_at) FROM entries WHERE segment = ?", (segment,)).fetchone()[0])

    def kept_of(self, segment: int) -> dict[str, Any]:
        """What must be known of a segment without its bytes: who was received, and what was refused at the door."""
        rows = self.db.execute(
            "SELECT seq, identity, CASE WHEN fate = ? THEN reason END FROM records r JOIN entries e ON e.id = r.entry"
            " WHERE segment = ? ORDER BY seq",
            (REFUSED, segment),
        )
        last, received = self.db.execute(
            "SELECT max(id), sum(received) FROM entries WHERE segment = ?", (segment,)
        ).fetchone()
        records = [(seq, identity.hex(), reason) for seq, identity, reason in rows]
        return {"entry": last, "received": received, "records": records, "pointers": self.pointers()}

    def forget_places(self, segment: int, kept: dict[str, Any], meta: dict[str, Any], place: Place) -> None:
        """The bytes of a segment are gone: its records know their fate, and no place."""
        with transaction(self.db):
            self.db.execute(
                "UPDATE records SET entry = ?, offset = 0, length = 0, item = -1"
                " WHERE entry IN (SELECT id FROM entries WHERE segment = ?)",
                (kept["entry"], segment),
            )
            self.db.execute("DELETE FROM entries WHERE segment = ?", (segment,))
            row = _entry_row(kept["entry"], meta, place, None, kept["received"])
            self.db.execute("INSERT INTO entries VALUES (?,?,?,?,?,?,?,?)", row)

    def pointers(self) -> list[str]:
        """The files that events have named."""
        return [str(path) for (path,) in self.db.execute("SELECT path FROM pointers ORDER BY path")]

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
