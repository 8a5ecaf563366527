r"""What is new in a file that somebody else appends to?

A position is (device, inode, fingerprint of the head, offset, hash of the last bytes before the offset). The file is
continued when it is the same inode, at least as long, and both hashes still fit; otherwise (truncated, rewritten,
another file under the name) it is read from its start, and the identity of each record absorbs what is read twice: its
own id, or else the file's name with its offset and its bytes. Only whole lines are taken: a last line without its
newline stays where it is. (RELIABILITY.md 4, "JSONL tail rules".)
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

HEAD_BYTES = 1024
BACK_BYTES = 256
CHUNK_BYTES = 2 * 1024 * 1024
MAX_LINE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Position:
    """How far a file was read."""

    device: int
    inode: int
    head: str  # hash of the first HEAD_BYTES of the file, or of all it had when it was first seen
    head_size: int
    offset: int
    back: str  # hash of the bytes just before the offset

    def encode(self) -> str:
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def decode(cls, text: str) -> Position:
        return cls(**orjson.loads(text))

    @property
    def file(self) -> tuple[int, int]:
        """(device, inode) of the file that it is in."""
        return self.device, self.inode


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole lines from `start`, and where to go on. `overlong` is set when `raw` is one line that was cut."""

    raw: bytes
    start: int
    position: Position
    overlong: bool = False


def opened(path: Path) -> int | None:
    """A descriptor of a regular file; None for what is gone. Raises OSError for what cannot be read, or is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def read_on(descriptor: int, position: Position | None) -> Chunk | None:
    """The next whole lines after `position`, at most CHUNK_BYTES (more only for one long line); None if none are there.

    Raises OSError when they cannot be read.
    """
    status = os.fstat(descriptor)
    if position is None or not continues(descriptor, position):
        position = _start(descriptor, status)
    return _next_chunk(descriptor, status.st_size, position)


def file_of(descriptor: int) -> tuple[int, int]:
    """(device, inode) of an open file."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def continues(descriptor: int, position: Position) -> bool:
    """Whether this is the file that `position` is in, and what was read of it is still there."""
    if file_of(descriptor) != position.file or os.fstat(descriptor).st_size < position.offset:
        return False
    back_size = min(BACK_BYTES, position.offset)
    back = os.pread(descriptor, back_size, position.offset - back_size)
    return _hash(back) == position.back and _hash(os.pread(descriptor, position.head_size, 0)) == position.head


def _start(descriptor: int, status: os.stat_result) -> Position:
    head = os.pread(descriptor, HEAD_BYTES, 0)
    return Position(status.st_dev, status.st_ino, _hash(head), len(head), 0, _hash(b""))


def _next_chunk(descriptor: int, size: int, position: Position) -> Chunk | None:
    start = position.offset
    if size <= start:
        return None
    raw = os.pread(descriptor, CHUNK_BYTES, start)
    end = raw.rfind(b"\n") + 1
    if end == 0 and len(raw) == CHUNK_BYTES:  # one line is longer than a chunk
        raw = os.pread(descriptor, MAX_LINE_BYTES, start)
        end = raw.find(b"\n") + 1
        if end == 0 and len(raw) == MAX_LINE_BYTES:
            skipped = _skip_line(descriptor, start)
            if skipped is None:
                return None  # it is still being written
            return Chunk(raw[:HEAD_BYTES], start, _moved(descriptor, position, skipped), overlong=True)
    if end == 0:
        return None
    return Chunk(raw[:end], start, _moved(descriptor, position, start + end))


def _skip_line(descriptor: int, start: int) -> int | None:
    """The offset behind the newline that ends the line at `start`."""
    offset = start
    while block := os.pread(descriptor, CHUNK_BYTES, offset):
        if (newline := block.find(b"\n")) >= 0:
            return offset + newline + 1
        offset += len(block)
    return None


def _moved(descriptor: int, position: Position, offset: int) -> Position:
    back_size = min(BACK_BYTES, offset)
    back = os.pread(descriptor, back_size, offset - back_size)
    return Position(
        position.device, position.inode, position.head, position.head_size, offset, _hash(back)
    )  # fmt: skip


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()
