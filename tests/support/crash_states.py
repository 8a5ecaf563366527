"""In which states may a power cut leave the disk? The crash-state model of ALICE (OSDI'14), over `durable.disk`.

POSIX promises little: a change of a directory's entries is safe once that directory was fsynced, bytes once their file
was. Until then any subset of the changes may be found, and of the bytes any prefix, torn anywhere, or zeros. Real file
systems promise more, which is why a forgotten fsync of a directory is seen here and nowhere else.

A `Tape` records what one process did to a tree; `states` yields trees that a cut may have left. SQLite does not write
through our seam: its database is kept as it was at every step, and any earlier one may be found, with a torn log too
(synchronous=NORMAL promises no more), or none.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reactord.durable import RealDisk

#: where SQLite's files of ours lie, what they end with, and what it makes anew by itself
LEDGER, DATABASE, LOG, MADE_ANEW = "ledger", ".db", ".db-wal", (".db-shm", ".db-journal")


@dataclass(frozen=True, slots=True)
class Named:
    """An entry of a directory changed: `node` is no longer `gone`, and is `here` now. A rename is both at once."""

    node: int
    gone: str | None
    here: str | None

    @property
    def directories(self) -> set[str]:
        return {os.path.dirname(path) for path in (self.gone, self.here) if path is not None}  # noqa: PTH120


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes of a file changed; `size` cuts it off (or extends it) before they are written at `offset`."""

    node: int
    offset: int
    data: bytes = b""
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Synced:
    """A file (by its node) or the entries of a directory (by its path) became safe."""

    what: int | str


@dataclass(frozen=True, slots=True)
class Database:
    """SQLite's files as they are now."""

    files: tuple[tuple[str, bytes], ...]


@dataclass
class Tree:
    """Entries by path below the root, `None` for a directory, and what is in the nodes they name."""

    entries: dict[str, int] = field(default_factory=dict)
    content: dict[int, bytes | None] = field(default_factory=dict)

    def copy(self) -> Tree:
        return Tree(dict(self.entries), dict(self.content))

    def reachable(self) -> dict[str, bytes | None]:
        """What a person would find: nothing lies in a directory that is not there."""
        found: dict[str, bytes | None] = {}
        for path in sorted(self.entries):
            above = os.path.dirname(path)  # noqa: PTH120
            if not above or above in found:
                found[path] = self.content[self.entries[path]]
        return found


