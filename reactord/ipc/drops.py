"""Which whole files that are ours have arrived?

A directory is listed once and worked off in batches. A file is looked at, claimed by a rename (nobody can open it by
its name any more), and added to the batch if it is still what was looked at.
"""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count, islice, takewhile

from reactord import durable
from reactord.ipc import batch as batch_module
from reactord.ipc import dropfile
from reactord.ipc.batch import Batch, claim_name, document, form_and_name, known_as
from reactord.ipc.doors import Entrance, OneFile, listed
from reactord.ipc.handful import Handful, Waiting
from reactord.kernels.drop_files import CHANGED

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
        self._left: deque[Waiting] = deque()  # of the last listing
        self._capped = False  # there may be more than the last listing has
        self._numbers = count(1)  # of the claims

    def look(self, batch: Batch) -> bool:
        """Add what is complete to the batch. True when there may be more."""
        if not self._left:
            found = listed(self.doors, "drop", self.one_file, NAMES_PER_LOOK)
            self._left.extend(Waiting(door.format.name, str(door.directory), name) for door, _, name in found)
            self._capped = len(self._left) >= NAMES_PER_LOOK
        while self._left:
            if batch.full:
                return True
            if durable.is_real():
                self._take_handful(batch)
            else:
                self._take(self._left.popleft(), batch)
        return self._capped

    def _take_handful(self, batch: Batch) -> None:
        """Those that leave nothing to decide together, the others one by one, all in their order."""
        handful = self._read()
        for waiting, entry, outcome in handful.claim(self.claimed):
            if entry is None:
                self._take(waiting, batch)
            elif outcome == 0:
                batch.add(entry)
            elif outcome == CHANGED:
                self.unfinished = True
            elif outcome != errno.ENOENT:
                with self.one_file:
                    raise OSError(outcome, os.strerror(outcome), f"{waiting.directory}/{waiting.name}")

    def _read(self) -> Handful:
        """The next files that wait in one directory."""
        directory = self._left[0].directory
        same = takewhile(lambda one: one.directory == directory, islice(self._left, batch_module.BATCH_FILES))
        handful = Handful(list(same), self._numbers, self.clock())
        for _ in handful.waiting:
            self._left.popleft()
        return handful

    def _take(self, waiting: Waiting, batch: Batch) -> None:
        """One file."""
        form, directory, name = waiting
        known, now = known_as(name), self.clock()
        claim = claim_name(form, known, next(self._numbers), time.time_ns())
        with self.one_file:
            taken = dropfile.claim(f"{directory}/{name}", f"{self.claimed}/{claim}", form, known, now)
            if taken is None:
                return
            found, final = taken
            if final:
                self._add(batch, claim, found, now)
            else:
                self.unfinished = True  # it changed between the look and the claim

    def look_again(self, claim: str, batch: Batch) -> bool:
        """Add a claimed file that was left behind. False while it is not complete, or cannot be read."""
        form, where = form_and_name(claim)
        now = self.clock()
        with self.one_file:
            found = dropfile.look(f"{self.claimed}/{claim}", form, where, now)
            if found is not None:
                self._add(batch, claim, found, now)
                return True
        return False

    def _add(self, batch: Batch, claim: str, found: dropfile.Found, now: float) -> None:
        if found.said or found.refused:
            form, name = form_and_name(claim)
            batch.add(document(form, name, found.raw, found.said, at=now, refused=found.refused, claim=claim))
        else:
            durable.remove(f"{self.claimed}/{claim}")  # a heartbeat, say: read, and nothing in it for us
