"""When the bytes of decided records go: does the ledger still know everything that it must?"""

from __future__ import annotations

import pytest
from support.disks import FullDisk, WatchedDisk
from support.ledgers import Ledger, check, chunk, drop, dump, hexed, line, manifest, pending, refused

from reactord import durable
from reactord.ipc.inbox import Inbox
from reactord.ledger import compaction, journal, reading, staged

LATER = 1e10


@pytest.fixture
def ledger(home, monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 1)  # every batch its own segment
    made = Ledger(home)
    yield made
    made.close()


def _fill(ledger):
    """Three segments; the first two are decided but for `d`. Of one file only the first knows how far it was read."""
    once = chunk([line("a")], name="interactions_20261120.jsonl")
    odd = line("b", x=float("nan"))
    first = chunk([line("a"), b"bad", odd, line("a")]), drop([{"id": "c"}, 9], packet="p"), refused("x.json")
    ledger.add(*first, once)
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
    assert before.mended == {"NaN": 1}

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


def test_what_a_segment_said_is_durable_in_the_index_before_its_bytes_go(ledger, home, monkeypatch):
    """Else a power cut takes the index back to a place in the middle of bytes that are not there any more."""
    _fill(ledger)
    done, real = [], durable.sync_file
    monkeypatch.setattr(durable, "sync_file", lambda path: done.append(path.name) or real(path))
    monkeypatch.setattr(durable, "disk", WatchedDisk(before=lambda _, call: done.append(call)))

    compaction.compact(home.journal, ledger.index, 1)

    assert "index.db-wal" in done[: done.index("rename")]


def test_a_crash_before_the_index_hears_of_it_leaves_a_ledger_that_balances(ledger, home, monkeypatch):
    made = _fill(ledger)
    before = ledger.index.counts()
    monkeypatch.setattr(type(ledger.index), "forget_places", lambda *_: None)
    compaction.compact(home.journal, ledger.index, 1)

    assert ledger.index.counts() == before
    again = ledger.rebuilt([("d1", made)])
    assert again.counts() == before
    again.close()


def test_done_again_because_the_index_had_not_heard_of_it_nothing_is_forgotten(ledger, home, monkeypatch):
    made = _fill(ledger)
    with monkeypatch.context() as dying:
        dying.setattr(type(ledger.index), "forget_places", lambda *_: None)
        compaction.compact(home.journal, ledger.index, 1)

    assert compaction.next_segment(home.journal, ledger.index, now=LATER) == 1
    assert compaction.compact(home.journal, ledger.index, 1)

    again = ledger.rebuilt([("d1", made)])
    assert dump(again) == dump(ledger.index)
    again.close()


def test_records_are_numbered_in_the_order_of_their_entries_for_ever(ledger, home):
    """`Index._records_in` rests on it."""
    made = _fill(ledger)
    compaction.compact(home.journal, ledger.index, 1)
    ledger.add(drop([], name="empty.json"), chunk([line("a"), line("g"), line("d"), line("h")], start=2000))
    again = ledger.rebuilt([("d1", made)])

    for index in (ledger.index, again):
        entries = [entry for (entry,) in index.db.execute("SELECT entry FROM records ORDER BY seq")]
        assert entries == sorted(entries)
        places = index.db.execute("SELECT segment, offset FROM entries ORDER BY id").fetchall()
        assert places == sorted(places)
    again.close()


def test_what_is_compacted_stays_known_when_a_later_version_finds_more_in_what_came_before(ledger, home, monkeypatch):
    ledger.add(drop([{"id": "a"}], packet="p"))
    ledger.add(chunk([line("b"), line("c")], start=500))
    ledger.add(chunk([line("d")], start=900))
    ledger.index.take("d1", manifest(3, train=map(hexed, "bc"), waiting=[hexed("a")]))
    assert compaction.compact(home.journal, ledger.index, 2)
    real = staged._said
    monkeypatch.setattr(staged, "_said", lambda form, raw, where: [*real(form, raw, where), "one more"])

    again = ledger.rebuilt([])

    known = [identity for (identity,) in again.db.execute("SELECT identity FROM records ORDER BY seq")]
    assert known == [staged.key_of(name) for name in ("a", "one more", "b", "c", "d")]
    assert again.counts().balanced
    again.close()


# -- what cannot be compacted ------------------------------------------------------------------------------------------
@pytest.fixture
def compactor(ledger, home, monkeypatch):
    """Three segments, of which the first two are decided; what must be known of the first is too much."""
    ledger.add(chunk([line(f"a{n}") for n in range(50)]))
    ledger.add(chunk([line("b")], start=9000))
    ledger.add(chunk([line("c")], start=9900))
    ids = pending(ledger.index)
    ledger.index.take("d1", manifest(51, train=ids[:51]))
    monkeypatch.setattr(compaction, "MAX_RAW_BYTES", 1000)
    monkeypatch.setattr(compaction, "LOOK_EVERY_S", 0.0)
    return compaction.Compactor(home.journal)


