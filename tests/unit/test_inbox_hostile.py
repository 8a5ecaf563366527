"""Does a half-written, broken or hostile file cost nobody but itself, and is every one accounted for?"""

from __future__ import annotations

import json
import os
import shutil
import socket
from contextlib import closing
from pathlib import Path

import pytest
from support import forked
from support.disks import WatchedDisk
from support.inboxes import Skewed, append, deny, drop, keys, names
from support.ledgers import check, identities, line

from reactord import durable
from reactord.ipc import dropfile, drops
from reactord.ipc import inbox as module
from reactord.ipc.inbox import Inbox

#: a user who owns nothing
NOBODY = 65534


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(module, "TROUBLE_S", 0.0)


@pytest.fixture
def clock():
    return Skewed()


@pytest.fixture
def inbox(home, clock):
    with closing(Inbox(home, clock)) as made:
        yield made


def test_a_file_written_byte_by_byte_by_a_writer_who_keeps_it_open_comes_in_once_and_whole(inbox, home, clock):
    clock.ahead_s = 3600  # however long it takes
    path = home.events / "experiences_slow.json"
    with path.open("wb", buffering=0) as writer:
        for byte in b'[{"id": "a"}]  ':
            writer.write(bytes([byte]))
            inbox.turn()
            assert inbox.index.counts().received == 0
            assert path.exists()

    inbox.turn()

    assert identities(home) == keys("a")
    assert not path.exists()


def test_a_file_that_its_writer_closed_half_way_is_left_alone_while_it_is_young_and_taken_when_it_is_whole(inbox, home):
    path = home.events / "experiences_slow.json"
    for part in ("[", '{"id":', ' "a"}', "]"):
        with path.open("a") as writer:
            writer.write(part)
        inbox.turn()

    assert identities(home) == keys("a")
    assert names(home.quarantine) == []


def test_garbage_that_has_been_quiet_is_quarantined_unaltered_with_its_reason_and_counted(inbox, home, clock):
    (home.events / "experiences_bad.json").write_bytes(b"\xff{garbage")
    inbox.turn()
    assert names(home.events) == ["experiences_bad.json"]

    clock.ahead_s = dropfile.SETTLE_S + 1
    inbox.turn()

    assert names(home.events) == names(home.claimed) == []
    aside, reason = names(home.quarantine)
    assert (home.quarantine / aside).read_bytes() == b"\xff{garbage"
    said = json.loads((home.quarantine / reason).read_bytes())
    assert reason == f"{aside}.reason.json"
    assert said["name"] == "experiences_bad.json"
    assert said["reason"].startswith("not JSON")
    inbox.close()
    assert check(home).rejected == {"not JSON": 1}


def test_the_same_garbage_again_and_again_takes_no_more_room_and_every_file_is_counted(inbox, home, clock):
    for n in range(3):
        (home.events / f"experiences_{n}.json").write_bytes(b"garbage")
    (home.events / "experiences_other.json").write_bytes(b"other garbage")
    clock.ahead_s = 10

    inbox.turn()

    aside = [name for name in names(home.quarantine) if not name.endswith(".reason.json")]
    assert sorted((home.quarantine / name).read_bytes() for name in aside) == [b"garbage", b"other garbage"]
    assert len(names(home.quarantine)) == 4
    assert names(home.claimed) == []
    assert inbox.index.counts().rejected == {"not JSON": 4}


def _fifo(path):
    os.mkfifo(path)


def _hard_link(path):
    (path.parent.parent / "other").write_text("[]")
    path.hardlink_to(path.parent.parent / "other")


def _symlink(path):
    (path.parent.parent / "other").write_text("[]")
    path.symlink_to(path.parent.parent / "other")


def _socket(path):
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


def _oversized(path):
    with path.open("wb") as file:
        file.truncate(10 * 1024**3)  # sparse


@pytest.mark.parametrize("make", [_fifo, _hard_link, _symlink, _socket, _oversized])
def test_what_is_no_plain_file_goes_to_quarantine_and_neither_blocks_nor_touches_anything_else(inbox, home, make):
    make(home.events / "experiences_000.json")
    drop(home, "llm_1", "a")

    inbox.turn()

    assert names(home.events) == []
    assert len(names(home.quarantine)) == 2
    assert inbox.intake.trouble is None
    other = home.trinity / "other"
    assert not other.exists() or other.read_text() == "[]"
    inbox.close()
    counts = check(home)
    assert (counts.pending, sum(counts.rejected.values())) == (1, 1)