class Tape(RealDisk):
    """A disk that notes all that is done to the tree at `root`. What the seam does not show, a look there does."""

    def __init__(self, root: Path) -> None:
        self.root, self.steps = root, list[Any]()
        self.now, self._nodes, self._made = Tree(), dict[int, int](), 0
        self._look()
        self.before = self.now.copy()
        self.steps.clear()  # all that was there is safe
        self._keep_databases()

    # -- the seam ----------------------------------------------------------------------------------------------------
    def write(self, descriptor: int, data: Any) -> int:
        self._look()
        status = os.fstat(descriptor)
        written = os.write(descriptor, data)
        if node := self._nodes.get(status.st_ino):
            offset = os.lseek(descriptor, 0, os.SEEK_CUR) - written
            self._note(Bytes(node, offset, bytes(data[:written])))
        return written

    def fsync(self, descriptor: int) -> None:
        self._look()
        status = os.fstat(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path == self.root or self.root in path.parents:
            directory = "" if path == self.root else str(path.relative_to(self.root))
            if path.name.endswith(LOG):
                self._note(Synced(LOG))
            else:
                self._note(Synced(directory if Path(path).is_dir() else self._nodes[status.st_ino]))

    def rename(self, source: Any, target: Any) -> None:
        self._look()
        super().rename(source, target)
        gone, here = self._relative(source), self._relative(target)
        self._note(Named(self.now.entries[gone], gone, here))

    def link(self, source: Any, target: Any) -> None:
        self._look()
        super().link(source, target)
        self._note(Named(self.now.entries[self._relative(source)], None, self._relative(target)))

    def unlink(self, path: Any) -> None:
        self._look()
        super().unlink(path)
        self._note(Named(self.now.entries[self._relative(path)], self._relative(path), None))

    def end(self) -> list[Any]:
        """The whole tape."""
        self._look()
        return self.steps

    # -- what the seam does not show ---------------------------------------------------------------------------------
    def _look(self) -> None:
        """Files and directories made or removed by calls of the system itself, and databases."""
        found = dict(self._walk())
        for path in sorted(self.now.entries.keys() - found.keys(), reverse=True):
            self._note(Named(self.now.entries[path], path, None))
        for path, status in sorted(found.items()):
            node = self._nodes.get(status.st_ino)
            if path not in self.now.entries or self.now.entries[path] != node:
                self._note(Named(self._new_node(path, status), None, path))
            elif (content := self.now.content[node]) is not None and len(content) != status.st_size:
                self._note(Bytes(node, 0, b"", status.st_size))  # cut off, or opened with O_TRUNC
        self._keep_databases()

    def _walk(self) -> Iterator[tuple[str, os.stat_result]]:
        for parent, directories, files in os.walk(self.root):
            for name in directories + files:
                path = Path(parent) / name
                if not (path.parent.name == LEDGER and name.endswith((DATABASE, LOG, *MADE_ANEW))):
                    yield str(path.relative_to(self.root)), path.lstat()

    def _new_node(self, path: str, status: os.stat_result) -> int:
        self._made += 1
        node = self._nodes[status.st_ino] = self._made
        whole = self.root / path
        self.now.content[node] = None if whole.is_dir() else whole.read_bytes()
        return node

    def _keep_databases(self) -> None:
        paths = sorted(path for path in self.root.rglob(f"{LEDGER}/*.db*") if path.name.endswith((DATABASE, LOG)))
        files = tuple((str(path.relative_to(self.root)), path.read_bytes()) for path in paths)
        last = next((step for step in reversed(self.steps) if isinstance(step, Database)), None)
        if last is None or last.files != files:
            self.steps.append(Database(files))

    def _note(self, step: Any) -> None:
        self.steps.append(step)
        play(self.now, step)

    def _relative(self, path: Any) -> str:
        return str(Path(path).relative_to(self.root))


def play(tree: Tree, step: Any) -> None:
    """Let one step happen to a tree; one whose ground is missing there (its entry was lost) has no effect."""
    if isinstance(step, Named):
        if step.gone is not None:
            if tree.entries.get(step.gone) == step.node:
                del tree.entries[step.gone]
            elif step.node in tree.entries.values():
                return  # the rename before this one was lost: the file is still where that one found it
        if step.here is not None:
            tree.entries[step.here] = step.node
    elif isinstance(step, Bytes):
        content = tree.content[step.node] or b""
        if step.size is not None:
            content = content[: step.size].ljust(step.size, b"\0")
        if step.data:
            content = content[: step.offset].ljust(step.offset, b"\0") + step.data
        tree.content[step.node] = content


@dataclass(frozen=True)
class State:
    """One tree that may be found after a power cut behind step `point`, with SQLite's files."""

    point: int
    tree: dict[str, bytes | None]
    database: dict[str, bytes]

    @property
    def key(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for path, content in sorted({**self.tree, **self.database}.items()):
            digest.update(b"%d %d " % (len(path), -1 if content is None else len(content)))
            digest.update(path.encode("utf-8", "surrogateescape") + (content or b""))
        return digest.hexdigest()

    def make(self, root: Path) -> None:
        root.mkdir()
        for path, content in sorted(self.tree.items()):
            (root / path).mkdir() if content is None else (root / path).write_bytes(content)
        for path, content in self.database.items():
            if (root / path).parent.is_dir():
                (root / path).write_bytes(content)


def states(tape: Tape, rng: random.Random, wanted: int) -> list[State]:
    """The plain states (all or nothing was kept) of every point, or of as many as that allows; then random ones."""
    steps, found = tape.end(), dict[str, State]()
    points = range(len(steps) + 1)
    for point in points[:: 1 + len(points) * 8 // wanted]:
        for names in (True, False):
            for data in (1.0, 0.0):
                for age in (0, -1):
                    state = _cut(tape, point, _Luck([names] * len(steps), data, age), rng)
                    found.setdefault(state.key, state)
    for _ in range(wanted * 20):
        if len(found) >= wanted:
            break
        keep = rng.choice([0.1, 0.5, 0.9])
        luck = _Luck(
            kept=[rng.random() < keep for _ in steps],
            data=rng.choice([0.0, 1.0, rng.random(), rng.random()]),
            age=rng.choice([0, 0, 1, 2, 5, -1]),
            zeros=rng.random() < 0.2,
        )
        state = _cut(tape, rng.choice(points), luck, rng)
        found.setdefault(state.key, state)
    return list(found.values())


@dataclass(frozen=True)
class _Luck:
    """What became of all that was not synced."""

    kept: list[bool]  # the change of an entry, by its step
    data: float  # the share of each write that is there; the rest is missing, or zeros
    age: int  # how many changes SQLite's files are behind; -1: there are none
    zeros: bool = False


def _cut(tape: Tape, point: int, luck: _Luck, rng: random.Random) -> State:
    steps = tape.steps[:point]
    safe, synced = set[int](), set[int | str]()
    for n in range(point - 1, -1, -1):
        step = steps[n]
        if isinstance(step, Synced):
            synced.add(step.what)
        elif (isinstance(step, Named) and step.directories <= synced) or (
            isinstance(step, Bytes) and step.node in synced
        ):
            safe.add(n)
    tree = tape.before.copy()
    for n, step in enumerate(steps):
        if isinstance(step, Named):
            if step.here is not None and step.gone is None and step.node not in tree.content:
                tree.content[step.node] = _first(tape, step.node)
            if n in safe or luck.kept[n]:
                play(tree, step)
        elif isinstance(step, Bytes):
            play(tree, step if n in safe else _torn(step, luck))
    return State(point, tree.reachable(), _database(steps, luck.age, rng))


def _first(tape: Tape, node: int) -> bytes | None:
    """What a file held when it was made: nothing; a directory stays a directory."""
    return None if tape.now.content[node] is None else b""


def _torn(step: Bytes, luck: _Luck) -> Bytes:
    there = step.data[: round(len(step.data) * luck.data)]
    rest = b"\0" * (len(step.data) - len(there)) if luck.zeros else b""
    return Bytes(step.node, step.offset, there + rest, step.size)


def _database(steps: Iterable[Any], age: int, rng: random.Random) -> dict[str, bytes]:
    """SQLite's files as they were `age` changes ago, but after they were made safe; -1: none is left."""
    steps = list(steps)
    kept = [n for n, step in enumerate(steps) if isinstance(step, Database)]
    if age < 0 or age >= len(kept):
        return {}
    safe = max((n for n, step in enumerate(steps) if step == Synced(LOG)), default=-1)
    newest_safe = max((n for n in kept if n < safe), default=-1)
    files = dict(steps[max(kept[-1 - age], newest_safe)].files)
    kept_for_certain = dict(steps[newest_safe].files) if newest_safe >= 0 else {}
    if rng.random() < 0.3:
        files = {path: _cut_log(path, content, kept_for_certain.get(path, b""), rng) for path, content in files.items()}
    return files


def _cut_log(path: str, content: bytes, safe: bytes, rng: random.Random) -> bytes:
    if not path.endswith(LOG):
        return content
    least = len(safe) if content.startswith(safe) else 0  # else it was begun anew, after SQLite made all of it safe
    return content[: rng.randint(least, len(content))]
