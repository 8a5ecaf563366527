"""Does a file come in as it is when it is claimed, whatever its writer does between the look and the claim?"""

from __future__ import annotations

import errno
from contextlib import closing
from pathlib import Path

import pytest
from support.disks import WatchedDisk
from support.inboxes import Skewed, drop, keys, names
from support.ledgers import identities
from support.writers import begin

from reactord import durable
from reactord.ipc import inbox as module
from reactord.ipc.handful import Handful
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


@pytest.fixture(params=["by the handful", "one by one"])
def meanwhile(request, monkeypatch):
    """Do something between the look at a file and its claim, once."""
    todo = []

    def before(real, path_of):
        def claim(*arguments):
            if todo:
                todo.pop()(path_of(*arguments))
            return real(*arguments)

        return claim

    if request.param == "one by one":
        monkeypatch.setattr(durable, "disk", WatchedDisk())
        monkeypatch.setattr(durable, "claim", before(durable.claim, lambda source, target: Path(source)))
    else:
        monkeypatch.setattr(Handful, "claim", before(Handful.claim, lambda files, target: Path(*files.waiting[0][1:])))
    return todo.append


def test_a_file_that_is_rewritten_between_the_look_and_the_claim_comes_in_as_it_is_then(inbox, home, meanwhile):
    drop(home, "x", "old")
    waiting = []
    new = '[{"id": "new"}, {"id": "newer"}]'
    meanwhile(lambda path: waiting.append(begin(lambda: path.write_text(new))))

    inbox.turn()
    waiting[0].join()
    inbox.turn()

    assert sorted(identities(home)) == keys("new", "newer")
    assert names(home.claimed) == []


def test_a_writer_who_opens_the_file_between_the_look_and_the_claim_loses_nothing(inbox, home, meanwhile):
    path, waiting, writers = drop(home, "x", "old"), [], []
    meanwhile(lambda source: waiting.append(begin(lambda: writers.append(source.open("r+b")))))

    inbox.turn()
    waiting[0].join()
    writers[0].write(b'[{"id": "written after the claim"}]')
    inbox.turn()
    assert inbox.index.counts().received == 0
    writers[0].close()
    inbox.turn()

    assert identities(home) == keys("written after the claim")
    assert not path.exists()


def test_a_file_that_is_gone_before_the_claim_is_nothing(inbox, home, meanwhile):
    drop(home, "x", "a")
    meanwhile(lambda path: path.unlink())

    inbox.turn()

    assert inbox.index.counts().received == 0
    assert inbox.intake.trouble is None


def test_a_file_that_became_garbage_before_the_claim_is_quarantined_when_it_has_been_quiet(
    inbox, home, clock, meanwhile
):
    drop(home, "x", "a")
    waiting = []
    meanwhile(lambda path: waiting.append(begin(lambda: path.write_text("garbage"))))
    inbox.turn()
    waiting[0].join()
    inbox.turn()
    assert inbox.index.counts().received == 0

    clock.ahead_s = 10
    inbox.turn()

    assert len(names(home.quarantine)) == 2
    assert names(home.claimed) == []


class Stuck(durable.RealDisk):
    """One name cannot be taken away."""

    @staticmethod
    def unlink(path):
        if "stuck" in str(path):
            raise OSError(errno.EIO, "Input/output error", str(path))
        Path(path).unlink()


def test_a_claimed_file_that_cannot_be_unlinked_keeps_nothing_else_waiting(inbox, home, monkeypatch):
    real = durable.disk
    monkeypatch.setattr(durable, "disk", Stuck())
    for name in ("before", "stuck", "with"):
        drop(home, name, name)
    for _ in range(3):
        inbox.turn()
    drop(home, "later", "later")
    for _ in range(3):
        inbox.turn()

    assert inbox.intake.fresh == 4
    assert "stuck" in inbox.intake.trouble
    [left] = names(home.claimed)
    assert "stuck" in left
    monkeypatch.setattr(durable, "disk", real)
    inbox.turn()
    inbox.turn()
    assert (names(home.claimed), inbox.intake.trouble) == ([], None)
