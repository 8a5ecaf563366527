"""When may the bytes of a journal segment go, and what stays of them?

A segment is compacted when nobody will read it again: it is full, and none of its records is pending. Its bytes are
replaced by one entry that says who was received, what was refused at the door, and how far the tails were read: enough
to rebuild the same index, to know every duplicate, and to keep the conservation law. Oldest first, and only where there
is a reason: the journal is larger than it should be, or the segment is old.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import orjson

from reactord import durable
from reactord.ledger.index import Index
from reactord.ledger.journal import MAX_RAW_BYTES, Entry, Place, batches, framed, segment_path, segments
from reactord.ledger.staged import COMPACTED

log = logging.getLogger("reactord.ingest")

#: the journal may take so much before the bytes of decided records go
KEEP_BYTES = 4 * 1024**3
#: and what was decided on is kept so long at most
KEEP_S = 30 * 24 * 3600.0


def next_segment(directory: Path, index: Index, now: float) -> int | None:
    """The oldest segment that should be compacted now, or None."""
    numbers = segments(directory)
    large = sum(segment_path(directory, number).stat().st_size for number in numbers) > KEEP_BYTES
    for number in numbers:
        if index.may_compact(number) and (large or now - index.newest_in(number) > KEEP_S):
            return number
    return None


def compact(directory: Path, index: Index, number: int) -> None:
    """Replace a segment by what must be known of it. A crash leaves the old bytes or the new ones, and both are right.

    Raises OSError when the disk refuses; then nothing changed.
    """
    kept = index.kept_of(number) | {"tails": _tails(directory, number)}
    raw = orjson.dumps(kept)
    if len(raw) > MAX_RAW_BYTES:
        return  # records of a few bytes each: there is nothing to be won
    at, path = index.newest_in(number), segment_path(directory, number)
    meta = {"format": COMPACTED, "name": path.name, "at": at, "where": path.name}
    batch, (offset,) = framed([Entry(meta, raw)])
    before = path.stat().st_size
    durable.publish(path, batch)
    index.forget_places(number, kept, meta, Place(number, offset))
    log.info("segment %d is compacted from %d to %d bytes; all of its records were decided", number, before, len(batch))


def _tails(directory: Path, number: int) -> dict[str, Any]:
    """How far each file was read by the end of a segment."""
    found: dict[str, Any] = {}
    for batch, end in batches(directory, Place(number, 0)):
        if end.segment != number:
            break
        for _, entry in batch:
            for file in (entry.meta.get("tail"), entry.meta.get("spool")):
                if file:
                    found[file["path"]] = file["position"]
    return found
