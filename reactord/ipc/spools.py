"""Which whole files of somebody else are new, or not what they were?

They are read once in each of their states (device, inode, size, time of change) and never touched. Which state was read
is remembered in the index beside what it said, so a restart reads none twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import astuple

import orjson

from reactord.ipc import dropfile
from reactord.ipc.batch import Batch, OneFile, document, printable
from reactord.ipc.doors import Entrance, listed
from reactord.ipc.drops import SETTLE_S


class Spools:
    """The doors of kind `spool`. `stored` says which state of a path was read last."""

    def __init__(
        self,
        entrances: Iterable[Entrance],
        stored: Callable[[str], str | None],
        clock: Callable[[], float],
        one_file: OneFile,
    ) -> None:
        self.doors = tuple(entrances)
        self.stored, self.clock, self.one_file = stored, clock, one_file
        self._seen: dict[str, dropfile.Instance] = {}

    def look(self, batch: Batch) -> bool:
        """Add what is new to the batch. True when there may be more."""
        present: set[str] = set()
        for door, path, name in listed(self.doors, "spool"):
            present.add(path)
            if batch.full:
                return True
            with self.one_file():
                self._read(door, path, name, batch)
        self._seen = {path: state for path, state in self._seen.items() if path in present}
        return False

    def _read(self, door: Entrance, path: str, name: str, batch: Batch) -> None:
        try:
            state = dropfile.Instance.at(path)
        except FileNotFoundError:
            return
        if self._seen.get(path) == state:
            return
        position = orjson.dumps(astuple(state)).decode()
        if self.stored(path) == position:
            self._seen[path] = state
            return
        found = dropfile.look(path, door.format.name, self.clock(), SETTLE_S, printable(name))
        if found is None or found.instance != state:
            return
        if found.items == [] and not found.refused:
            self._seen[path] = state
            return
        # not remembered here before the ledger has it: a full disk may still refuse the batch
        entry = document(
            door.format.name,
            name,
            found.raw,
            at=self.clock(),
            items=found.items,
            refused=found.refused,
            spool={"path": path, "position": position},
        )
        batch.add(entry)
