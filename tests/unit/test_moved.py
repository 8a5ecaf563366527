"""Is every line read of a file that is rotated, whoever moves it where, and whenever we look?"""

from __future__ import annotations

import gc
import gzip
from contextlib import closing
from pathlib import Path

import pytest
from support.inboxes import TELEMETRY, Skewed, append, restarted
from support.ledgers import check, line

from reactord.ipc import moved
from reactord.ipc.inbox import Inbox


@pytest.fixture
def clock():
    return Skewed()


@pytest.fixture
def inbox(home, clock):
    with closing(Inbox(home, clock)) as made:
        yield made


def _beside(path):
    path.rename(path.with_name(f"{path.name}.1"))


def _elsewhere(path):
    path.rename(path.parent.parent / "old.jsonl")


def _packed(path):
    path.with_name(f"{path.name}.1.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


@pytest.mark.parametrize("rotate", [_beside, _elsewhere, _packed])
@pytest.mark.parametrize("begun", [True, False])
def test_what_was_written_between_the_last_look_and_the_rotation_is_read(inbox, home, rotate, begun):
    append(home, line("before"), line())
    inbox.turn()
    append(home, line("between"), line())
    rotate(home.telemetry / TELEMETRY)
    if begun:
        append(home, line("after"), line())

    inbox.turn()

    assert inbox.index.counts().pending == 4 + 2 * begun
    assert inbox.intake.trouble is None
    inbox.close()
    assert check(home).duplicates == 0


def test_what_was_rotated_while_we_were_down_is_read(inbox, home, clock):
    append(home, line("before"))
    inbox.turn()
    inbox.close()
    append(home, line("between"))
    _beside(home.telemetry / TELEMETRY)
    append(home, line("after"))
    again = restarted(inbox, clock)

    again.turn()
    again.close()

    counts = check(home)
    assert (counts.pending, counts.duplicates) == (3, 0)


def test_who_goes_on_writing_into_the_old_file_is_heard_until_it_has_been_quiet_for_half_a_minute(inbox, home, clock):
    append(home, line("before"))
    inbox.turn()
    with (home.telemetry / TELEMETRY).open("ab", buffering=0) as writer:
        _beside(home.telemetry / TELEMETRY)
        append(home, line("new"))
        inbox.turn()
        for n in range(3):
            writer.write(line(f"late{n}") + b"\n")
            inbox.turn()
        assert inbox.index.counts().pending == 5
        clock.ahead_s = moved.QUIET_S + 1
        inbox.turn()
        writer.write(line("too late") + b"\n")
        inbox.turn()

    assert inbox.index.counts().pending == 5
    assert inbox.index.counts().duplicates == 0


def test_a_chunk_of_the_old_file_that_the_disk_refused_is_read_when_there_is_room(inbox, home, monkeypatch):
    append(home, line("before"))
    inbox.turn()
    append(home, line("between"))
    _packed(home.telemetry / TELEMETRY)
    append(home, line("after"))
    real = inbox.journal.append

    def refuse(entries):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(inbox.journal, "append", refuse)
    inbox.turn()
    inbox.turn()
    monkeypatch.setattr(inbox.journal, "append", real)
    inbox.turn()

    assert inbox.index.counts().pending == 3


def test_a_stranger_that_got_the_inode_of_a_deleted_file_is_not_taken_for_it(inbox, home, clock):
    path, stranger = home.telemetry / TELEMETRY, home.telemetry / "notes"
    append(home, line("before"))
    inbox.turn()
    inbox.close()
    inode = path.stat().st_ino
    path.rename(stranger)
    stranger.write_bytes(line("stranger") + b"\n" + line("of any length") + b"\n")
    assert stranger.stat().st_ino == inode
    append(home, line("after"))
    again = restarted(inbox, clock)

    again.turn()

    assert again.index.counts().pending == 2
    again.close()


def _open_files():
    gc.collect()  # of other tests
    return len(list(Path("/dev/fd").iterdir()))


def test_no_number_of_rotations_keeps_more_than_some_files_open(inbox, home):
    before = _open_files()
    for n in range(3 * moved.MOST_OPEN):
        append(home, line(f"e{n}"))
        append(home, line(f"f{n}"), name=f"interactions_{n:08d}.jsonl")
        inbox.turn()
        (home.telemetry / TELEMETRY).unlink()
    inbox.turn()

    assert inbox.index.counts().pending == 6 * moved.MOST_OPEN
    assert _open_files() - before <= 2 * moved.MOST_OPEN + 10


def test_the_files_are_closed_with_their_inbox(home):
    before = _open_files()
    inbox = Inbox(home)
    append(home, line("a"))
    inbox.turn()
    (home.telemetry / TELEMETRY).unlink()
    append(home, line("b"))
    inbox.turn()
    inbox.close()

    assert _open_files() == before


def test_a_last_line_that_nobody_ends_is_said_once_and_read_when_it_is_ended(inbox, home, clock, caplog):
    append(home, line("whole"))
    with (home.telemetry / TELEMETRY).open("ab") as file:
        file.write(line("half"))
    inbox.turn()
    assert "without a newline" not in caplog.text
    clock.ahead_s = 61
    inbox.turn()
    inbox.turn()
    assert caplog.text.count("without a newline") == 1
    with (home.telemetry / TELEMETRY).open("ab") as file:
        file.write(b"\n")
    inbox.turn()

    assert inbox.index.counts().pending == 2