def test_a_segment_of_which_too_much_must_be_known_stays_as_it_is_and_that_is_said(compactor, ledger, home, caplog):
    before, raw = dump(ledger.index), journal.segment_path(home.journal, 1).read_bytes()

    assert compaction.compact(home.journal, ledger.index, 1) is False

    assert "segment 1 stays as it is" in caplog.text
    assert (dump(ledger.index), journal.segment_path(home.journal, 1).read_bytes()) == (before, raw)


def test_it_is_passed_over_once_and_for_all_and_the_next_one_goes(compactor, ledger, home, caplog):
    for _ in range(4):
        compactor.turn(ledger.index, LATER)

    assert [ledger.index.may_compact(number) for number in (1, 2)] == [True, False]
    assert caplog.text.count("stays as it is") == 1
    assert compaction.next_segment(home.journal, ledger.index, LATER, passed_over={1}) is None


@pytest.mark.parametrize("why", ["too much", "a full disk"])
def test_after_one_that_could_not_be_compacted_there_is_a_pause(compactor, ledger, monkeypatch, why):
    monkeypatch.setattr(compaction, "LOOK_EVERY_S", 600.0)
    looks, real = [], compaction.next_segment
    monkeypatch.setattr(compaction, "next_segment", lambda *known: looks.append(1) or real(*known))
    if why == "a full disk":
        monkeypatch.setattr(compaction, "MAX_RAW_BYTES", 1 << 20)
        monkeypatch.setattr(durable, "disk", FullDisk())
        with pytest.raises(OSError, match="No space"):
            compactor.turn(ledger.index, LATER)
    for _ in range(5):
        compactor.turn(ledger.index, LATER)

    assert len(looks) == 1
    assert ledger.index.may_compact(1)


def test_what_a_life_of_ours_left_that_ended_in_the_middle_is_removed(compactor, ledger, home):
    left = durable.temporary_beside(journal.segment_path(home.journal, 1))
    left.write_bytes(b"half")

    compactor.turn(ledger.index, LATER)

    assert not left.exists()


# -- what a look costs -------------------------------------------------------------------------------------------------
def test_a_segment_of_which_the_index_knows_nothing_is_no_trouble(ledger, home):
    _fill(ledger)
    journal.segment_path(home.journal, 2).write_bytes(b"torn")
    ledger.index.db.execute("DELETE FROM entries WHERE segment = 2")

    assert ledger.index.newest_in(2) is None
    assert not ledger.index.may_compact(2)
    assert compaction.next_segment(home.journal, ledger.index, now=LATER) == 1


def test_no_record_is_looked_at_in_a_ledger_that_is_young_and_small(ledger, home):
    _fill(ledger)
    asked = _asked(ledger.index, lambda: compaction.next_segment(home.journal, ledger.index, now=10.0))

    assert asked
    assert not [query for query in asked if "records" in query]


def test_neither_the_look_nor_the_work_goes_through_all_records_or_all_entries(ledger, home):
    _fill(ledger)

    def look_and_work():
        assert compaction.compact(
            home.journal, ledger.index, compaction.next_segment(home.journal, ledger.index, LATER)
        )

    asked = _asked(ledger.index, look_and_work)
    assert any("UPDATE records" in query for query in asked)
    for query in asked:
        plan = [step[3] for step in ledger.index.db.execute(f"EXPLAIN QUERY PLAN {query}")]
        assert not [step for step in plan if "AUTOMATIC" in step or "TEMP B-TREE" in step], (query, plan)
        scanned = [step for step in plan if step.startswith("SCAN")]
        assert not [step for step in scanned if "records" in step or "entries" in step], (query, plan)


def _asked(index, work):
    """What SQLite was asked meanwhile."""
    asked = []
    index.db.set_trace_callback(asked.append)
    work()
    index.db.set_trace_callback(None)
    return [query for query in asked if query.split()[0] in ("SELECT", "UPDATE", "DELETE")]


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
    inbox.compactor.next_at = 0.0

    for _ in range(3):
        inbox.turn()

    assert [b"secret" in journal.segment_path(home.journal, n).read_bytes() for n in (1, 2, 3)] == [False, False, True]
    inbox.close()
    assert check(home, [("d1", made)]).received == 3


def test_a_batch_that_came_to_be_whole_though_its_fsync_failed_does_not_stop_a_rebuild(ledger, home):
    ledger.add(chunk([line("a")]))
    late, _ = journal.framed([chunk([line("x")], start=500)])
    with journal.segment_path(home.journal, 1).open("ab") as segment:
        segment.write(late)  # the index never heard of it: its sender's file was read again
    ledger.add(chunk([line("b")], start=900))
    ledger.add(chunk([line("c")], start=1200))
    made = manifest(100, train=[hexed("a"), hexed("b")], waiting=[hexed("c")])
    made["upto"] = ledger.index.counts().last_seq
    ledger.index.take("d1", made)
    compaction.compact(home.journal, ledger.index, 2)

    again = ledger.rebuilt([])

    assert sorted(pending(again)) == sorted(map(hexed, "axbc"))
    again.close()
