"""Every line that was ever ended is read, however the file is rotated between any two looks and restarts."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from reactord.home import Home
from reactord.ipc.batch import Batch
from reactord.ipc.doors import OneFile, entrances
from reactord.ipc.tails import Tails

SHM = Path("/dev/shm")


class RotatedFile(RuleBasedStateMachine):
    """Two writers of one name: one opens it for each line, the other keeps open what it has opened once."""

    @initialize()
    def begin(self):
        self.directory = tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None)
        self.home = Home(Path(self.directory.name))
        self.home.telemetry.mkdir()
        self.path = self.home.telemetry / "interactions_20261121.jsonl"
        self.stored: dict[str, str] = {}
        self.ended: list[str] = []
        self.found: list[str] = []
        self.rotated = 0
        self.is_whole = True  # nothing is written that the ledger has not seen: a restart may forget descriptors
        self.keeper = None
        self.start()

    def teardown(self):
        if hasattr(self, "directory"):
            self._close()
            self.directory.cleanup()

    def start(self):
        self.read_now: set[int] = set()
        self.tails = Tails(entrances(self.home), self.stored.get, lambda: 0.0, OneFile())

    def _line(self):
        self.ended.append(f"e{len(self.ended)}")
        self.is_whole = False
        return json.dumps({"event_id": self.ended[-1], "event_type": "x"}).encode() + b"\n"

    @rule(n=st.integers(1, 3))
    def write(self, n):
        with self.path.open("ab") as file:
            for _ in range(n):
                file.write(self._line())

    @rule()
    def write_to_what_is_open(self):
        if self.keeper is None:
            self.keeper = self.path.open("ab", buffering=0)
        self.keeper.write(self._line())

    @rule()
    def rename_beside(self):
        if not self.path.exists():
            return
        known = self._is_read_in_this_life()
        if not known and self.path.stat().st_ino not in self._known():
            self.look()  # of a file that nobody ever looked at nobody can know
        self.rotated += 1
        self.path.rename(self.path.with_suffix(f".{self.rotated}"))
        if not known:
            self.path.touch()  # what is not open is missed when another one has its name

    @rule()
    def move_elsewhere_and_remove(self):
        if not self.path.exists():
            return
        if not self._is_read_in_this_life():
            self.look()
            self._close()
        self.path.unlink()

    def _is_read_in_this_life(self):
        return self.path.stat().st_ino in self.read_now

    def _known(self):
        return {json.loads(position)["inode"] for position in self.stored.values()}

    def _close(self):
        if self.keeper:
            self.keeper.close()
        self.keeper = None

    @rule()
    def look(self):
        while True:
            batch = Batch()
            self.tails.look(batch)
            if not batch.entries:
                break
            for entry in batch.entries:
                self.found += [json.loads(one)["event_id"] for one in entry.raw.splitlines()]
                place = entry.meta["tail"]
                self.stored[place["path"]] = place["position"]
                self.read_now.add(json.loads(place["position"])["inode"])
        self.is_whole = True

    @rule()
    def restart_after_a_look(self):
        """Descriptors are forgotten, and with them who still writes into a file that lost its name."""
        self.look()
        self._close()
        self.start()

    @invariant()
    def every_ended_line_is_found(self):
        if hasattr(self, "found") and self.is_whole:
            assert set(self.found) == set(self.ended)  # what is read twice has one identity


TestRotatedFile = RotatedFile.TestCase
TestRotatedFile.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
