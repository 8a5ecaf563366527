"""What may a crash test ask of a home that a fresh process took over: every record once, every refused file kept."""

from __future__ import annotations

import logging
from pathlib import Path

from crash.ingest_world import DUPLICATES, NAMED, PENDING, RECEIVED, LostOrDoubled, take_in
from support import forked
from support.ledgers import check, hexed

from reactord import durable
from reactord.home import Home
from reactord.ledger import reading


class Undisturbed:
    """Stands where the failpoints stand, and does nothing."""

    taken = waited = entered = 0

    def begin(self, root: Path) -> None:
        """Called before the directories are made."""

    def install(self) -> None:
        """Called when the mistake of a mutant is planted."""


def live(root: Path, mutate=lambda: None, steps=None) -> None:
    """One whole life of the ingest, quietly. Only for a process of its own."""
    logging.disable()
    steps = steps or Undisturbed()
    steps.begin(root)
    Home(root).create()
    take_in(root, steps, mutate)


def recover(root: Path, mutate=lambda: None) -> None:
    """A fresh process lives to its end on what was left; raises LostOrDoubled when that was too little or too much."""
    if forked.run(live, root, mutate) != 0:
        raise LostOrDoubled("the next start does not come to its end")
    verify_records(Home(root))


def verify_records(home: Home) -> None:
    """Every record exactly once, every door empty, every refused file in quarantine with its bytes and a reason.

    A copy of a refused line is no record and no file of its own: its bytes are in the journal.
    """
    try:
        counts = check(home)
        stored = [record.identity for record in reading.pending(home, counts.last_seq)]
        assert len(set(stored)) == len(stored) == counts.pending == PENDING
        assert {hexed(identity) for identity in NAMED} <= set(stored)
        assert counts.rejected == {"not JSON": 2, "experience_not_an_object": 1}
        assert counts.received - counts.duplicates == RECEIVED - DUPLICATES
        assert not [*home.events.iterdir(), *home.claimed.iterdir()]
        hidden = durable.TEMPORARY
        aside = [path for path in home.quarantine.iterdir() if not path.name.endswith((hidden, ".reason.json"))]
        files = [path for path in aside if path.suffix != ".line"]
        assert [path.read_bytes() for path in files] == [b"\xffgarbage"]
        assert all(path.with_name(f"{path.name}.reason.json").read_bytes() for path in files)
    except (AssertionError, OSError, KeyError, ValueError) as wrong:
        raise LostOrDoubled(f"{type(wrong).__name__}: {wrong}") from wrong


def verify_copies(home: Home) -> None:
    """The copies of refused lines are there with their bytes and their reason."""
    copies = list(home.quarantine.glob("*.line"))
    if [path.read_bytes() for path in copies] != [b"{broken"]:
        raise LostOrDoubled(f"of the refused line there is left: {[path.read_bytes() for path in copies]}")
    if not all(path.with_name(f"{path.name}.reason.json").read_bytes() for path in copies):
        raise LostOrDoubled("the reason for a refused line is empty")
