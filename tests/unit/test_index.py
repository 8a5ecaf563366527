from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from support.ledgers import Ledger, chunk, drop, dump, hexed, line, manifest, pending, refused

from reactord.errors import Conservation
from reactord.home import Home
from reactord.ledger import counts as counting
from reactord.ledger import reading
from reactord.ledger.index import SHAPE, Index
from reactord.ledger.journal import Entry, Place


@pytest.fixture
def ledger(home):
    made = Ledger(home)
    yield made
    made.close()


def test_a_new_ledger_is_empty_and_balanced(ledger):
    counts = ledger.index.counts()

    assert (counts.received, counts.pending, counts.duplicates, counts.last_seq) == (0, 0, 0, 0)
    assert counts.balanced
    assert ledger.index.cursor() == Place(1, 0)


def test_the_second_arrival_is_a_counted_duplicate_by_whatever_door(ledger):
    assert ledger.add(chunk([line("a"), line("b")])) == 2
    assert ledger.add(chunk([line("b")], start=500), drop([{"id": "a"}, {"id": "c"}, {"id": "c"}])) == 1

    counts = ledger.index.counts()
    assert (counts.received, counts.pending, counts.duplicates) == (6, 3, 3)
    assert counts.balanced


def test_refused_parts_are_counted_by_their_reason_and_reported_with_their_place(ledger):
    lines = [line("a"), b"{broken", line("b"), b"[1]", b"", b"  "]
    ledger.add(chunk(lines), drop([{"id": "c"}, 7]), refused("x.json"))

    counts = ledger.index.counts()
    assert counts.pending == 3
    assert counts.rejected == {"not JSON": 2, "a JSON object is expected here": 1,
                               "experience_not_an_object": 1}  # fmt: skip
    assert counts.balanced
    cut = [entry.raw[offset : offset + length] for entry, offset, length, _ in ledger.refusals]
    assert cut[:2] == [b"{broken", b"[1]"]


def test_a_reason_is_a_key_and_not_the_bytes_that_caused_it(ledger):
    ledger.add(refused("x.json", "not JSON: unexpected character at column 7 of <secret>"))

    assert list(ledger.index.counts().rejected) == ["not JSON"]


def test_a_batch_is_entered_whole_or_not_at_all(ledger):
    before = dump(ledger.index)
    bad = Entry({"format": "telemetry"}, b"")  # a bug of ours, not of a sender: no `where`
    with pytest.raises(KeyError):
        ledger.index.apply([(Place(1, 0), chunk([line("a")])), (Place(1, 9), bad)], Place(1, 99))

    assert dump(ledger.index) == before


def test_a_document_that_this_version_no_longer_reads_is_a_refusal_and_the_journal_stays_readable_to_its_end(ledger):
    old = Entry({"format": "experiences", "name": "a", "at": 1.0, "where": "a"}, b'{"format": "of another day"}')

    assert ledger.add(old, chunk([line("a")])) == 2
    assert ledger.index.counts().rejected == {"experiences is missing": 1}


def test_an_index_rebuilt_from_the_journal_and_the_manifests_is_the_same_index(ledger):
    ledger.add(chunk([line("a"), b"bad", line()]), drop([{"id": "a"}, {"x": 1}, 3], packet="p"))
    ledger.add(refused("x.json"))
    first = pending(ledger.index)
    one = manifest(4, train=first[:1], holdout=first[1:2], waiting=first[2:])
    ledger.index.take("d1", one)
    ledger.add(chunk([line("b"), line("a")], start=77, name="interactions_20261122.jsonl"))
    second = pending(ledger.index)
    two = manifest(100, train=second[:1], too_old=second[1:])
    ledger.index.take("d2", two)

    again = ledger.rebuilt([("d1", one), ("d2", two)])

    assert dump(again) == dump(ledger.index)
    assert again.counts() == ledger.index.counts()
    again.close()


def test_every_pending_record_is_read_back_from_the_journal_as_it_was_sent(ledger, home):
    ledger.add(chunk([line("a", n=1), b"bad", line(n=2)], start=40))
    ledger.add(drop([{"id": "c", "n": 3}, 9, {"n": 4}], packet="p"), drop([{"n": 5}], name="other.json"))

    stored = list(reading.pending(home, 100))

    assert [record.body["n"] for record in stored] == [1, 2, 3, 4, 5]
    assert [record.seq for record in stored] == [1, 3, 4, 6, 7]  # what was refused has numbers, too
    assert [record.identity for record in stored] == pending(ledger.index)
    assert stored[3].identity == hexed("p:2")
    assert [record.format for record in stored] == ["telemetry"] * 2 + ["experiences"] * 3
    assert len(list(reading.pending(home, 4))) == 3


# -- taking a dataset --------------------------------------------------------------------------------------------------
@pytest.fixture
def ten(ledger):
    ledger.add(chunk([line(f"e{n}") for n in range(10)]))
    return ledger


def _ids(*numbers):
    return [hexed(f"e{n}") for n in numbers]


