"""Which whole files that are ours have arrived?

A directory is listed once and worked off in batches. A file is looked at, claimed by a rename (nobody can open it by
its name any more), looked at again, and only then added to the batch.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable

from reactord import durable
from reactord.ipc import dropfile
from reactord.ipc.batch import Batch, claim_name, document
from reactord.ipc.doors import NAMES_PER_LOOK, Entrance, OneFile, listed

#: a drop file that does not parse is refused once it has been quiet for so long
SETTLE_S = 2.0


class Drops:
    """The doors of kind `drop`. `claimed` is where files go that are ours but not yet in the ledger."""

    def __init__(
        self, entrances: Iterable[Entrance], claimed: str, clock: Callable[[], float], one_file: OneFile
    ) -> None:
        self.doors = tuple(entrances)
        self.claimed, self.clock, self.one_file = claimed, clock, one_file
        self.unfinished = False  # a claimed file has to be looked at again, in its new place
        self._left: deque[tuple[str, str, str]] = deque()  # (format, path, name) of the last listing
        self._claims = 0

    def look(self, batch: Batch) -> bool:
        """Add what is complete to the batch. True when there may be more."""
        if not self._left:
            self._left.extend((door.format.name, path, name) for door, path, name in listed(self.doors, "drop"))
        capped = len(self._left) >= NAMES_PER_LOOK
        while self._left:
            if batch.full:
                return True
            with self.one_file():
                self._take(*self._left.popleft(), batch)
        return capped

    def _take(self, form: str, path: str, name: str, batch: Batch) -> None:
        self._claims += 1
        claim = f"{self.claimed}/{claim_name(form, name, self._claims)}"
        found = dropfile.look(path, form, self.clock(), SETTLE_S, _original(claim))
        if found is None:
            return
        try:
            durable.claim(path, claim)
        except FileNotFoundError:
            return  # its writer, or another reader, was faster
        if dropfile.is_final(claim, found.instance):
            self._add(batch, claim, found)
        else:
            self.unfinished = True  # it changed between the look and the claim

    def _add(self, batch: Batch, claim: str, found: dropfile.Found) -> None:
        if found.items == [] and not found.refused:
            durable.remove(claim)  # a heartbeat, say: read, and nothing in it for us
            return
        name = os.path.basename(claim)  # noqa: PTH119 - thousands a second: no Path is made
        form = name.split("~", 2)[1]
        entry = document(
            form, _original(claim), found.raw, at=self.clock(), items=found.items, refused=found.refused, claim=name
        )
        batch.add(entry, claim)

    def look_again(self, claim: str, batch: Batch) -> bool:
        """Add a claimed file that was left behind. False while it is not complete."""
        form = os.path.basename(claim).split("~", 2)[1]  # noqa: PTH119
        found = dropfile.look(claim, form, self.clock(), SETTLE_S, _original(claim))
        if found is None:
            return False
        self._add(batch, claim, found)
        return True


def _original(claim: str) -> str:
    """What the sender called a claimed file, as far as our name for it tells: all that the records may depend on."""
    return claim.split("~", 2)[2]
