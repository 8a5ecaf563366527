"""What may others read of the ledger? Read-only views for the worker and the CLI; the daemon need not run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from reactord.formats import FORMATS, Record
from reactord.home import Home
from reactord.ledger.journal import Place, read_at
from reactord.ledger.sqlite import open_readonly


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as the ledger keeps it."""

    seq: int  # order of arrival
    identity: str  # 32 hexadecimal characters
    format: str
    arrived_at: float  # epoch seconds
    body: dict[str, Any]


def pending(home: Home, upto: int) -> Iterator[StoredRecord]:
    """Every record that no dataset has decided on yet, in order of arrival, up to and including `upto`."""
    with closing(open_readonly(home.index_db)) as db:
        rows = db.execute(
            "SELECT seq, identity, format, arrived_at, segment, offset, length, item, whence FROM records"
            " WHERE fate = 0 AND seq <= ? ORDER BY seq",
            (upto,),
        )
        document: tuple[Place, list[Any]] | None = None  # the last drop file, parsed once for all its items
        for seq, identity, name, arrived_at, segment, offset, length, item, whence in rows:
            place = Place(segment, offset)
            if document is None or document[0] != place:
                document = (place, FORMATS[name](read_at(home.journal, place, length), whence))
            record = document[1][max(item, 0)]
            assert isinstance(record, Record)  # refusals are never pending
            yield StoredRecord(seq, identity.hex(), name, arrived_at, record.body)
