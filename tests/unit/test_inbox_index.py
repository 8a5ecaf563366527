"""Is the index disposable: does it catch up with the journal, and is it made anew when it is damaged?"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import pytest
from support.inboxes import Skewed, append, drop, keys, names, restarted
from support.ledgers import check, identities, line

from reactord.errors import EnvironmentTrouble
from reactord.ipc import inbox as module
from reactord.ipc.inbox import Inbox
from reactord.ledger.index import Index


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


def _fail_once(monkeypatch, inbox):
    real, left = Index.flush, [1]

    def flush(self):
        if left and self._staged is not None:
            left.pop()
            self.unstage()  # as the real one does
            raise sqlite3.OperationalError("database or disk is full")
        return real(self)

    monkeypatch.setattr(Index, "flush", flush)


@pytest.mark.parametrize("then", ["a turn", "an offer", "a restart"])
def test_an_index_that_fell_behind_the_journal_catches_up_before_anything_else_is_entered(
    inbox, home, clock, monkeypatch, then
):
    inbox.open()
    drop(home, "x", "a")
    append(home, line("b"))
    _fail_once(monkeypatch, inbox)
    first = inbox.offer("experiences", "job-1", b'[{"id": "c"}]')
    second = inbox.offer("experiences", "job-2", b'[{"id": "d"}]') if then == "an offer" else None
    inbox.turn()
    with pytest.raises(sqlite3.OperationalError):
        first.result(0)
    if then == "a restart":
        inbox = restarted(inbox, clock)

    inbox.turn()
    inbox.close()

    assert second is None or second.result(0) == 1
    expected = ["a", "b", "c", "d"] if then == "an offer" else ["a", "b", "c"]
    assert sorted(identities(home)) == keys(*expected)
    assert check(home).duplicates == 0
    assert names(home.claimed) == []


def _overwrite(path):
    path.write_bytes(b"this is no database at all" * 400)


def _cut(path):
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def _scribble(path):
    raw = bytearray(path.read_bytes())
    for page in range(4096, len(raw), 4096):
        raw[page : page + 2000] = os.urandom(2000)
    path.write_bytes(raw)


@pytest.mark.parametrize("damage", [_overwrite, _cut, _scribble])
@pytest.mark.parametrize("when", ["at rest", "while running"])
def test_a_damaged_index_is_set_aside_and_rebuilt_from_the_journal(inbox, home, clock, damage, when):
    append(home, *(line(f"e{n}") for n in range(800)))
    drop(home, "x", "a")
    inbox.turn()
    before = inbox.index.counts()
    inbox.index.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if when == "at rest":
        inbox = restarted(inbox, clock)
        for suffix in ("-wal", "-shm"):
            (home.ledger / f"index.db{suffix}").unlink(missing_ok=True)
        damage(home.index_db)
    else:
        damage(home.index_db)
        inbox.index.db.execute("PRAGMA cache_size=0")
    append(home, line("after"))
    drop(home, "y", "b")

    for _ in range(4):
        inbox.turn()

    assert inbox.intake.trouble is None
    assert [name for name in names(home.ledger) if ".damaged-" in name]
    inbox.close()
    assert check(home).pending == before.pending + 2


def test_a_call_that_meets_the_damage_is_told_to_ask_again(inbox, home):
    inbox.open()

    def hit():
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    asked = inbox.call(hit)
    inbox.turn()
    assert not inbox.intake.ready
    with pytest.raises(EnvironmentTrouble, match="ask again"):
        asked.result(0)
    again = inbox.call(lambda: 1)
    inbox.turn()

    assert again.result(0) == 1
    assert inbox.intake.ready