def _a_file_of_no_mode(home):
    """What an ordinary user's daemon does with a file of its own that it may not read."""
    if os.geteuid() == 0:
        shutil.chown(home.root.parent, NOBODY)
        for path in home.root.parent.rglob("*"):
            shutil.chown(path, NOBODY)
        os.setuid(NOBODY)
    unreadable = drop(home, "000", "x")
    unreadable.chmod(0)
    inbox = Inbox(home)
    inbox.turn()
    drop(home, "001", "a")
    inbox.turn()
    assert inbox.intake.trouble is None
    assert names(home.claimed) == []
    assert len(names(home.quarantine)) == 2
    inbox.close()


def test_a_file_that_may_not_be_read_goes_to_quarantine_and_keeps_nothing_else_waiting(home):
    assert forked.run(_a_file_of_no_mode, home) == 0

    counts = check(home)
    assert (counts.pending, sum(counts.rejected.values())) == (1, 1)


def test_a_directory_under_a_name_of_ours_is_left_where_it_is(inbox, home):
    (home.events / "experiences_000.json").mkdir()
    drop(home, "llm_1", "a")

    inbox.turn()

    assert names(home.events) == ["experiences_000.json"]
    assert inbox.index.counts().received == 1


@pytest.mark.parametrize(
    "name",
    [
        b"experiences_\xff\xfe.json",
        b"experiences_\n.json",
        b"experiences_\x1b[31m.json",
        b"experiences_~a~b.json",
        b"experiences_" + b"n" * 238 + b".json",
        b"experiences_" + b"\xff" * 238 + b".json",
        "experiences_ünïcode-\U0001f600.json".encode(),
    ],
)
@pytest.mark.parametrize("content", [b'[{"id": "a"}]', b"garbage"])
def test_a_file_of_any_name_comes_in_or_goes_to_quarantine(inbox, home, clock, name, content):
    with open(os.fsencode(home.events) + b"/" + name, "wb") as file:  # noqa: PTH123 - the name is bytes
        file.write(content)
    clock.ahead_s = 10

    inbox.turn()
    inbox.close()

    counts = check(home)
    assert counts.received == 1
    assert not list(home.events.iterdir())
    assert len(names(home.quarantine)) == 2 * sum(counts.rejected.values())
    assert all(other.isascii() and other.isprintable() for other in names(home.quarantine))


@pytest.mark.parametrize("door", ["drop", "tail"])
def test_a_file_that_cannot_be_read_is_shown_as_a_trouble_and_keeps_no_other_waiting(inbox, home, door, monkeypatch):
    if door == "tail":
        (home.telemetry / "interactions_20260101.jsonl").mkdir()
    else:
        path, real, durable.disk = drop(home, "000", "x"), durable.claim, WatchedDisk()
        monkeypatch.setattr(
            durable, "claim", lambda source, target: deny() if str(source) == str(path) else real(source, target)
        )
    drop(home, "llm_1", "a")
    append(home, line("b"))

    inbox.turn()

    assert sorted(identities(home)) == keys("a", "b")
    assert inbox.intake.trouble
    assert ("interactions_20260101" if door == "tail" else "not permitted") in inbox.intake.trouble


def test_the_trouble_goes_with_its_cause(inbox, home):
    (home.telemetry / "interactions_20260101.jsonl").mkdir()
    inbox.turn()
    assert inbox.intake.trouble
    (home.telemetry / "interactions_20260101.jsonl").rmdir()

    inbox.turn()

    assert inbox.intake.trouble is None


def test_names_that_can_never_be_taken_do_not_keep_the_thread_busy(inbox, home, monkeypatch):
    monkeypatch.setattr(drops, "NAMES_PER_LOOK", 3)
    for n in range(5):
        (home.events / f"experiences_{n}.json").mkdir()

    inbox.turn()  # would not return

    assert inbox.intake.trouble is None
