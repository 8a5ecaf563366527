"""A small bus, the process that takes it in, and what must be true of its ledger in the end."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from support.disks import MUTATING
from support.forked import DIED
from support.ledgers import check, hexed, line

from reactord import durable
from reactord.home import Home
from reactord.ipc import batch as batch_module
from reactord.ipc import inbox as inbox_module
from reactord.ipc.inbox import Inbox
from reactord.ledger import journal as journal_module
from reactord.ledger import reading
from reactord.ledger import staged as staged_module
from reactord.ledger.index import Index

TELEMETRY = "interactions_20261121.jsonl"
#: more than one write call for every batch, so that torn batches are among the states
WRITE_AT_MOST = 300
#: of the bus above several batches wait for the index together, and it enters them more than once
FILES_AT_ONCE, ROWS_AT_ONCE = 2, 10


def make_bus(home: Home) -> None:
    """Drops with and without ids, a duplicate, garbage, a refused item; telemetry with equal lines and a broken one."""
    home.create()
    drops = {
        "experiences_1.json": [{"id": "a1"}, {"id": "a2"}],
        "experiences_2.json": [{"id": "b1"}, {"id": "a1"}, 7],
        "experiences_3.json": [{"n": 1}, {"n": 1}],
        "experiences_4.json": [{"id": "d1", "text": "x" * 900}],
        f"experiences_{'n' * 200}.json": [{"n": 2}],
        "5_1_p.json": {"event_id": "p", "payload": {"experiences": [{"n": 3}, {"id": "e1"}]}},
    }
    for name, document in drops.items():
        (home.events / name).write_text(json.dumps(document))
    (home.events / "experiences_0bad.json").write_bytes(b"\xffgarbage")
    lines = [line("t1"), line(), line(), b"{broken", *(line(f"u{n}", pad="y" * 50) for n in range(12))]
    (home.telemetry / TELEMETRY).write_bytes(b"".join(one + b"\n" for one in lines))


#: of the bus above: records, of those pending, refused by reason, counted twice
RECEIVED, PENDING, REFUSED, DUPLICATES = 28, 24, 3, 1
NAMED = {"a1", "a2", "b1", "d1", "e1", "p:0", "t1", *(f"u{n}" for n in range(12))}


class LostOrDoubled(AssertionError):
    """The ledger does not hold every record exactly once."""


def verify(home: Home) -> None:
    """Raises LostOrDoubled. `received` may be larger after crashes: what arrived twice is a counted duplicate."""
    try:
        counts = check(home)
        stored = [record.identity for record in reading.pending(home, counts.last_seq)]
        assert len(set(stored)) == len(stored) == counts.pending == PENDING
        assert {hexed(identity) for identity in NAMED} <= set(stored)
        assert counts.rejected == {"not JSON": 2, "experience_not_an_object": 1}
        assert counts.received - counts.duplicates == RECEIVED - DUPLICATES
        assert not [*home.events.iterdir(), *home.claimed.iterdir()]
        aside = [path for path in home.quarantine.iterdir() if path.suffix not in (".json", durable.TEMPORARY)]
        aside += [path for path in home.quarantine.glob("*.json") if not path.name.endswith(".reason.json")]
        assert sorted(path.read_bytes() for path in aside) == [b"{broken", b"\xffgarbage"]
        assert all(path.with_name(f"{path.name}.reason.json").exists() for path in aside)
    except (AssertionError, OSError, KeyError, ValueError) as wrong:
        raise LostOrDoubled(f"{type(wrong).__name__}: {wrong}") from wrong


class Steps:
    """Every mutating call of the disk and every step of the index is one; the process dies before or after one."""

    def __init__(self, die_at: int = 0, *, before: bool = True) -> None:
        self.die_at, self.dies_before, self.taken = die_at, before, 0
        self.waiting = 0  # batches that are staged and not entered
        self.waited, self.entered = 0, 0  # the most of them at a step, and how often some were entered

    def install(self) -> None:
        real = durable.RealDisk
        steps = {name: self._step(getattr(real, name)) for name in MUTATING}
        steps["write"] = self._step(lambda descriptor, data: real.write(descriptor, data[:WRITE_AT_MOST]))
        durable.disk = SimpleNamespace(**steps)
        Index.stage = self._step(Index.stage, self._staged)
        Index.begin = self._step(Index.begin, self._entered)
        Index.flush = self._step(Index.flush, self._entered)
        Index.forget_claims = self._step(Index.forget_claims)

    def _step(self, real: Callable[..., object], note: Callable[[], None] = lambda: None) -> Callable[..., object]:
        def called(*arguments: object) -> object:
            self.taken += 1
            n = self.taken
            self._die(n, before=True)
            result = real(*arguments)
            note()
            self._die(n, before=False)
            return result

        return called

    def _staged(self) -> None:
        self.waiting += 1
        self.waited = max(self.waited, self.waiting)

    def _entered(self) -> None:
        self.entered += bool(self.waiting)
        self.waiting = 0

    def _die(self, n: int, *, before: bool) -> None:
        if n == self.die_at and before == self.dies_before:
            os._exit(DIED)


def take_in(root: Path, steps: Steps, mutate: Callable[[], None] = lambda: None) -> None:
    """What the child process does: everything at the doors, in small batches and small segments."""
    batch_module.BATCH_FILES, staged_module.ROWS, inbox_module.TROUBLE_S = FILES_AT_ONCE, ROWS_AT_ONCE, 0.0
    journal_module.SEGMENT_BYTES = 1500
    mutate()
    steps.install()
    inbox = Inbox(Home(root), lambda: time.time() + 60)
    for _ in range(3):
        inbox.turn()
    assert inbox.intake.trouble is None, inbox.intake.trouble
    inbox.close()
    (root / "steps").write_text(json.dumps([steps.taken, steps.waited, steps.entered]))


def fresh(template: Path, root: Path) -> Home:
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(template, root, symlinks=True)
    return Home(root)
