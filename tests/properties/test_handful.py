"""Files that are taken by the handful are taken as each would be alone: the quick way against the one meaning."""

from __future__ import annotations

import os
import socket
import stat
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.disks import WatchedDisk

from reactord import durable
from reactord.home import Home
from reactord.ipc import batch as batch_module
from reactord.ipc import drops as drops_module
from reactord.ipc.batch import Batch
from reactord.ipc.doors import OneFile, entrances
from reactord.ipc.dropfile import MAX_FILE_BYTES, SETTLE_S
from reactord.ipc.drops import Drops

NOW = 1.8e9  # of the clock, epoch seconds
YOUNG, QUIET = NOW - SETTLE_S / 2, NOW - 2 * SETTLE_S
MINE, SAID = os.geteuid(), b'[{"id": "%d"}, {"n": 1}]'


def _socket(path, held):
    listener = held.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(os.path.relpath(path))  # its name must be short


def _file(content, touched=YOUNG):
    def make(path, held):
        path.write_bytes(content)
        os.utime(path, (touched, touched))

    return make


def _written(path, held):
    path.write_bytes(SAID % 1)
    held.enter_context(path.open("ab"))


def _read_by_another(path, held):
    path.write_bytes(SAID % 1)
    held.enter_context(path.open("rb"))


def _another(path):
    other = path.parents[1] / f"other-{path.name}"
    other.write_bytes(SAID % 1)
    return other


def _large(size):
    def make(path, held):
        path.touch()
        os.truncate(path, size)  # sparse: it reads as zeros

    return make


def _not_ours(path, held):
    path.write_bytes(SAID % 1)
    os.chown(path, 65534, 65534)


KINDS = {
    "good": _file(SAID % 1), "another good": _file(SAID % 2), "long": _file(b'[{"t": "%s"}]' % (b"x" * 3_000_000)),
    "empty": _file(b""), "growing": _file(b'[{"id": "a"}'), "broken": _file(b'[{"id": "a"}', QUIET),
    "not text": _file(b"\xff", QUIET), "nothing in it": _file(b'{"event_type": "heartbeat", "payload": {}}'),
    "no experience": _file(b'{"x": 1}', QUIET), "refused item": _file(b'[{"id": "b"}, 7]'),
    "gone": lambda path, held: None, "directory": lambda path, held: path.mkdir(),
    "fifo": lambda path, held: os.mkfifo(path), "socket": _socket,
    "link": lambda path, held: path.symlink_to(_another(path)), "dangling": lambda path, held: path.symlink_to("x"),
    "two names": lambda path, held: path.hardlink_to(_another(path)),
    "too large": _large(MAX_FILE_BYTES + 1), "largest": _large(MAX_FILE_BYTES),
    "open for writing": _written, "open for reading": _read_by_another,
    **({"not ours": _not_ours} if MINE == 0 else {}),
}  # fmt: skip
NAMES = ("experiences_{}.json", "5_1_{}.json", "experiences_\udcff{}.json", "experiences_" + 130 * "n" + "{}.json")


def _what_becomes_of(kinds, *, one_by_one, at_once, monkeypatch):
    """What a batch holds and what lies where, after a look at a bus on which files of these kinds wait."""
    with ExitStack() as held, monkeypatch.context() as patched:
        root = Path(
            held.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        )
        patched.chdir(root)
        patched.setattr(durable, "disk", WatchedDisk() if one_by_one else durable.RealDisk())
        patched.setattr(batch_module, "BATCH_FILES", at_once)
        home = Home(root / "jarvis")
        home.create()
        for n, (kind, name) in enumerate(kinds):
            path = home.events / NAMES[name].format(n)
            KINDS[kind](path, held)
        real = drops_module.listed
        ghosts = [NAMES[name].format(n) for n, (kind, name) in enumerate(kinds) if kind == "gone"]

        def listed(*arguments):
            found = list(real(*arguments))
            door = next(door for door in entrances(home) if door.directory == home.events)
            return sorted([*found, *((door, "", name) for name in ghosts)], key=lambda one: one[2])

        patched.setattr(drops_module, "listed", listed)
        drops, more, entries = Drops(entrances(home), str(home.claimed), lambda: NOW, OneFile()), True, []
        while more:
            more = drops.look(batch := Batch())
            assert len(batch.claimed) == len(batch.entries)
            entries += [(_known(entry.meta), entry.raw, entry.said) for entry in batch.entries]
        return entries, drops.unfinished, repr(drops.one_file.trouble), _tree(home.events), _tree(home.claimed)


def _known(meta):
    """All but when it was claimed, and the how manieth that was."""
    return {**meta, "claim": meta["claim"].split("~", 1)[1]}


def _tree(directory):
    """Names, kinds and content of what lies there; of a claimed file without when it was claimed."""
    return sorted(
        (path.name.split("~", 1)[-1], stat.S_IFMT(path.lstat().st_mode), _content(path)) for path in directory.iterdir()
    )


def _content(path):
    status = path.lstat()
    return path.read_bytes() if stat.S_ISREG(status.st_mode) and status.st_size < MAX_FILE_BYTES else status.st_size


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere every file is taken alone")
@settings(max_examples=120)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.integers(0, len(NAMES) - 1)), min_size=1, max_size=12),
    st.sampled_from([1, 2, 5, 200]),
)
@example([(kind, 0) for kind in sorted(KINDS)], 200)
@example([(kind, 1) for kind in sorted(KINDS)], 3)
@example([("long", 0)] * 5, 200)
def test_a_handful_is_taken_as_each_of_it_would_be_alone(monkeypatch, kinds, at_once):
    together = _what_becomes_of(kinds, one_by_one=False, at_once=at_once, monkeypatch=monkeypatch)
    alone = _what_becomes_of(kinds, one_by_one=True, at_once=at_once, monkeypatch=monkeypatch)

    assert together == alone
