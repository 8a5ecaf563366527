"""The tail against the simplest model of it: the set of (offset, line) that were ever whole when somebody looked."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.tails import read_new

from reactord.ipc import tail
from reactord.ipc.tail import Position

SHM = Path("/dev/shm")


class TailedFile(RuleBasedStateMachine):
    """Writers do to the file what writers do; between any two of their steps we may look, or be restarted."""

    @initialize(chunk=st.sampled_from([16, 64, 1 << 20]))
    def begin(self, chunk):
        self.directory = tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None)
        self.path = Path(self.directory.name) / "interactions_20261121.jsonl"
        self.whole_at_a_look: set[tuple[int, bytes]] = set()
        self.found: set[tuple[int, bytes]] = set()
        self.stored: str | None = None
        self.lines = 0
        self.renames = 0
        tail.CHUNK_BYTES = chunk

    def teardown(self):
        tail.CHUNK_BYTES = 2 * 1024 * 1024
        if hasattr(self, "directory"):
            self.directory.cleanup()

    def _fresh(self, size):
        self.lines += 1
        return b"%d:" % self.lines + b"x" * size

    @rule(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=5))
    def append_lines(self, sizes):
        with self.path.open("ab") as file:
            file.write(b"".join(self._fresh(size) + b"\n" for size in sizes))

    @rule(size=st.integers(0, 40))
    def append_half_a_line(self, size):
        with self.path.open("ab") as file:
            file.write(self._fresh(size))

    @rule()
    def end_the_line(self):
        with self.path.open("ab") as file:
            file.write(b"\n")

    @rule()
    def truncate(self):
        if self.path.exists():
            self.path.write_bytes(b"")

    @rule(size=st.integers(0, 40))
    def rewrite_in_place(self, size):
        self.path.write_bytes(self._fresh(size) + b"\n")

    @rule()
    def rotate(self):
        if self.path.exists():
            self.renames += 1
            self.path.rename(self.path.with_suffix(f".{self.renames}"))

    @rule()
    def copy_over(self):
        """What an editor or a synchroniser does: the same bytes, another inode."""
        if self.path.exists():
            copy = self.path.with_suffix(".copy")
            copy.write_bytes(self.path.read_bytes())
            copy.rename(self.path)

    @rule()
    def look(self):
        if self.path.exists():
            offset = 0
            for line in self.path.read_bytes().split(b"\n")[:-1]:
                self.whole_at_a_look.add((offset, line))
                offset += len(line) + 1
        while chunk := read_new(self.path, Position.decode(self.stored) if self.stored else None):
            assert chunk.raw.endswith(b"\n")
            offset = chunk.start
            for line in chunk.raw.split(b"\n")[:-1]:
                self.found.add((offset, line))
                offset += len(line) + 1
            self.stored = chunk.position.encode()

    @invariant()
    def every_line_that_was_whole_at_a_look_was_found_once_and_nothing_else_was(self):
        if hasattr(self, "found"):
            assert self.found == self.whole_at_a_look


TestTailedFile = TailedFile.TestCase
TestTailedFile.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
