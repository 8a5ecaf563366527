"""Which whole files of somebody else are new, or not what they were?

They are read once in each of their states (device, inode, size, time of change) and never touched. Which state was read
is remembered in the index beside what it said, so a restart reads none twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from reactord.ipc import dropfile
from reactord.ipc.batch import Batch, document, printable
from reactord.ipc.doors import Entrance, Reader, listed


@dataclass
class Spools(Reader):
    """The doors of kind `spool`."""

    _seen: dict[str, dropfile.Instance] = field(default_factory=dict)

    def look(self, batch: Batch) -> bool:
        """Add what is new to the batch. True when there may be more."""
        present: set[str] = set()
        for door, path, name in listed(self.doors, "spool", self.one_file):
            present.add(path)
            if batch.full:
                return True
            with self.one_file:
                self._read(door, path, name, batch)
        self._seen = {path: state for path, state in self._seen.items() if path in present}
        return False

    def _read(self, door: Entrance, path: str, name: str, batch: Batch) -> None:
        state = dropfile.Instance.seen_at(path)
        if state is None or self._seen.get(path) == state:
            return
        position = orjson.dumps(tuple(state)).decode()
        if self.stored(path) == position:
            self._seen[path] = state
            return
        found = dropfile.look(path, door.format.name, printable(name), self.clock())
        if found is None or found.instance != state:
            return
        if found.said == [] and not found.refused:
            self._seen[path] = state
            return
        # not remembered here before the ledger has it: a full disk may still refuse the batch
        entry = document(
            door.format.name,
            printable(name),
            found.raw,
            found.said,
            at=self.clock(),
            refused=found.refused,
            spool={"path": printable(path), "position": position},
        )
        batch.add(entry)
