"""What is still to be read of a file that another one has taken the name of?

Who rotates a log renames it and begins a new one. What was written between our last look and that moment is in the old
file, and who has it open goes on writing there for a while. So what was read last stays open, however it was moved or
deleted; one that was moved while we did not run is looked for beside its old name. It is read to its end before the new
one is begun, and then followed until it has been quiet for QUIET_S. (RELIABILITY.md 4, "JSONL tail rules".)
"""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from reactord.ipc import tail
from reactord.ipc.batch import printable
from reactord.ipc.tail import Chunk, Position

log = logging.getLogger("reactord.ingest")

QUIET_S = 30.0
#: so many of either are open at most: those that grew, or were moved, last
MOST_OPEN = 32


@dataclass(frozen=True, slots=True)
class Moved:
    """A file that had the name `path`, read up to `position` when that was taken from it."""

    path: str
    form: str
    descriptor: int
    position: Position

    @property
    def key(self) -> str:
        """What its position is stored under from then on."""
        return _key(self.path, self.position)


class Follower:
    """The files that were read last, and those of them that were moved."""

    def __init__(self) -> None:
        self.forms: dict[str, str] = {}  # of what is open, by the path at which it was read
        self._open: dict[str, int] = {}
        self._moved: dict[str, Moved] = {}  # by their keys
        self._mine: set[int] = set()  # all that is open

    def close(self) -> None:
        """Follow none of them any more."""
        self.forms.clear()
        self._open.clear()
        self._moved.clear()
        while self._mine:
            os.close(self._mine.pop())

    def read(self, path: str, form: str, position: Position | None) -> Chunk | None:
        """What is new in the file at `path`. Raises OSError."""
        descriptor = tail.opened(Path(path))
        if descriptor is None:
            return None
        self._mine.add(descriptor)
        chunk = None
        try:
            chunk = tail.read_on(descriptor, position)
        finally:
            if chunk is None:
                self._close(descriptor)
        if chunk is not None:
            self._keep(path, form, descriptor)
        return chunk

    def rest(self, path: str, form: str, position: Position) -> Chunk | None:
        """What is new in the file that was read at `path`, and is not there any more. Raises OSError.

        None: nothing, or it is not to be found. What comes later is in `moved`.
        """
        if _key(path, position) in self._moved:
            return None
        descriptor = self._find(path, form, position)
        if descriptor is None:
            return None
        chunk = tail.read_on(descriptor, position)
        if chunk is None:
            del self._open[path], self.forms[path]
            found = Moved(path, form, descriptor, position)
            self._moved[found.key] = found
            if len(self._moved) > MOST_OPEN:
                self._forget(next(iter(self._moved.values())))
        return chunk

    @property
    def moved(self) -> list[Moved]:
        """Those that were read to their end, and may grow a little longer."""
        return list(self._moved.values())

    def let_go(self, moved: Moved, offset: int, now: float) -> None:
        """Nothing is new in it behind the offset: close it if that has been so for long enough."""
        status = os.fstat(moved.descriptor)
        if now - status.st_ctime >= QUIET_S:  # since the last write, or the move itself
            if status.st_size > offset:
                log.warning(
                    "%s was moved away, and its last line has no newline: that is not read", printable(moved.path)
                )
            self._forget(moved)

    def _forget(self, moved: Moved) -> None:
        self._close(self._moved.pop(moved.key).descriptor)

    def _find(self, path: str, form: str, position: Position) -> int | None:
        held = self._open.get(path)
        if held is not None and tail.file_of(held) == position.file:
            return held
        if (found := _beside(Path(path), position)) is not None:
            self._mine.add(found)
            self._keep(path, form, found)
        return found

    def _keep(self, path: str, form: str, descriptor: int) -> None:
        self._drop(path)
        self._open[path], self.forms[path] = descriptor, form
        if len(self._open) > MOST_OPEN:
            self._drop(next(iter(self._open)))

    def _drop(self, path: str) -> None:
        if path in self._open:
            del self.forms[path]
            self._close(self._open.pop(path))

    def _close(self, descriptor: int) -> None:
        self._mine.discard(descriptor)
        os.close(descriptor)


def _key(path: str, position: Position) -> str:
    return f"{path}@{position.device}-{position.inode}"


def _beside(path: Path, position: Position) -> int | None:
    """A descriptor of what `position` is in, if it lies in the same directory under another name."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(path.parent) as entries:
        for entry in entries:
            if entry.inode() != position.inode or not entry.is_file(follow_symlinks=False):
                continue
            descriptor = tail.opened(Path(entry.path))
            if descriptor is not None:
                if tail.continues(descriptor, position):
                    return descriptor
                os.close(descriptor)
    return None
