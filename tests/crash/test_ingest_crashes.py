from __future__ import annotations

import json
import os
import random

import orjson
import pytest
from crash.ingest_world import LostOrDoubled, Steps, fresh, make_bus, take_in, verify
from support.forked import DIED, run

from reactord import durable
from reactord.home import Home
from reactord.ipc import dropfile
from reactord.ipc.inbox import Inbox
from reactord.ledger import entering as entering_module
from reactord.ledger import index as index_module
from reactord.ledger import journal as journal_module
from reactord.ledger import staged as staged_module
from reactord.ledger.index import Index
from reactord.ledger.journal import Entry, Journal, Place


@pytest.fixture
def template(fast_dir):
    home = Home(fast_dir / "template")
    make_bus(home)
    return home.root


@pytest.fixture
def undisturbed(template, fast_dir):
    """Of an undisturbed life: its steps, the most batches that wait for the index, how often it enters some."""
    root = fresh(template, fast_dir / "undisturbed").root
    assert run(take_in, root, Steps()) == 0
    verify(Home(root))
    return json.loads((root / "steps").read_text())


@pytest.fixture
def steps(undisturbed):
    return undisturbed[0]


def _lives(template, root, deaths, mutate=lambda: None):
    """Live and die as often as told, then live to the end; the ledger is checked by the real code."""
    home = fresh(template, root)
    died = 0
    for death in deaths:
        status = run(take_in, root, death, mutate)
        assert status in (0, DIED)
        died += status == DIED
    if run(take_in, root, Steps(), mutate) != 0:
        raise LostOrDoubled("the next start does not come to its end")
    verify(home)
    return died


def test_some_of_these_steps_come_while_several_batches_wait_for_the_index(undisturbed):
    _, waited, entered = undisturbed

    assert waited >= 3
    assert entered >= 2


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_process_that_dies_at_any_step_loses_nothing_and_doubles_nothing(template, fast_dir, steps, before):
    died = sum(_lives(template, fast_dir / "home", [Steps(n, before=before)]) for n in range(1, steps + 1))

    assert died == steps > 50


def test_a_process_that_dies_again_and_again_while_it_recovers_loses_nothing(template, fast_dir, steps):
    rng, died = random.Random(7), 0
    for _ in range(40):
        deaths = [Steps(rng.randint(1, steps), before=rng.random() < 0.5) for _ in range(rng.randint(2, 4))]
        died += _lives(template, fast_dir / "home", deaths)

    assert died > 60


# -- the same sweep over a daemon with a planted mistake must find it --------------------------------------------------
def _unlink_before_the_journal():
    real = Inbox._commit

    def commit(self, batch):
        self._dispose_all(batch.claimed)
        batch.claimed.clear()
        return real(self, batch)

    Inbox._commit = commit


def _no_dedupe():
    staged_module.key_of = lambda identity: int.from_bytes(os.urandom(8), "little", signed=True)


def _index_before_the_journal():
    def commit(self, batch):
        if self._behind:
            self._catch_up()
        if self.journal._descriptor is None or self.journal._size >= journal_module.SEGMENT_BYTES:
            self.journal._next_segment()
        segment, start = self.journal._segment, self.journal._size
        written, offsets = journal_module.framed(batch.entries)
        places = [Place(segment, start + offset) for offset in offsets]
        self.index.stage(zip(places, batch.entries, strict=True), Place(segment, start + len(written)))
        self._flush()
        self.journal.append(batch.entries)
        self._dispose_all(batch.claimed)

    Inbox._commit = commit


def _no_tail_recovery():
    def reopen(self, end):
        path = journal_module.segment_path(self.directory, end.segment)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._segment, self._size = end.segment, os.fstat(self._descriptor).st_size

    Journal.open = reopen


def _one_write_call():
    durable.write_all = lambda descriptor, data: durable.disk.write(descriptor, data)  # noqa: PLW0108 - the disk of then


def _no_checksum():
    def read_batch(file, segment):
        entries = []
        while header := journal_module._ENTRY.fullmatch(file.readline()):
            place = Place(segment, file.tell())
            entries.append((place, Entry(orjson.loads(header[2]), file.read(int(header[1]) + 1)[:-1])))
        return (entries, Place(segment, file.tell())) if entries else None

    journal_module._read_batch = read_batch


def _no_catching_up():
    Inbox._catch_up = lambda self: self.index.cursor()


def _cursor_saved_before_the_records():
    """The index says that it has read what is only staged: who starts again does not read it any more."""
    real = Index.stage

    def stage(self, batch, end):
        full = real(self, batch, end)
        self.db.execute("INSERT OR REPLACE INTO cursor VALUES (1, ?, ?)", (end.segment, end.offset))
        return full

    Index.stage = stage


def _rows_let_go():
    """The files are unlinked, and the index lets go of what is staged of them without a word (but of no tail)."""
    real = entering_module.enter

    def enter(db, staged):
        return real(db, staged) if staged.tails else entering_module.Applied(last_seq=entering_module.last_seq(db))

    entering_module.enter = index_module.enter = enter


def _claimed_files_forgotten():
    Inbox._finish_claimed = lambda self: None


def _unread():
    dropfile._read = lambda descriptor, size: b"[]" + b" " * (size - 2)


CRASHES_TELL = [
    _unlink_before_the_journal, _index_before_the_journal, _no_tail_recovery, _no_checksum, _no_catching_up,
    _claimed_files_forgotten, _cursor_saved_before_the_records,
]  # fmt: skip


@pytest.mark.parametrize("mistake", CRASHES_TELL)
def test_the_sweep_finds_a_daemon_that_makes_a_mistake_which_only_a_crash_shows(
    mistake, template, fast_dir, steps, capfd
):
    _lives(template, fast_dir / "home", [], mistake)  # without a crash nothing is wrong with it
    for n in range(1, steps + 1):
        for before in (True, False):
            try:
                _lives(template, fast_dir / "home", [Steps(n, before=before)], mistake)
            except LostOrDoubled:
                return
    pytest.fail("nothing was lost or doubled: the sweep is blind to this mistake")


@pytest.mark.parametrize("mistake", [_no_dedupe, _one_write_call, _unread, _rows_let_go])
def test_a_daemon_that_loses_or_doubles_without_a_crash_is_found_at_once(mistake, template, fast_dir, capfd):
    with pytest.raises(LostOrDoubled):
        _lives(template, fast_dir / "home", [], mistake)
