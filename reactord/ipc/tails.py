"""Which files that somebody else appends to have grown?

Those in the doors of kind `tail`, and those that an event has named (`Pointer`), if they lie on the bus. How far each
was read is in the index, beside what was read.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from reactord import access
from reactord.formats.records import content_identity
from reactord.home import Home
from reactord.ipc import dropfile, tail
from reactord.ipc.batch import Batch, printable
from reactord.ipc.doors import Reader, listed
from reactord.ipc.moved import Follower, Moved
from reactord.ledger.journal import Entry

log = logging.getLogger("reactord.ingest")

#: an event names a file and does not say what is in it: each line is taken for an experience
NAMED_FORMAT = "experience_lines"
#: a line that is still without its newline then will hardly get one
UNENDED_S = 60.0


@dataclass
class Tails(Reader):
    """The doors of kind `tail`."""

    named: list[str] = field(default_factory=list)  # the files that events have named
    _quiet: dict[str, dropfile.Instance] = field(default_factory=dict)  # as they were when they held nothing new

    _unended: dict[str, dropfile.Instance] = field(default_factory=dict)  # as they were when only half a line was new
    _files: Follower = field(default_factory=Follower)

    def close(self) -> None:
        """Let go of every file; one that is looked at again is opened again."""
        self._files.close()

    def look(self, batch: Batch) -> bool:
        """Add what is new to the batch. True when there may be more."""
        more = False
        for moved in self._files.moved:
            with self.one_file:
                more |= not batch.full and self._read_moved(moved, batch)
        for path, form in self._changed():
            if batch.full:
                return True
            with self.one_file:
                more |= self._read(path, form, batch)
        self._flag_unended()
        return more

    def _changed(self) -> list[tuple[str, str]]:
        """A year has 365 files, and one of them grows: each is asked for its size, few are opened."""
        found = {path: NAMED_FORMAT for path in self.named if self._is_closed(path)}
        found |= {path: door.format.name for door, path, _ in listed(self.doors, "tail", self.one_file)}
        gone = {path: form for path, form in self._files.forms.items() if path not in found and self._is_gone(path)}
        return [(path, form) for path, form in (gone | found).items() if self._has_changed(path)]

    def _is_closed(self, path: str) -> bool:
        with self.one_file:
            access.refuse_open(Path(path).parent)
            return True
        return False

    def _is_gone(self, path: str) -> bool:
        """Not when its directory is one that waits until it is closed."""
        with self.one_file:
            return dropfile.Instance.seen_at(path) is None
        return False

    def _has_changed(self, path: str) -> bool:
        with self.one_file:
            return self._quiet.get(path) != dropfile.Instance.seen_at(path)
        return False  # it may not even be asked for

    def _read(self, path: str, form: str, batch: Batch) -> bool:
        state, position = dropfile.Instance.seen_at(path), self._position(path)
        chunk = None
        if position is not None and (state is None or (state.device, state.inode) != position.file):
            chunk = self._files.rest(path, form, position)
        if chunk is None:
            chunk = self._files.read(path, form, position)
        if chunk is not None:
            self._add(path, path, form, chunk, batch)
        elif state is not None:
            self._quiet[path] = state
            if state.size > _read_of(state, position):
                self._unended[path] = state
        else:
            self._quiet.pop(path, None)
        return chunk is not None

    def _read_moved(self, moved: Moved, batch: Batch) -> bool:
        position = self._position(moved.key) or moved.position
        chunk = tail.read_on(moved.descriptor, position)
        if chunk is None:
            self._files.let_go(moved, position.offset, self.clock())
            return False
        self._add(moved.key, moved.path, moved.form, chunk, batch)
        return True

    def _flag_unended(self) -> None:
        """Say it once of a last line that nobody ends; it stays where it is."""
        for path, state in list(self._unended.items()):
            if self._quiet.get(path) != state:
                del self._unended[path]
            elif self.clock() - state.mtime_ns / 1e9 >= UNENDED_S:
                del self._unended[path]
                log.warning("%s ends with a line without a newline since %.0f s: it is read when its writer ends it",
                            printable(path), UNENDED_S)  # fmt: skip

    def _position(self, key: str) -> tail.Position | None:
        stored = self.stored(key)
        return tail.Position.decode(stored) if stored else None

    def _add(self, key: str, path: str, form: str, chunk: tail.Chunk, batch: Batch) -> None:
        name = printable(os.path.basename(path))  # noqa: PTH119 - names, not paths
        place = {"path": printable(key), "start": chunk.start, "position": chunk.position.encode()}
        meta = {"format": form, "name": name, "at": self.clock(), "where": name, "tail": place}
        if chunk.overlong:
            meta["refused"] = f"a line longer than {tail.MAX_LINE_BYTES} bytes"
            meta["identity"] = content_identity("refused", f"{name}@{chunk.start}", chunk.raw)
        batch.add(Entry(meta, chunk.raw))


def _read_of(state: dropfile.Instance, position: tail.Position | None) -> int:
    """How much of a file in this state was read."""
    return position.offset if position is not None and (state.device, state.inode) == position.file else 0


def on_the_bus(home: Home, named: list[str]) -> list[str]:
    """Of the files that events have named those that lie on this bus, and not in what is ours alone."""
    root, ours = os.path.realpath(home.root) + os.sep, os.path.realpath(home.ledger) + os.sep
    real = {os.path.realpath(path) for path in named if os.path.isabs(path) and path.endswith(".jsonl")}  # noqa: PTH117
    return sorted(path for path in real if path.startswith(root) and not path.startswith(ours))
