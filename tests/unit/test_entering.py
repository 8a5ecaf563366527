"""Rows are entered beside whatever comes next, and whoever needs to know what they brought waits for them."""

from __future__ import annotations

import json
import sqlite3
import threading
import time

import pytest
from support.ledgers import Ledger, check, chunk, line

from reactord.ipc import batch as batch_module
from reactord.ipc.inbox import Inbox
from reactord.ledger import entering, staged
from reactord.ledger.journal import Journal, Place

ENDS = [Place(1, 100), Place(1, 200), Place(1, 300)]


@pytest.fixture
def ledger(home):
    made = Ledger(home)
    yield made
    made.close()


@pytest.fixture
def gate(monkeypatch):
    """Rows are entered beside us only when it is open."""
    gate, enter = threading.Event(), entering.enter

    def behind_the_gate(*arguments):
        assert gate.wait(10), "whoever could open it waits for these rows"
        return enter(*arguments)

    monkeypatch.setattr(entering, "enter", behind_the_gate)
    yield gate
    gate.set()


@pytest.fixture
def refusing(monkeypatch):
    """The disk is full for rows that are entered beside us."""

    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(entering, "enter", full)


def stage(index, n):
    index.stage([(Place(1, 100 * n + 10), chunk([line(str(n))], start=100 * n))], ENDS[n])


def test_more_is_journalled_while_rows_are_entered(home, monkeypatch, gate):
    monkeypatch.setattr(batch_module, "BATCH_FILES", 2)
    monkeypatch.setattr(staged, "ROWS", 2)
    appended, append = [], Journal.append

    def counted(self, entries):
        appended.append(len(entries))
        if len(appended) == 2:  # the rows of the first batch are on their way
            gate.set()
        return append(self, entries)

    monkeypatch.setattr(Journal, "append", counted)
    for n in range(6):
        (home.events / f"experiences_{n}.json").write_text(json.dumps([{"id": f"e{n}"}]))
    inbox = Inbox(home, lambda: time.time() + 60)
    inbox.turn()

    assert appended == [2, 2, 2]
    assert inbox.intake.trouble is None
    assert (inbox.intake.fresh, inbox.intake.last_seq) == (6, 6)
    inbox.close()
    assert check(home).pending == 6


def test_whoever_asks_waits_for_what_is_under_way(ledger, gate):
    stage(ledger.index, 0)
    ledger.index.begin()
    threading.Timer(0.1, gate.set).start()
    assert ledger.index.counts().received == 1
    assert ledger.index.cursor() == ENDS[0]


def test_a_flush_tells_what_all_have_brought_since_the_last_one(ledger):
    for n in (0, 1):
        stage(ledger.index, n)
        ledger.index.begin()
    stage(ledger.index, 2)
    assert (applied := ledger.index.flush()).new == applied.fresh == applied.last_seq == 3
    assert (ledger.index.flush().new, ledger.index.flush().last_seq) == (0, 3)


def test_what_failed_beside_us_is_told_once_and_remembered_until_all_is_staged_again(ledger, refusing, monkeypatch):
    index = ledger.index
    stage(index, 0)
    index.begin()
    with pytest.raises(sqlite3.OperationalError):
        index.counts()
    assert index.torn
    assert index.counts().received == 0
    stage(index, 1)
    index.unstage()
    assert not index.torn
    assert index.cursor() == Place(1, 0)
    monkeypatch.undo()
    for n in range(3):
        stage(index, n)
    index.begin()
    assert index.flush().last_seq == 3


def test_rows_behind_failed_ones_are_not_entered(ledger, refusing):
    index = ledger.index
    stage(index, 0)
    index.begin()
    stage(index, 1)
    with pytest.raises(sqlite3.OperationalError):
        index.begin()
    assert index.torn
    assert index.counts().received == 0


def test_an_ingest_that_ends_has_entered_what_was_under_way(ledger, gate):
    stage(ledger.index, 0)
    ledger.index.begin()
    threading.Timer(0.1, gate.set).start()
    ledger.index.close()
    with sqlite3.connect(ledger.index.path) as db:
        assert db.execute("SELECT count(*) FROM records").fetchone() == (1,)
    db.close()