def test_taking_gives_every_record_its_fate_and_leaves_what_waits(ten):
    ten.index.take(
        "d", manifest(8, train=_ids(0, 1, 2), holdout=_ids(3), waiting=_ids(4, 5), twin=_ids(6), empty=_ids(7))
    )

    counts = ten.index.counts()
    assert (counts.in_datasets, counts.held_out, counts.pending) == (3, 1, 4)
    assert counts.rejected == {"twin": 1, "empty": 1}
    assert counts.taken_upto == 8
    assert counts.balanced
    assert pending(ten.index) == _ids(4, 5, 8, 9)
    assert ten.index.fresh(8) == (2, 10)


def test_taking_the_same_dataset_again_changes_nothing(ten):
    taken = manifest(10, train=_ids(*range(10)))
    ten.index.take("d", taken)
    before = dump(ten.index)

    ten.index.take("d", taken)

    assert dump(ten.index) == before


@pytest.mark.parametrize(
    "wrong",
    [
        manifest(10, train=_ids(*range(9))),
        manifest(10, train=_ids(*range(10)), waiting=_ids(0)),
        manifest(9, train=_ids(*range(10))),
        manifest(10, train=_ids(*range(10)), twin=[hexed("nobody")]),
        manifest(10, train=_ids(*range(10)), holdout=_ids(0)),
        manifest(10, train=[*_ids(*range(9)), _ids(0)[0]]),
        manifest(10),
    ],
    ids=[
        "one forgotten",
        "one too many waits",
        "one beyond upto",
        "a stranger",
        "one twice",
        "one twice in train",
        "all",
    ],
)
def test_a_difference_of_one_stops_the_job_and_changes_nothing(ten, wrong):
    before = dump(ten.index)

    with pytest.raises(Conservation, match="Please report"):
        ten.index.take("d", wrong)

    assert dump(ten.index) == before
    assert not ten.index.has_taken("d")
    ten.index.take("d", manifest(10, train=_ids(*range(10))))  # the right one is still taken


def test_a_record_decided_by_one_dataset_cannot_be_decided_by_the_next(ten):
    ten.index.take("d1", manifest(5, train=_ids(*range(5))))

    with pytest.raises(Conservation):
        ten.index.take("d2", manifest(10, train=_ids(*range(10))))
    ten.index.take("d2", manifest(10, train=_ids(*range(5, 10))))
    assert ten.index.counts().in_datasets == 10


# -- the file itself ---------------------------------------------------------------------------------------------------
def test_positions_of_tails_and_claims_are_entered_with_the_batch_that_carries_them(ledger):
    ledger.add(chunk([line("a")], name="one.jsonl"), refused("x.json"), drop([], name="y.json"))

    assert ledger.index.tail("/bus/one.jsonl") is not None
    assert ledger.index.tail("/bus/two.jsonl") is None
    assert ledger.index.claimed("1~experiences~x.json") == (True, "not JSON: because")
    assert ledger.index.claimed("1~experiences~y.json") == (True, None)
    assert ledger.index.claimed("1~experiences~z.json") == (False, None)
    ledger.index.keep_claims({"1~experiences~y.json"})
    assert ledger.index.claimed("1~experiences~x.json") == (False, None)
    assert ledger.index.claimed("1~experiences~y.json") == (True, None)


def test_readers_cannot_write_and_say_when_there_is_nothing_to_read(ledger, home):
    from reactord.ledger.sqlite import open_readonly

    db = open_readonly(home.index_db)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM records")
    db.close()
    with pytest.raises(FileNotFoundError):
        open_readonly(home.ledger / "nothing.db")


UNMADE = ["", "CREATE TABLE entries(id)", "CREATE TABLE entries(id); CREATE TABLE records(seq)"]


@pytest.fixture(params=UNMADE, ids=["no table", "one", "two"])
def unmade(fast_dir, request):
    """The home of a daemon that has just begun to make its index."""
    home = Home(fast_dir / "new")
    home.create()
    with closing(sqlite3.connect(home.index_db)) as db:
        db.executescript(f"PRAGMA user_version={SHAPE}; {request.param}")
    return home


@pytest.mark.parametrize("ask", [counting.count, lambda home: counting.fresh(home, 0)], ids=["count", "fresh"])
def test_an_index_that_is_just_being_made_is_waited_for(unmade, ask, monkeypatch):
    def finish(_):
        with closing(sqlite3.connect(unmade.index_db)) as db:
            db.executescript(
                "DROP TABLE IF EXISTS entries; DROP TABLE IF EXISTS records"
            )  # the test's own, of one column
        Index(unmade.index_db, lambda *_: None).close()

    monkeypatch.setattr(counting.time, "sleep", finish)
    assert ask(unmade) in (0, counting.Counts())


def test_an_index_that_nobody_makes_is_damaged_and_not_empty(unmade, monkeypatch):
    monkeypatch.setattr(counting, "MADE_WITHIN_S", 0.05)
    with pytest.raises(sqlite3.OperationalError):
        counting.count(unmade)
