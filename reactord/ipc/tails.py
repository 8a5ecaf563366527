"""Which files that somebody else appends to have grown?

Those in the doors of kind `tail`, and those that an event has named (`Pointer`), if they lie on the bus. How far each
was read is in the index, beside what was read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from reactord.formats.records import content_identity
from reactord.ipc import dropfile, tail
from reactord.ipc.batch import Batch, printable
from reactord.ipc.doors import Reader, listed
from reactord.ledger.journal import Entry

#: an event names a file and does not say what is in it: each line is taken for an experience
NAMED_FORMAT = "experience_lines"


@dataclass
class Tails(Reader):
    """The doors of kind `tail`."""

    named: list[str] = field(default_factory=list)  # the files that events have named
    _quiet: dict[str, dropfile.Instance] = field(default_factory=dict)  # as they were when they held nothing new

    def look(self, batch: Batch) -> bool:
        """Add what is new to the batch. True when there may be more."""
        more = False
        for path, form in self._changed():
            if batch.full:
                return True
            with self.one_file:
                more |= self._read(path, form, batch)
        return more

    def _changed(self) -> list[tuple[str, str]]:
        """A year has 365 files, and one of them grows: each is asked for its size, few are opened."""
        found = dict.fromkeys(self.named, NAMED_FORMAT)
        found |= {path: door.format.name for door, path, _ in listed(self.doors, "tail", self.one_file)}
        return [(path, form) for path, form in found.items() if self._has_changed(path)]

    def _has_changed(self, path: str) -> bool:
        with self.one_file:
            return self._quiet.get(path) != dropfile.Instance.seen_at(path)
        return False  # it may not even be asked for

    def _read(self, path: str, form: str, batch: Batch) -> bool:
        state = dropfile.Instance.seen_at(path)
        stored = self.stored(path)
        chunk = tail.read_new(Path(path), tail.Position.decode(stored) if stored else None)
        if chunk is None:
            if state is not None:
                self._quiet[path] = state
            return False
        name = printable(os.path.basename(path))  # noqa: PTH119 - names, not paths
        place = {"path": printable(path), "start": chunk.start, "position": chunk.position.encode()}
        meta = {"format": form, "name": name, "at": self.clock(), "where": name, "tail": place}
        if chunk.overlong:
            meta["refused"] = f"a line longer than {tail.MAX_LINE_BYTES} bytes"
            meta["identity"] = content_identity("refused", f"{name}@{chunk.start}", chunk.raw)
        batch.add(Entry(meta, chunk.raw))
        return True
