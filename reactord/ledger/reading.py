"""What may others read of the ledger? Read-only views for the worker and the CLI; the daemon need not run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from reactord.formats import FORMATS, Item, Record
from reactord.home import Home
from reactord.ledger.journal import Place, read_at
from reactord.ledger.sqlite import open_readonly
from reactord.ledger.staged import hexed


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as the ledger keeps it."""

    seq: int  # order of arrival
    identity: str  # 16 hexadecimal characters
    format: str
    arrived_at: float  # epoch seconds
    body: dict[str, Any]


def pending(home: Home, upto: int, *, after: int = 0, most: int = -1) -> Iterator[StoredRecord]:
    """Records that no dataset has decided on yet, in order of arrival, up to and including `upto`.

    Of those newer than `after` the first `most`; all of them, unless said otherwise.
    """
    with closing(open_readonly(home.index_db)) as db:
        rows = db.execute(
            "SELECT seq, identity, format, arrived_at, segment, e.offset, r.offset, length, item, whence, start"
            " FROM records r JOIN entries e ON e.id = r.entry WHERE fate = 0 AND seq <= ? AND seq > ?"
            " ORDER BY seq LIMIT ?",
            (upto, after, most),
        )
        held: tuple[Place, list[Item]] | None = None  # the last bytes that were read, for all the items in them
        for seq, identity, name, arrived_at, segment, begin, offset, length, item, whence, start in rows:
            place = Place(segment, begin + offset)
            if held is None or held[0] != place:
                where = whence if start is None else f"{whence}@{start + offset}"
                held = (place, FORMATS[name].parse(read_at(home.journal, place, length), where))
            record = held[1][item]
            assert isinstance(record, Record)  # refusals are never pending
            yield StoredRecord(seq, hexed(identity), name, arrived_at, record.body)
