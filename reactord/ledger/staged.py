"""What does a journal batch say, as rows of the index?

Rows are gathered here until the index takes them, some thousands at once: in a large index every transaction touches
as many pages as it has rows, and larger ones touch each page once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import orjson

from reactord.errors import BadRecord
from reactord.formats import FORMATS, Item, Notice, Parser, Pointer, Record, Refusal
from reactord.formats.records import content_identity
from reactord.ledger.counts import PENDING, REFUSED
from reactord.ledger.journal import Entry, Place

#: as many at once
ROWS = 20_000
#: the format of an entry that stands for all of a segment (ledger/compaction.py)
COMPACTED = "compacted"


def key_of(identity: str) -> int:
    """The 64 bits under which an identity of any length is kept; an integer, because SQLite is quickest with those.

    Two of ten million records share one with a chance of three in a million; the later one counts as a duplicate then.
    """
    digest = hashlib.blake2b(identity.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def hexed(key: int) -> str:
    """A key as the manifests of the datasets write it."""
    return f"{key & _ALL_BITS:016x}"


def unhexed(text: str) -> int:
    """The key again."""
    key = int(text, 16)
    return key - _ALL_BITS - 1 if key > _ALL_BITS >> 1 else key


_ALL_BITS = (1 << 64) - 1


#: (the entry, offset and length of the refused part, the reason); called before the commit, so it must be idempotent
OnRefused = Callable[[Entry, int, int, str], None]
#: (identity, number of the entry, offset, length, item), as the columns of the table `records`
Row = tuple[int, int, int, int, int]
#: (offset within the entry, length, position within those bytes, item)
_Placed = tuple[int, int, int, Item]


@dataclass(slots=True)
class Staged:
    """The rows of whole batches, in order of arrival."""

    last: int  # number of the newest entry
    on_refused: OnRefused
    entries: list[tuple[Any, ...]] = field(default_factory=list)
    records: list[Row] = field(default_factory=list)
    refused: list[tuple[str, Row]] = field(default_factory=list)  # (why, one of the records)
    compacted: list[tuple[int, int, int, str | None, int]] = field(default_factory=list)  # they come with their number
    tails: dict[str, str] = field(default_factory=dict)
    claims: dict[str, str | None] = field(default_factory=dict)
    pointers: list[tuple[str]] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    received: int = 0

    @property
    def full(self) -> bool:
        """Whether the index must take them before more is added; what is numbered already must keep its place."""
        return len(self.records) >= ROWS or bool(self.compacted)

    def add(self, place: Place, entry: Entry) -> None:
        """What one entry says."""
        meta = entry.meta
        if meta["format"] == COMPACTED:
            self._add_compacted(orjson.loads(entry.raw), meta, place)
            return
        tail, spool = meta.get("tail"), meta.get("spool")
        before = len(self.records)
        self.last += 1
        for offset, length, position, item in self._lines(entry) if tail and "refused" not in meta else _whole(entry):
            if item.__class__ is Record:
                self.records.append((key_of(item.identity), self.last, offset, length, position))
            elif isinstance(item, Refusal):
                self.on_refused(entry, offset, length, item.reason)
                row = (key_of(item.identity), self.last, offset, length, position)
                self.records.append(row)
                self.refused.append((_short(item.reason), row))
            elif isinstance(item, Pointer):
                self.pointers.append((item.path,))
            elif isinstance(item, Notice):
                self.notices.append(item)
        received = len(self.records) - before
        self.received += received
        self.entries.append(entry_row(self.last, meta, place, tail and tail["start"], received))
        for file in (tail, spool):
            if file:
                self.tails[file["path"]] = file["position"]
        if claim := meta.get("claim"):
            self.claims[claim] = meta.get("refused")

    def _lines(self, entry: Entry) -> Iterator[_Placed]:
        """What the lines of a tailed file hold. Those that need no look are added at once, as rows."""
        meta, lines = entry.meta, entry.raw.split(b"\n")
        lines.pop()
        form, where, start = FORMATS[meta["format"]], meta["where"], meta["tail"]["start"]
        sizes = list(map(len, lines))
        offsets = list(accumulate(map(_BEHIND, sizes), initial=0))
        keys: list[int | None] = [None] * len(lines)
        if form.identities and _is_utf8(entry.raw):
            keys = [None if name is None else key_of(name) for name in form.identities(lines)]
            known, last = zip(keys, offsets, sizes, strict=False), self.last
            self.records += [(key, last, offset, size, 0) for key, offset, size in known if key is not None]
            if None not in keys:
                return
        for key, line, offset in zip(keys, lines, offsets, strict=False):
            if key is None and line and not line.isspace():
                for position, item in enumerate(_items(form.parse, line, f"{where}@{start + offset}")):
                    yield offset, len(line), position, item

    def _add_compacted(self, kept: dict[str, Any], meta: dict[str, Any], place: Place) -> None:
        """What `Index.kept_of` remembered of a segment whose bytes are gone."""
        self.last = kept["entry"]
        self.entries.append(entry_row(self.last, meta, place, None, kept["received"]))
        self.received += kept["received"]
        for seq, identity, reason in kept["records"]:
            fate = PENDING if reason is None else REFUSED  # the manifests of the datasets tell of the others
            self.compacted.append((seq, identity, self.last, reason, fate))
        self.tails |= kept["tails"]
        self.pointers += [(path,) for path in kept["pointers"]]


def entry_row(number: int, meta: dict[str, Any], place: Place, start: int | None, received: int) -> tuple[Any, ...]:
    """A row of the table `entries`."""
    return number, meta["format"], meta["at"], place.segment, place.offset, meta["where"], start, received


def _whole(entry: Entry) -> Iterable[_Placed]:
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


def _short(reason: str) -> str:
    """A reason is a key in counts: the class of the trouble, not the bytes that caused it."""
    return re.split("[:;]", reason, maxsplit=1)[0][:80]
