"""When the bytes of decided records go: does the ledger still know everything that it must?"""

from __future__ import annotations

import pytest
from support.disks import FullDisk
from support.ledgers import Ledger, check, chunk, drop, dump, hexed, line, manifest, pending, refused

from reactord import durable
from reactord.ipc.inbox import Inbox
from reactord.ledger import compaction, journal, reading

LATER = 1e10


@pytest.fixture
def ledger(home, monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 1)  # every batch its own segment
    made = Ledger(home)
    yield made
    made.close()


def _fill(ledger):
    """Three segments; the first two are decided but for `d`."""
    ledger.add(chunk([line("a"), b"bad", line("b"), line("a")]), drop([{"id": "c"}, 9], packet="p"), refused("x.json"))
    ledger.add(chunk([line("d"), line("b"), line("e")], start=400, name="interactions_20261122.jsonl"))
    ledger.add(chunk([line("f")], start=900))
    made = manifest(100, train=map(hexed, "ab"), holdout=[hexed("c")], waiting=map(hexed, "df"), dull=[hexed("e")])
    made["upto"] = ledger.index.counts().last_seq
    ledger.index.take("d1", made)
    return made


def test_only_a_full_segment_without_a_pending_record_may_go(ledger):
    _fill(ledger)

    assert [ledger.index.may_compact(number) for number in (1, 2, 3)] == [True, False, False]


def test_nothing_goes_without_a_reason(ledger, home, monkeypatch):
    _fill(ledger)
    assert compaction.next_segment(home.journal, ledger.index, now=10.0) is None
    assert compaction.next_segment(home.journal, ledger.index, now=LATER) == 1
    monkeypatch.setattr(compaction, "KEEP_BYTES", 10)
    assert compaction.next_segment(home.journal, ledger.index, now=10.0) == 1


def test_the_same_counts_the_same_index_and_every_duplicate_known(ledger, home):
    made = _fill(ledger)
    before, waiting = ledger.index.counts(), list(reading.pending(home, 100))
    assert before.balanced

    compaction.compact(home.journal, ledger.index, 1)

    assert b'"user_input"' not in journal.segment_path(home.journal, 1).read_bytes()
    assert ledger.index.counts() == before
    again = ledger.rebuilt([("d1", made)])
    assert dump(again) == dump(ledger.index)
    assert again.counts() == before
    again.close()
    assert list(reading.pending(home, 100)) == waiting
    assert not ledger.index.may_compact(1), "once is enough"

    ledger.add(chunk([line("a"), line("c"), line("g")], start=2000))

    counts = ledger.index.counts()
    assert (counts.received, counts.duplicates) == (before.received + 3, before.duplicates + 2)
    assert pending(ledger.index) == [hexed("d"), hexed("f"), hexed("g")]


def test_a_disk_that_refuses_changes_nothing(ledger, home, monkeypatch):
    _fill(ledger)
    before, raw = dump(ledger.index), journal.segment_path(home.journal, 1).read_bytes()
    monkeypatch.setattr(durable, "disk", FullDisk())

    with pytest.raises(OSError, match="No space"):
        compaction.compact(home.journal, ledger.index, 1)

    assert dump(ledger.index) == before
    assert journal.segment_path(home.journal, 1).read_bytes() == raw


def test_a_crash_before_the_index_hears_of_it_leaves_a_ledger_that_balances(ledger, home, monkeypatch):
    made = _fill(ledger)
    before = ledger.index.counts()
    monkeypatch.setattr(type(ledger.index), "forget_places", lambda *_: None)
    compaction.compact(home.journal, ledger.index, 1)

    assert ledger.index.counts() == before
    again = ledger.rebuilt([("d1", made)])
    assert again.counts() == before
    again.close()


def test_the_ingest_does_it_by_itself(home, monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 1)
    monkeypatch.setattr(compaction, "KEEP_BYTES", 10)
    inbox = Inbox(home)
    for n in range(3):
        (home.telemetry / f"interactions_2026112{n}.jsonl").write_bytes(line(f"e{n}", user_input="secret") + b"\n")
        inbox.turn()
    ids = pending(inbox.index)
    made = manifest(2, train=ids[:2])
    inbox.index.take("d1", made)
    monkeypatch.setattr(inbox, "_tidy_at", 0.0)

    for _ in range(3):
        inbox.turn()

    assert [b"secret" in journal.segment_path(home.journal, n).read_bytes() for n in (1, 2, 3)] == [False, False, True]
    inbox.close()
    assert check(home, [("d1", made)]).received == 3
