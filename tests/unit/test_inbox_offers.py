"""Whoever offers a body is told how many of its records are new, whatever else waits for the index."""

from __future__ import annotations

import errno
import json
import os
import time

import pytest
from support.disks import WatchedDisk

from reactord import durable
from reactord.ipc import inbox as inbox_module
from reactord.ipc.inbox import Inbox
from reactord.ledger import staged as staged_module


@pytest.fixture
def inbox(home, monkeypatch):
    monkeypatch.setattr(inbox_module, "TROUBLE_S", 0.0)
    made = Inbox(home, lambda: time.time() + 60)
    made.turn()
    yield made
    made.close()


def _offered(inbox, *identities):
    body = json.dumps([{"id": identity} for identity in identities]).encode()
    return inbox.offer("experiences", "body.json", body)


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_a_body_of_as_many_records_as_the_index_takes_at_once_is_counted_like_any_other(inbox, monkeypatch, rows):
    monkeypatch.setattr(staged_module, "ROWS", rows)
    first, second = _offered(inbox, "a", "b"), _offered(inbox, "b", "c", "d")
    inbox.turn()

    assert (first.result(0), second.result(0)) == (2, 2)
    assert inbox.intake.fresh == 4


def test_a_file_that_still_waits_for_the_index_is_not_counted_with_a_body(inbox, home):
    def refuse(_, call):
        if call == "unlink":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    (home.events / "experiences_1.json").write_text('[{"id": "dropped"}]')
    durable.disk = WatchedDisk(before=refuse)
    inbox.turn()
    assert inbox.intake.trouble
    durable.disk = durable.RealDisk()
    offered = _offered(inbox, "offered")
    inbox.turn()

    assert offered.result(0) == 1
    assert inbox.intake.fresh == 2
