r"""Which bytes arrived, in which order?

Segments `000001.log`, ... of batches. A batch is entries, then one commit line; it counts only when its commit line is
there and its checksum fits, so a torn tail is no batch at all.

    E <length> <meta as JSON>\n<length raw bytes>\n      one arrival: a drop file, or a chunk of complete lines
    C <entries> <bytes> <xxh3>\n                         over every byte of the batch before it

The raw bytes are kept unaltered (length-framed, so they may hold anything). One fdatasync per batch.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import xxhash

from reactord import durable
from reactord.formats import Said

log = logging.getLogger("reactord.ingest")

SEGMENT_BYTES = 64 * 1024 * 1024
#: no single header or commit line is longer; what is longer is not ours
MAX_LINE_BYTES = 16 * 1024
MAX_RAW_BYTES = 64 * 1024 * 1024
_COMMIT = re.compile(rb"C (\d{1,9}) (\d{1,12}) ([0-9a-f]{16})\n")
_ENTRY = re.compile(rb"E (\d{1,10}) (.+)\n")


@dataclass(slots=True)
class Entry:
    """One arrival. `meta` says what it is (format, name, when, claimed as, tail position); `raw` are its bytes."""

    meta: dict[str, Any]
    raw: bytes
    said: Sequence[Said] | None = field(default=None, compare=False)  # what `raw` says, if it was read


class Place(NamedTuple):
    """Where bytes lie in the journal."""

    segment: int
    offset: int


class Journal:
    """The one writer of the segments."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._descriptor: int | None = None
        self._segment = 0
        self._size = 0

    def open(self, end: Place) -> None:
        """Continue after `end`, the last commit that `batches` found.

        A segment that does not end there (a torn batch, or bytes are missing) is left as it is, for good: nothing that
        may still be read is ever cut off, and the reader stops at a torn batch by itself.
        """
        while (size := _size_of(segment_path(self.directory, end.segment))) != end.offset:
            log.warning("segment %d has %d bytes, %d were read; going on in the next", end.segment, size, end.offset)
            end = Place(end.segment + 1, 0)
        path = segment_path(self.directory, end.segment)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            durable.sync_directory(self.directory)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor, self._segment, self._size = descriptor, end.segment, end.offset

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def append(self, entries: Sequence[Entry]) -> tuple[list[Place], Place]:
        """Make a batch of at least one entry durable; return where the raw bytes of each lie, and its end.

        Raises OSError when the disk refuses; then nothing was added, and the next batch goes to a new segment, because
        the pages of this one may have been dropped. Raises ValueError for what the reader would take for a torn batch.
        """
        if not entries:
            raise ValueError("a batch of nothing")
        if self._descriptor is None or self._size >= SEGMENT_BYTES:
            self._next_segment()
        assert self._descriptor is not None
        start = self._size
        batch, offsets = framed(entries)
        try:
            durable.write_all(self._descriptor, batch)
            durable.disk.fsync(self._descriptor)
        except OSError:
            self._abandon(start)
            raise
        self._size = start + len(batch)
        return [Place(self._segment, start + offset) for offset in offsets], Place(self._segment, self._size)

    def _next_segment(self) -> None:
        self.close()
        self.open(Place(self._segment + 1, 0))

    def _abandon(self, committed: int) -> None:
        """Cut the torn batch off if the disk still lets us, and leave the segment for good."""
        assert self._descriptor is not None
        try:
            os.ftruncate(self._descriptor, committed)
        except OSError:
            pass  # the reader stops at the torn batch by itself
        finally:
            self.close()


def framed(entries: Sequence[Entry]) -> tuple[bytes, list[int]]:
    """A whole batch as it stands in a segment, and where in it the raw bytes of each entry begin.

    Raises ValueError for what the reader would take for a torn batch.
    """
    parts: list[bytes] = []
    offsets: list[int] = []
    size, checksum = 0, xxhash.xxh3_64()
    for entry in entries:
        header = b"E %d %s\n" % (len(entry.raw), orjson.dumps(entry.meta))
        if len(header) > MAX_LINE_BYTES or len(entry.raw) > MAX_RAW_BYTES:
            raise ValueError(f"a journal entry of {len(header)} bytes of header, {len(entry.raw)} of content")
        offsets.append(size + len(header))
        parts += (header, entry.raw, b"\n")
        size += len(header) + len(entry.raw) + 1
    for part in parts:
        checksum.update(part)
    parts.append(b"C %d %d %016x\n" % (len(entries), size, checksum.intdigest()))
    return b"".join(parts), offsets


def segment_path(directory: Path, number: int) -> Path:
    """Where a segment lies."""
    return directory / f"{number:06d}.log"


def _size_of(path: Path) -> int:
    """Bytes in a segment; none in one that is still to be made."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def segments(directory: Path) -> list[int]:
    """Numbers of the segments there are, oldest first."""
    return sorted(int(path.stem) for path in directory.glob("[0-9]*.log") if path.stem.isdigit())


def batches(directory: Path, after: Place) -> Iterator[tuple[list[tuple[Place, Entry]], Place]]:
    """Yield (entries with the place of their raw bytes, end of the batch) for every whole batch after `after`."""
    for number in segments(directory):
        if number < after.segment:
            continue
        with segment_path(directory, number).open("rb") as file:
            file.seek(after.offset if number == after.segment else 0)
            while (batch := _read_batch(file, number)) is not None:
                yield batch


def _read_batch(file: Any, segment: int) -> tuple[list[tuple[Place, Entry]], Place] | None:  # noqa: ANN401 - BufferedReader
    """One batch from the current position, or None at the end or at a torn one."""
    entries: list[tuple[Place, Entry]] = []
    size, checksum = 0, xxhash.xxh3_64()
    while True:
        line = file.readline(MAX_LINE_BYTES)
        if commit := _COMMIT.fullmatch(line):
            said = int(commit[1]), int(commit[2]), int(commit[3], 16)
            whole = said == (len(entries), size, checksum.intdigest())
            return (entries, Place(segment, file.tell())) if whole and entries else None
        header = _ENTRY.fullmatch(line)
        if header is None:
            return None
        place = Place(segment, file.tell())
        length = int(header[1])
        if length > MAX_RAW_BYTES:
            return None
        raw = file.read(length + 1)
        if len(raw) != length + 1:
            return None
        try:
            meta = orjson.loads(header[2])
        except orjson.JSONDecodeError:
            return None
        entries.append((place, Entry(meta, raw[:-1])))
        checksum.update(line)
        checksum.update(raw)
        size += len(line) + len(raw)


def read_at(directory: Path, place: Place, length: int) -> bytes:
    """The raw bytes at a place that the index knows."""
    with segment_path(directory, place.segment).open("rb") as file:
        file.seek(place.offset)
        return file.read(length)
