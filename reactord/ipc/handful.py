"""How are many drop files taken together, quicker than one by one?

A kernel reads the files that leave nothing to decide, each under a lease, and once they are understood it claims them:
the calls of `dropfile.claim` in the same order, without Python in between. All others are taken by `dropfile.claim`
itself, as every file is where `durable.disk` is not the real one; a test holds the two ways against each other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from reactord import durable
from reactord.errors import BadRecord
from reactord.formats import FORMATS
from reactord.ipc.batch import claim_name, document, known_as
from reactord.ipc.dropfile import MAX_FILE_BYTES
from reactord.kernels import drop_files
from reactord.ledger.journal import Entry


class Waiting(NamedTuple):
    """A drop file at its door."""

    form: str  # the name of its format
    directory: str
    name: str


class Handful:
    """Files of one directory, read and understood; each is under a lease until it is claimed or let go.

    Nothing on the disk is changed before `claim`. A writer who opens one of them waits until then.
    """

    def __init__(self, waiting: Sequence[Waiting], numbers: Iterator[int], now: float) -> None:
        """Of some files of one directory the first, as many as there is room for."""
        self._held = drop_files.Held(waiting[0].directory, [one.name for one in waiting], MAX_FILE_BYTES)
        try:
            at_ns = time.time_ns()
            self.waiting = waiting[: self._held.n]
            known = [known_as(one.name) for one in self.waiting]
            self._claims = [
                claim_name(one.form, name, next(numbers), at_ns) for one, name in zip(self.waiting, known, strict=True)
            ]
            self._entries = [self._understood(i, name, now) for i, name in enumerate(known)]
        except BaseException:
            self.let_go()
            raise

    def _understood(self, i: int, name: str, now: float) -> Entry | None:
        """None, and the file is let go, when something has to be decided about it."""
        raw, form = self._held.raw[i], self.waiting[i].form
        if raw is None:
            return None
        try:
            if said := FORMATS[form].said(raw, name):
                return document(form, name, raw, said, at=now, claim=self._claims[i])
        except BadRecord:
            pass  # it may still be growing
        self._held.let_go(i)
        return None

    def claim(self, target: str) -> Iterator[tuple[Waiting, Entry | None, int]]:
        """Move those that are understood to `target`.

        For each file (where it waited, its entry or None when it was let go, the outcome): 0, drop_files.CHANGED when
        what lies in `target` is not, or not for good, what was read, or an errno.
        """
        return zip(self.waiting, self._entries, self._held.claim(target, self._claims), strict=True)

    def let_go(self) -> None:
        """Leave those that were not claimed where they are."""
        self._held.let_all_go()


def remove(directory: str, names: Sequence[str]) -> tuple[int, OSError | None]:
    """Unlink names of one directory in order: (how many are gone, the trouble with the next one)."""
    if durable.is_real():
        gone, error = drop_files.unlink(directory, names)
        return gone, OSError(error, os.strerror(error), f"{directory}/{names[gone]}") if error else None
    for gone, name in enumerate(names):
        try:
            durable.remove(f"{directory}/{name}")
        except OSError as trouble:
            return gone, trouble
    return len(names), None
