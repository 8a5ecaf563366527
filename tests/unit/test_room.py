from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from reactord.ipc.room import CRITICAL, GIB, LOW, Room


def _free(monkeypatch, free, size=1000 * GIB):
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=free, f_blocks=size, f_frsize=1))


@pytest.mark.parametrize(
    ("free", "size", "level"),
    [
        (2 * GIB, 1000 * GIB, "plenty"),
        (LOW[1] - 1, 1000 * GIB, "low"),
        (CRITICAL[1] - 1, 1000 * GIB, "critical"),
        (0, 1000 * GIB, "critical"),
        (600, 10_000, "plenty"),  # of a small disk a share
        (499, 10_000, "low"),
        (124, 10_000, "critical"),
    ],
)
def test_the_marks_are_a_share_of_a_small_disk_and_a_size_on_a_large_one(home, monkeypatch, free, size, level):
    room = Room(home.ledger)
    _free(monkeypatch, free, size)

    assert room.look() == level
    assert (room.trouble is None) == (level == "plenty")


def test_it_does_not_flap_at_the_mark(home, monkeypatch):
    room = Room(home.ledger)
    _free(monkeypatch, LOW[1] - 1)
    assert room.look() == "low"
    _free(monkeypatch, LOW[1] + 1)
    assert room.look() == "low"
    _free(monkeypatch, int(LOW[1] * 1.2))
    assert room.look() == "plenty"
