"""Does a daemon that cannot start yet wait and say why?"""

from __future__ import annotations

import errno
import sqlite3
from types import SimpleNamespace

import pytest

from reactord import daemon


@pytest.mark.parametrize(
    "trouble", [OSError(errno.ENOSPC, "No space left on device"), sqlite3.OperationalError("database or disk is full")]
)
async def test_a_full_disk_at_the_start_is_waited_for_and_told(monkeypatch, trouble):
    monkeypatch.setattr(daemon, "RETRY_S", 0.0)
    public = SimpleNamespace(trouble=None)
    said = []

    def do():
        said.append(public.trouble)
        if len(said) < 3:
            raise trouble
        return "done"

    assert await daemon._patiently(public, do) == "done"
    assert said[0] is None
    assert str(trouble) in said[2]


async def test_what_waiting_cannot_mend_is_not_waited_for():
    def do():
        raise NotADirectoryError(errno.ENOTDIR, "Not a directory")

    with pytest.raises(NotADirectoryError):
        await daemon._patiently(SimpleNamespace(trouble=None), do)
