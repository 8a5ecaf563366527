"""Rows of Prime's database come in once, whatever happens to it meanwhile."""

from __future__ import annotations

import json
import os
import sqlite3
import tracemalloc
from contextlib import closing

import pytest
from support.ledgers import check, line

from reactord.ipc import inbox as module
from reactord.ipc import rows
from reactord.ipc.inbox import Inbox

CORRECTION = {
    "correction_id": "c1", "original_prompt": "2+2?", "original_response": "5", "corrected_response": "4",
    "correction_type": "factual_error", "timestamp": 1795281245.0,
}  # fmt: skip
TURNS = [{"role": "user", "content": "Capital of France?"}, {"role": "assistant", "content": "Paris."}]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(module, "TROUBLE_S", 0.0)


@pytest.fixture
def inbox(home):
    made = Inbox(home)
    yield made
    made.close()


def _write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def _received(inbox):
    inbox.turn()
    return inbox.index.counts().received


def _conversations(home, data="data TEXT"):
    path = home.root / "training_data" / "conversations.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(
        f"CREATE TABLE conversations(id TEXT PRIMARY KEY, {data}, category TEXT, quality_score REAL,"
        " quality_level TEXT, source TEXT, created_at TEXT, processed INTEGER, exported INTEGER)"
    )
    return db


def _say(db, identity, score):
    data = json.dumps({"turns": TURNS, "tags": [identity]})
    db.execute(
        "INSERT OR REPLACE INTO conversations VALUES (?,?,?,?,?,?,?,0,0)",
        (identity, data, "general", score, "high", "chat", "2026-11-21T00:00:00"),
    )


def test_rows_are_taken_once_they_have_a_score_and_only_good_ones(inbox, home):
    with closing(_conversations(home)) as db:
        _say(db, "good", 0.9)
        _say(db, "raw", 0.0)
        _say(db, "poor", 0.3)
        _say(db, "later", 0.8)
        assert _received(inbox) == 2
        assert _received(inbox) == 2
        db.execute("UPDATE conversations SET quality_score = 0.7 WHERE id = 'raw'")
        assert _received(inbox) == 3
        _say(db, "newest", 0.6)
        assert _received(inbox) == 4
    inbox.close()
    again = Inbox(home)
    assert _received(again) == 4, "a restart reads nothing twice"
    again.close()
    assert check(home).duplicates == 0


def test_rows_of_any_size_and_number_are_taken_in_turns_and_a_huge_one_is_counted(inbox, home, monkeypatch):
    monkeypatch.setattr(rows, "BATCH_BYTES", 2000)
    monkeypatch.setattr(rows.dropfile, "MAX_FILE_BYTES", 5000)
    with closing(_conversations(home)) as db:
        db.execute("BEGIN")
        for n in range(900):
            _say(db, f"{n:04d}", 0.9 if n % 3 else 0.0)
        data = json.dumps({"turns": [*TURNS, {"role": "user", "content": "x" * 6000}]})
        db.execute("INSERT INTO conversations(id, data, quality_score) VALUES ('huge', ?, 0.9)", (data,))
        db.execute("COMMIT")

        inbox.turn()

        counts = inbox.index.counts()
        assert (counts.pending, sum(counts.rejected.values()), counts.duplicates) == (600, 1, 0)
        assert inbox.intake.trouble is None


@pytest.mark.parametrize("data", [7, 0.5, b"\xff{}", b"", None], ids=repr)
def test_a_row_may_hold_anything_and_keeps_no_other_one_waiting(inbox, home, data):
    with closing(_conversations(home, data="data")) as db:
        db.execute("INSERT INTO conversations(id, data, quality_score) VALUES ('odd', ?, 0.9)", (data,))
        _say(db, "good", 0.9)

        inbox.turn()

    counts = inbox.index.counts()
    assert (counts.pending, sum(counts.rejected.values())) == (1, 1)
    assert inbox.intake.trouble is None


def test_a_byte_that_is_no_utf_8_is_replaced_and_keeps_no_row_waiting(inbox, home):
    with closing(_conversations(home)) as db:
        _say(db, "good", 0.9)
        db.execute("UPDATE conversations SET category = CAST(x'ff41' AS TEXT)")

        assert _received(inbox) == 1

    assert inbox.intake.trouble is None
    assert '"category":"\ufffdA"'.encode() in (home.journal / "000001.log").read_bytes()


