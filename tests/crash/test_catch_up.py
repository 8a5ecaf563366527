"""What the journal has and the index refused once is entered later, and everything that follows from it follows."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from reactord.ipc import inbox as inbox_module
from reactord.ipc.inbox import Inbox
from reactord.ledger.index import Index

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture
def inbox(home, monkeypatch):
    """Its index refuses the next batch, as on a full disk, and takes every later one."""
    monkeypatch.setattr(inbox_module, "TROUBLE_S", 0.0)
    made = Inbox(home, lambda: time.time() + 60)
    made.turn()
    real, left = Index.apply, ["once"]

    def apply(self, batch, end):
        if left:
            raise sqlite3.OperationalError(f"database or disk is full, {left.pop()}")
        return real(self, batch, end)

    monkeypatch.setattr(Index, "apply", apply)
    yield made
    made.close()


def _drop(home, name, document):
    (home.events / name).write_text(json.dumps(document))


def _turns(inbox):
    for _ in range(4):
        inbox.turn()
    assert inbox.intake.trouble is None


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
