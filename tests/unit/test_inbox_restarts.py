"""Does the next life of the inbox take in what the one before had only claimed, and once?"""

from __future__ import annotations

import errno
import os
import time
from contextlib import closing

import pytest
from support.inboxes import Skewed, deny, drop, keys, names, restarted
from support.ledgers import check, identities

from reactord.ipc import inbox as module
from reactord.ipc.inbox import Inbox


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


def test_claimed_files_that_nobody_journalled_come_in_after_a_restart(inbox, home, monkeypatch):
    drop(home, "x", "a")
    monkeypatch.setattr(inbox.journal, "append", lambda entries: deny())
    inbox.turn()
    assert len(names(home.claimed)) == 1
    assert inbox.intake.trouble

    again = restarted(inbox, time.time)
    again.turn()
    again.close()

    assert identities(home) == keys("a")
    assert names(home.claimed) == []


def test_what_is_not_ours_among_the_claimed_files_harms_nobody(inbox, home):
    for name in (".DS_Store", "a~b"):
        (home.claimed / name).write_text("?")
    drop(home, "x", "a")

    inbox.turn()

    assert inbox.intake.trouble is None
    assert identities(home) == keys("a")
    assert names(home.claimed) == [".DS_Store", "a~b"]


def test_a_file_with_a_long_name_and_no_ids_is_the_same_file_before_and_after_a_crash(inbox, home, monkeypatch):
    """A power cut can bring back a drop that was taken in: it must not become new records by then."""
    name = "experiences_" + "n" * 230 + ".json"
    (home.events / name).write_text("[{}]")
    inbox.turn()
    (home.events / name).write_text("[{}]")
    monkeypatch.setattr(inbox.journal, "append", lambda entries: deny())
    inbox.turn()
    again = restarted(inbox, time.time)
    again.turn()
    again.close()

    assert (check(home).pending, check(home).duplicates) == (1, 1)


def test_a_claimed_file_that_the_disk_cannot_read_keeps_nothing_else_waiting(inbox, home, clock, monkeypatch):
    for name in ("bad", "good"):
        drop(home, name, name)
    monkeypatch.setattr(inbox.journal, "append", lambda entries: deny())
    inbox.turn()
    assert len(names(home.claimed)) == 2
    bad, real = next(name for name in names(home.claimed) if "bad" in name), os.open

    def spoiled(path, *how, **more):
        if str(path).endswith(bad):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path, *how, **more)

    monkeypatch.setattr(os, "open", spoiled)
    again = restarted(inbox, clock)
    drop(home, "later", "later")
    again.turn()
    again.turn()

    assert sorted(identities(home)) == keys("good", "later")
    assert "Input/output error" in again.intake.trouble
    assert names(home.claimed) == [bad]
    again.close()