def test_a_row_with_a_huge_value_in_any_column_does_not_fill_the_journal(inbox, home, monkeypatch):
    monkeypatch.setattr(rows.dropfile, "MAX_FILE_BYTES", 5000)
    with closing(_conversations(home)) as db:
        _say(db, "good", 0.9)
        db.execute("UPDATE conversations SET source = ?", ("x" * 6000,))

        assert _received(inbox) == 1

    assert (home.journal / "000001.log").stat().st_size < 5000


def test_what_rows_say_that_still_wait_is_not_kept_in_memory(home):
    with closing(_conversations(home)) as db:
        for n in range(50):
            _say(db, f"{n}", 0.0)
        db.execute("UPDATE conversations SET source = ?", ("x" * 100_000,))
        tracemalloc.start()
        with closing(rows.opened(home.root / "training_data" / "conversations.db")) as reader:
            found = rows._rows(reader, 0, set())
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()

    assert len(found) == 50
    assert held < 1_000_000


def _vacuum(db):
    db.execute("DELETE FROM conversations WHERE id < 'old3'")
    db.execute("VACUUM")


def _all_away(db):
    db.execute("DELETE FROM conversations")


def _last_away(db):
    db.execute("DELETE FROM conversations WHERE id = 'old4'")


@pytest.mark.parametrize("new", [1, 3, 5, 9])
@pytest.mark.parametrize("change", [_vacuum, _all_away, _last_away])
def test_a_number_that_is_given_out_again_hides_no_row(inbox, home, change, new):
    """The newest is replaced by one of the same number, or by fewer, as many, or more than there were."""
    with closing(_conversations(home)) as db:
        for n in range(5):
            _say(db, f"old{n}", 0.9)
        assert _received(inbox) == 5
        change(db)
        for n in range(new):
            _say(db, f"new{n}", 0.9)

        inbox.turn()
        inbox.turn()

    inbox.close()
    assert check(home).pending == 5 + new


def test_rows_that_are_replaced_or_deleted_behind_the_mark_are_no_reason_to_read_all_again(inbox, home):
    with closing(_conversations(home)) as db:
        for n in range(5):
            _say(db, f"old{n}", 0.9)
        inbox.turn()
        _say(db, "waits", 0.0)
        _say(db, "old4", 0.9)  # the mark, under another number now
        db.execute("DELETE FROM conversations WHERE id = 'old1'")

        assert _received(inbox) == 6, "the one that was replaced, and no other"


def test_a_database_that_cannot_be_read_now_is_read_at_the_next_look(inbox, home, monkeypatch):
    with closing(_conversations(home)) as db:
        _say(db, "good", 0.9)
        monkeypatch.setattr(rows, "BUSY_MS", 0)
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("BEGIN EXCLUSIVE")
        assert _received(inbox) == 0
        assert "tried again at the next look" in inbox.intake.trouble
        db.execute("ROLLBACK")

    assert _received(inbox) == 1, "although it has not changed"


def test_a_database_that_is_none_is_a_trouble_and_keeps_nothing_else_waiting(inbox, home):
    path = home.root / "training_data" / "conversations.db"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"garbage" * 500)
    (home.telemetry / "interactions_20261121.jsonl").write_bytes(line("a") + b"\n")

    assert _received(inbox) == 1
    assert "conversations.db" in inbox.intake.trouble


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/etc/passwd"), os.mkdir])
@pytest.mark.parametrize("suffix", ["", "-wal", "-journal"])
def test_a_database_that_is_no_plain_file_is_never_opened_and_keeps_nothing_else_waiting(inbox, home, make, suffix):
    with closing(_conversations(home)) as db:
        _say(db, "good", 0.9)
    path = home.root / "training_data" / "conversations.db"
    if not suffix:
        path.unlink()
    make(path.with_name(f"{path.name}{suffix}"))
    (home.telemetry / "interactions_20261121.jsonl").write_bytes(line("a") + b"\n")

    assert _received(inbox) == 1, "a pipe would be waited for"
    assert "not a regular file" in inbox.intake.trouble
