"""When may the bytes of a journal segment go, and what stays of them?

A segment is compacted when nobody will read it again: it is full, and none of its records is pending. Its bytes are
replaced by one entry that says who was received, what was refused at the door, and how far the tails were read: enough
to rebuild the same index, to know every duplicate, and to keep the conservation law. Oldest first, and only where there
is a reason: the journal is larger than it should be, or the segment is old.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
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
#: how often such a segment is looked for; also after one that could not be compacted
LOOK_EVERY_S = 600.0


class Compactor:
    """Compacts now and then; what cannot be compacted is passed over until the next start."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.next_at = directory, 0.0
        self._passed_over: set[int] = set()

    def turn(self, index: Index, now: float) -> None:
        """Compact one segment if it is time, and the next in the next turn, so that nothing waits for it long.

        Raises OSError or sqlite3.Error, as `compact` does.
        """
        if time.monotonic() < self.next_at:
            return
        self.next_at = time.monotonic() + LOOK_EVERY_S  # also when the disk refuses
        for left in self.directory.glob(f".*{durable.TEMPORARY}"):
            durable.remove(left)  # by a life of ours that ended in the middle of this
        number = next_segment(self.directory, index, now, self._passed_over)
        if number is None:
            return
        if compact(self.directory, index, number):
            self.next_at = 0.0
        else:
            self._passed_over.add(number)


def next_segment(directory: Path, index: Index, now: float, passed_over: Collection[int] = ()) -> int | None:
    """The oldest segment that should be compacted now, without those that `compact` could not, or None."""
    numbers = segments(directory)
    large = sum(segment_path(directory, number).stat().st_size for number in numbers) > KEEP_BYTES
    for number in numbers:
        newest = index.newest_in(number)
        if newest is None or number in passed_over or not (large or now - newest > KEEP_S):
            continue
        if index.may_compact(number):  # the costly question, so the last one
            return number
    return None


def compact(directory: Path, index: Index, number: int) -> bool:
    """Replace a segment by what must be known of it. A crash leaves the old bytes or the new ones, and both are right.

    False: what must be known of it is too much for one entry, and it stays as it is. Raises OSError or sqlite3.Error
    when the disk refuses: the index has not heard of it then, and the segment is to be compacted once more.
    """
    at, path = index.newest_in(number), segment_path(directory, number)
    kept = index.kept_of(number) | {"tails": _tails(directory, number)}
    raw = orjson.dumps(kept)
    if len(raw) > MAX_RAW_BYTES:
        log.warning("segment %d stays as it is, and nothing need be done: what must be known of its many small records"
                    " takes %d bytes", number, len(raw))  # fmt: skip
        return False
    meta = {"format": COMPACTED, "name": path.name, "at": at, "where": path.name}
    batch, (offset,) = framed([Entry(meta, raw)])
    before = path.stat().st_size
    index.settle()  # it must never go back to a place in the bytes that are replaced now
    durable.publish(path, batch)
    index.forget_places(number, kept, meta, Place(number, offset))
    log.info("segment %d is compacted from %d to %d bytes; all of its records were decided", number, before, len(batch))
    return True


def _tails(directory: Path, number: int) -> dict[str, Any]:
    """How far each file was read by the end of a segment."""
    found: dict[str, Any] = {}
    for batch, end in batches(directory, Place(number, 0)):
        if end.segment != number:
            break
        for _, entry in batch:
            if entry.meta["format"] == COMPACTED:  # who did it died before the index had heard of it
                found |= orjson.loads(entry.raw)["tails"]
            for file in (entry.meta.get("tail"), entry.meta.get("spool")):
                if file:
                    found[file["path"]] = file["position"]
    return found
