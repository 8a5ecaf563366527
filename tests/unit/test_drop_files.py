"""The kernel for drop files keeps its promises; that it decides as `dropfile` does is shown in test_handful.py."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest
from support.writers import begin

from reactord.kernels.drop_files import CHANGED, Held, unlink

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the kernel reads no file")
ROOM = 1000
DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture
def door(fast_dir):
    (fast_dir / "claimed").mkdir()
    (fast_dir / "door").mkdir()
    return fast_dir / "door"


@pytest.fixture(autouse=True)
def _no_descriptor_is_left_open():
    before = len(list(DESCRIPTORS.iterdir()))
    yield
    assert len(list(DESCRIPTORS.iterdir())) <= before  # fewer, when what another test left is collected


def _held(door, **content):
    for name, text in content.items():
        (door / name).write_bytes(text)
    return Held(str(door), list(content), ROOM)


def _claim(held, door, *names):
    return held.claim(str(door.parent / "claimed"), names)


def test_what_is_held_is_read_and_claimed_under_its_new_name(door):
    held = _held(door, a=b"one", b=b"", c=b"three" * 100)

    assert held.raw == [b"one", b"", b"three" * 100]
    assert _claim(held, door, "A", "B", "C") == [0, 0, 0]
    assert not list(door.iterdir())
    assert (door.parent / "claimed" / "C").read_bytes() == b"three" * 100


def test_files_are_read_until_one_has_no_room_left(door):
    held = _held(door, a=b"x" * 600, b=b"x" * 400, c=b"", d=b"x", e=b"")

    assert (held.n, [len(raw) for raw in held.raw]) == (3, [600, 400, 0])
    held.let_all_go()


def test_a_file_that_is_larger_than_all_the_room_keeps_no_other_waiting(door):
    held = _held(door, a=b"x" * (ROOM + 1), b=b"x" * ROOM)

    assert held.raw == [None, b"x" * ROOM]
    held.let_all_go()


def test_what_is_let_go_is_left_where_it_is_and_its_writer_waits_no_longer(door):
    held = _held(door, a=b"one", b=b"two")
    writer = begin(lambda: (door / "a").write_bytes(b"new"))
    assert writer.is_alive()

    held.let_go(0)
    writer.join(10)

    assert _claim(held, door, "A", "B")[1] == 0
    assert (door / "a").read_bytes() == b"new"


@pytest.mark.parametrize("change", ["replaced", "opened", "touched"])
def test_what_is_not_as_it_was_read_is_moved_and_said_to_be_changed(door, change):
    held = _held(door, a=b"one", b=b"two")
    (door / "other").write_bytes(b"one")
    os.utime(door / "other", ns=(0, (door / "a").stat().st_mtime_ns))  # nothing but its number tells it from the first
    waiting = begin({
        "replaced": lambda: (door / "other").rename(door / "a"),
        "opened": lambda: os.close(os.open(door / "a", os.O_WRONLY)),
        "touched": lambda: os.utime(door / "a", ns=(0, 0)),
    }[change])  # fmt: skip

    assert _claim(held, door, "A", "B") == [CHANGED, 0]
    waiting.join(10)
    assert (door.parent / "claimed" / "A").read_bytes() == b"one"


def test_a_file_that_is_gone_is_said_to_be_and_the_next_one_is_claimed(door):
    held = _held(door, a=b"one", b=b"two")
    (door / "a").unlink()

    assert _claim(held, door, "A", "B") == [errno.ENOENT, 0]


def test_a_directory_that_is_gone_is_the_trouble_of_every_file(door):
    held = _held(door, a=b"one", b=b"two")
    (door.parent / "claimed").rmdir()

    assert _claim(held, door, "A", "B") == [errno.ENOENT] * 2
    assert sorted(path.name for path in door.iterdir()) == ["a", "b"]


def test_no_file_is_read_where_there_is_no_such_directory(door):
    held = Held(str(door / "nowhere"), ["a", "b"], ROOM)

    assert held.raw == [None, None]
    assert unlink(str(door / "nowhere"), ["a"]) == (0, errno.ENOENT)


def test_names_are_unlinked_up_to_the_first_that_cannot_be(door):
    for name in "abd":
        (door / name).touch()
    (door / "c").mkdir()

    assert unlink(str(door), ["a", "nothing", "b", "c", "d"]) == (3, errno.EISDIR)
    assert sorted(path.name for path in door.iterdir()) == ["c", "d"]


def test_any_name_that_a_directory_can_hold_is_a_name(door):
    names = ["\udcff\n", "n" * 255, " ", "ü~"]
    for name in names:
        (door / name).write_bytes(b"x")

    held = Held(str(door), names, ROOM)

    assert _claim(held, door, *names) == [0] * 4
    assert unlink(str(door.parent / "claimed"), names) == (4, 0)
