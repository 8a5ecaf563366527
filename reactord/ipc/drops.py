"""Which whole files that are ours have arrived?

A directory is listed once and worked off in batches. A file is looked at, claimed by a rename (nobody can open it by
its name any more), and added to the batch if it is still what was looked at.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from reactord import durable
from reactord.ipc import dropfile
from reactord.ipc.batch import Batch, claim_name, document, form_and_name
from reactord.ipc.doors import Entrance, OneFile, listed

#: no directory is listed further than this at once: a million names would be 80 MB. What is taken is gone from it.
NAMES_PER_LOOK = 20_000


class Drops:
    """The doors of kind `drop`. `claimed` is where files go that are ours but not yet in the ledger."""

    def __init__(
        self, entrances: Iterable[Entrance], claimed: str, clock: Callable[[], float], one_file: OneFile
    ) -> None:
        self.doors = tuple(entrances)
        self.claimed, self.clock, self.one_file = claimed, clock, one_file
        self.unfinished = False  # a claimed file has to be looked at again, in its new place
        self._left: deque[tuple[str, str, str]] = deque()  # (format, path, name) of the last listing
        self._capped = False  # there may be more than the last listing has
        self._claims = 0

    def look(self, batch: Batch) -> bool:
        """Add what is complete to the batch. True when there may be more."""
        if not self._left:
            found = listed(self.doors, "drop", self.one_file, NAMES_PER_LOOK)
            self._left.extend((door.format.name, path, name) for door, path, name in found)
            self._capped = len(self._left) >= NAMES_PER_LOOK
        while self._left:
            if batch.full:
                return True
            with self.one_file:
                self._take(*self._left.popleft(), batch)
        return self._capped

    def _take(self, form: str, path: str, name: str, batch: Batch) -> None:
        self._claims += 1
        claim = claim_name(form, name, self._claims)
        form, where = form_and_name(claim)
        now = self.clock()
        taken = dropfile.claim(path, f"{self.claimed}/{claim}", form, where, now)
        if taken is None:
            return
        found, final = taken
        if final:
            self._add(batch, claim, found, now)
        else:
            self.unfinished = True  # it changed between the look and the claim

    def look_again(self, claim: str, batch: Batch) -> bool:
        """Add a claimed file that was left behind. False while it is not complete."""
        form, where = form_and_name(claim)
        now = self.clock()
        found = dropfile.look(f"{self.claimed}/{claim}", form, where, now)
        if found is None:
            return False
        self._add(batch, claim, found, now)
        return True

    def _add(self, batch: Batch, claim: str, found: dropfile.Found, now: float) -> None:
        if found.said or found.refused:
            form, name = form_and_name(claim)
            batch.add(document(form, name, found.raw, found.said, at=now, refused=found.refused, claim=claim))
        else:
            durable.remove(f"{self.claimed}/{claim}")  # a heartbeat, say: read, and nothing in it for us
