"""What does a journal batch say, as rows of the index?

Rows are gathered here until the index takes them, some thousands at once: in a large index every transaction touches
as many pages as it has rows, and larger ones touch each page once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import xxhash

from reactord.errors import BadRecord
from reactord.formats import FORMATS, Format, Mended, Notice, Pointer, Refusal, Said
from reactord.formats.records import content_identity
from reactord.ledger.counts import PENDING, REFUSED
from reactord.ledger.journal import Entry, Place
from reactord.ledger.news import News

#: as many at once
ROWS = 20_000
#: the position of what was refused as a whole
WHOLE = -1
#: the format of an entry that stands for all of a segment (ledger/compaction.py)
COMPACTED = "compacted"


def key_of(identity: str) -> int:
    """The 63 bits (xxh3) under which an identity of any length is kept: SQLite is quickest with integers.

    Two of a million records share a key with a chance of one in twenty million; the later one is a duplicate then.
    """
    return xxhash.xxh3_64_intdigest(identity.encode("utf-8", "surrogateescape")) & _KEY_BITS


_KEY_BITS = (1 << 63) - 1


def hexed(key: int) -> str:
    """A key as the manifests of the datasets write it, 16 characters; int(text, 16) is the key again."""
    return f"{key:016x}"


#: (the entry, offset and length of the refused part, the reason); called before the commit, so it must be idempotent
OnRefused = Callable[[Entry, int, int, str], None]
#: (identity, number of the entry, offset, length, item), as the columns of the table `records`
Row = tuple[int, int, int, int, int]


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
    news: list[News] = field(default_factory=list)  # those of them that nobody was told of yet
    end: Place = field(default_factory=lambda: Place(1, 0))  # how far into the journal the rows reach
    received: int = 0
    _mended: Counter[str] = field(default_factory=Counter)  # in the entry that is being read

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
        self._mended = Counter()
        if "\\u" in meta["name"]:  # as `batch.printable` writes what a name must not hold
            self._mended["file name"] += 1
        self.last += 1
        if "refused" in meta:
            self._add_said(entry, [Refusal(meta["identity"], meta["refused"])], 0, len(entry.raw), WHOLE)
        elif tail:
            self._add_lines(entry, tail["start"])
        else:
            said = _said(FORMATS[meta["format"]], entry.raw, meta["where"]) if entry.said is None else entry.said
            self._add_said(entry, said, 0, len(entry.raw))
        received = len(self.records) - before
        self.received += received
        self.entries.append(entry_row(self.last, meta, place, tail and tail["start"], received, self._mended))
        for file in (tail, spool):
            if file:
                self.tails[file["path"]] = file["position"]
        if claim := meta.get("claim"):
            self.claims[claim] = meta.get("refused")

    def _add_lines(self, entry: Entry, start: int) -> None:
        """What the lines of a tailed file say."""
        form, where, last = FORMATS[entry.meta["format"]], entry.meta["where"], self.last
        if form.quick and (known := form.quick.of_lines(entry.raw)):
            ends, named = known
            self.records += [
                (key_of(name), last, offset, end - offset - 1, position)
                for offset, end, names in zip([0, *ends], ends, named, strict=False)
                for position, name in enumerate(names)
            ]
            return
        offset = 0
        for line in entry.raw.split(b"\n"):
            if line and not line.isspace():
                self._add_said(entry, _said(form, line, f"{where}@{start + offset}"), offset, len(line))
            offset += len(line) + 1

    def _add_said(self, entry: Entry, said: Sequence[Said], offset: int, length: int, first: int = 0) -> None:
        """What some bytes of an entry say."""
        last, records = self.last, self.records
        for position, item in enumerate(said, first):
            if isinstance(item, str):
                records.append((key_of(item), last, offset, length, position))
            elif isinstance(item, Refusal):
                self.on_refused(entry, offset, length, item.reason)
                row = (key_of(item.identity), last, offset, length, position)
                records.append(row)
                self.refused.append((_short(item.reason), row))
            elif isinstance(item, Pointer):
                self.pointers.append((item.path,))
            elif isinstance(item, Mended):
                self._mended[item.what] += 1
            else:
                self.notices.append(item)

    def _add_compacted(self, kept: dict[str, Any], meta: dict[str, Any], place: Place) -> None:
        """What `Index.kept_of` remembered of a segment whose bytes are gone."""
        self.last = max(self.last + 1, kept["entry"])  # what comes before it may hold more than it did then
        self.entries.append(entry_row(self.last, meta, place, None, kept["received"], kept.get("mended", {})))
        self.received += kept["received"]
        for seq, identity, reason in kept["records"]:
            fate = PENDING if reason is None else REFUSED  # the manifests of the datasets tell of the others
            self.compacted.append((seq, identity, self.last, reason, fate))
        self.tails |= kept["tails"]
        self.pointers += [(path,) for path in kept["pointers"]]


def entry_row(  # noqa: PLR0913, PLR0917 - a column each
    number: int, meta: dict[str, Any], place: Place, start: int | None, received: int, mended: Mapping[str, int]
) -> tuple[Any, ...]:
    """A row of the table `entries`."""
    row = (number, meta["format"], meta["at"], place.segment, place.offset, meta["where"], start, received)
    return *row, orjson.dumps(mended).decode() if mended else None


def _said(form: Format, raw: bytes, where: str) -> Sequence[Said]:
    """What some bytes say.

    The journal is older than the parsers, and must always be readable to its end: what this version no longer reads is
    a refusal.
    """
    try:
        return form.said(raw, where)
    except BadRecord as bad:
        return [Refusal(content_identity("refused", where, raw), str(bad))]


def _short(reason: str) -> str:
    """A reason is a key in counts: the class of the trouble, not the bytes that caused it."""
    return re.split("[:;]", reason, maxsplit=1)[0][:80]
