"""What the journal has and the index refused once is entered later, and everything that follows from it follows."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from pathlib import Path

import pytest
from support.ledgers import check, line

from reactord.ipc import batch as batch_module
from reactord.ipc import inbox as inbox_module
from reactord.ipc.inbox import Inbox
from reactord.ledger import entering as entering_module
from reactord.ledger import index as index_module
from reactord.ledger import staged as staged_module
from reactord.ledger.index import Index

SAMPLES = Path(__file__).parents[1] / "samples"


def _refuse(monkeypatch, step, nth=1):
    """The index refuses its n-th `step`, as on a full disk, and takes every other one: `stage`, or `enter` of rows."""
    places = (Index,) if step == "stage" else (index_module, entering_module)
    real, done = getattr(places[0], step), []

    def refusing(*arguments):
        done.append(step)
        if len(done) == nth:
            if step == "stage":
                arguments[0].unstage()
            raise sqlite3.OperationalError("database or disk is full")
        return real(*arguments)

    for place in places:
        monkeypatch.setattr(place, step, refusing)


@pytest.fixture
def opened(home, monkeypatch):
    """An ingest that has nothing to do yet."""
    monkeypatch.setattr(inbox_module, "TROUBLE_S", 0.0)
    made = Inbox(home, lambda: time.time() + 60)
    made.turn()
    yield made
    made.close()


@pytest.fixture(params=["stage", "enter"])
def inbox(opened, request, monkeypatch):
    """Its index refuses the next batch."""
    _refuse(monkeypatch, request.param)
    return opened


def _drop(home, name, document):
    (home.events / name).write_text(json.dumps(document))


def _turns(inbox):
    for _ in range(4):
        inbox.turn()
    assert inbox.intake.trouble is None


def _books(inbox):
    """The counts of an ingest that has ended."""
    inbox.close()
    return check(inbox.home)


def test_records_that_come_in_late_are_counted_as_fresh(inbox, home):
    _drop(home, "experiences_1.json", [{"id": "a"}, {"id": "b"}])
    _turns(inbox)
    _drop(home, "experiences_2.json", [{"id": "c"}])
    _turns(inbox)

    assert inbox.intake.fresh == 3


def test_a_file_that_a_late_event_names_is_read(inbox, home):
    named = home.root / "named.jsonl"
    named.write_text(json.dumps({"experience_id": "n"}) + "\n")
    payload = {"data_path": str(named), "sample_count": 1}
    _drop(home, "5_1_p.json", {"event_id": "e", "event_type": "data_batch_ready", "payload": payload})
    _turns(inbox)

    assert inbox.index.counts().pending == 1


def test_news_that_come_in_late_are_told(inbox, home):
    news = home.root / "reactor_events"
    news.mkdir()
    shutil.copyfile(SAMPLES / "curriculum" / "good-curriculum.json", news / "curriculum_1.json")
    _turns(inbox)

    assert inbox.intake.notices


def test_lines_are_not_read_twice_when_they_come_in_late(inbox, home):
    (home.telemetry / "interactions_20261121.jsonl").write_bytes(line() + b"\n" + line("a") + b"\n")
    _turns(inbox)

    counts = _books(inbox)
    assert (counts.received, counts.pending, counts.duplicates) == (2, 2, 0)


@pytest.mark.parametrize(("step", "nth"), [*(("stage", n) for n in range(1, 8)), *(("enter", n) for n in range(1, 4))])
def test_of_many_batches_that_wait_together_none_is_lost_whichever_the_index_refuses(
    opened, home, monkeypatch, step, nth
):
    monkeypatch.setattr(batch_module, "BATCH_FILES", 2)
    monkeypatch.setattr(staged_module, "ROWS", 5)
    for n in range(12):
        _drop(home, f"experiences_{n:02}.json", [{"n": n}])
    (home.telemetry / "interactions_20261121.jsonl").write_bytes(line() + b"\n" + line("a") + b"\n")
    _refuse(monkeypatch, step, nth)
    _turns(opened)

    assert opened.intake.fresh == 14
    counts = _books(opened)
    assert (counts.received, counts.pending, counts.duplicates) == (14, 14, 0)
    assert not [*home.events.iterdir(), *home.claimed.iterdir()]


def test_a_body_that_the_index_refused_is_entered_before_anything_that_comes_later(inbox, home):
    body = inbox.offer("experiences", "body.json", b'[{"id": "offered"}]')
    inbox.turn()
    with pytest.raises(sqlite3.OperationalError):
        body.result(timeout=0)
    _drop(home, "experiences_1.json", [{"id": "dropped"}])
    _turns(inbox)

    assert inbox.intake.fresh == 2
    assert _books(inbox).pending == 2


def test_a_body_that_the_index_refused_is_entered_though_nothing_comes_later(inbox, home):
    inbox.offer("experiences", "body.json", b'[{"id": "offered"}]')
    _turns(inbox)

    assert inbox.index.counts().pending == 1


def test_a_batch_that_is_refused_in_the_middle_of_catching_up_is_not_forgotten(opened, home, monkeypatch):
    monkeypatch.setattr(batch_module, "BATCH_FILES", 1)
    for n in range(3):
        _drop(home, f"experiences_{n}.json", [{"n": n}])
    _refuse(monkeypatch, "enter")
    opened.turn()
    assert opened.intake.trouble
    monkeypatch.setattr(staged_module, "ROWS", 1)  # what waits is entered in three parts now
    _refuse(monkeypatch, "stage", 2)
    _drop(home, "experiences_later.json", [{"n": 9}])
    _turns(opened)

    assert opened.intake.fresh == 4
    assert _books(opened).pending == 4


def test_what_follows_from_a_flush_follows_though_the_index_could_not_be_read_after_it(opened, home, monkeypatch):
    real, left = Index.untold, ["once"]

    def untold(self):
        if left:
            raise sqlite3.OperationalError(f"disk I/O error, {left.pop()}")
        return real(self)

    monkeypatch.setattr(Index, "untold", untold)
    news, named = home.root / "reactor_events", home.root / "named.jsonl"
    news.mkdir()
    shutil.copyfile(SAMPLES / "curriculum" / "good-curriculum.json", news / "curriculum_1.json")
    named.write_text(json.dumps({"experience_id": "n"}) + "\n")
    payload = {"data_path": str(named), "sample_count": 1}
    _drop(home, "5_1_p.json", {"event_id": "e", "event_type": "data_batch_ready", "payload": payload})
    _drop(home, "experiences_1.json", [{"id": "a"}])
    _turns(opened)

    assert opened.intake.notices
    assert opened.intake.fresh == opened.index.counts().pending == 2
