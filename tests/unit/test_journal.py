from __future__ import annotations

import errno
from pathlib import Path

import pytest
from support.disks import FailingDisk, FullDisk

from reactord import durable
from reactord.ledger import journal as module
from reactord.ledger.journal import MAX_RAW_BYTES, Entry, Journal, Place, batches, read_at, segments

START = Place(1, 0)


def _entries(*raws):
    return [Entry({"n": n}, raw) for n, raw in enumerate(raws)]


def _read(directory, after=START):
    return [[entry.raw for _, entry in batch] for batch, _ in batches(directory, after)]


def _end(directory):
    end = START
    for _, end in batches(directory, START):  # noqa: B007 - the last one counts
        pass
    return end


@pytest.fixture
def journal(fast_dir):
    made = Journal(fast_dir)
    made.open(START)
    yield made
    made.close()


def test_what_was_appended_is_read_back_in_order_at_its_place(journal, fast_dir):
    places, end = journal.append(_entries(b"one", b"", b"\n\nE 3 {}\nC 1 1 00000000\n"))
    journal.append(_entries(b"four"))

    assert _read(fast_dir) == [[b"one", b"", b"\n\nE 3 {}\nC 1 1 00000000\n"], [b"four"]]
    assert read_at(fast_dir, places[0], 3) == b"one"
    assert _read(fast_dir, end) == [[b"four"]]


def test_metadata_comes_back_as_it_was_given(journal, fast_dir):
    meta = {"name": "ünï\ncode", "at": 1.25, "tail": {"start": 7}, "refused": None}
    journal.append([Entry(meta, b"x")])

    ((_, entry),) = next(iter(batches(fast_dir, START)))[0]
    assert entry.meta == meta


def test_a_batch_torn_at_any_byte_is_no_batch_and_the_next_one_is_readable(fast_dir):
    whole = fast_dir / "whole"
    whole.mkdir()
    writer = Journal(whole)
    writer.open(START)
    writer.append(_entries(b"first"))
    first = (whole / "000001.log").stat().st_size
    writer.append(_entries(b"second\nwith a newline", b"", b"third"))
    writer.close()
    raw = (whole / "000001.log").read_bytes()

    for cut in range(first, len(raw)):
        torn = fast_dir / f"torn-{cut}"
        torn.mkdir()
        (torn / "000001.log").write_bytes(raw[:cut])
        assert _read(torn) == [[b"first"]]
        after_crash = Journal(torn)
        after_crash.open(_end(torn))
        after_crash.append(_entries(b"next"))
        after_crash.close()
        assert _read(torn) == [[b"first"], [b"next"]]


def test_a_flipped_bit_anywhere_in_a_batch_costs_that_batch_and_is_never_read_as_something_else(fast_dir):
    writer = Journal(fast_dir)
    writer.open(START)
    writer.append(_entries(b"first"))
    first = writer._size
    writer.append(_entries(b"second", b"third"))
    writer.close()
    path = fast_dir / "000001.log"
    raw = path.read_bytes()

    for at in range(first, len(raw)):
        for bit in (0, 3, 7):
            damaged = bytearray(raw)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            assert _read(fast_dir) == [[b"first"]]


def test_a_damaged_batch_does_not_take_those_behind_it_from_the_disk(fast_dir):
    """They are out of reach for the reader, and a person can still save them: nothing is ever cut off."""
    writer = Journal(fast_dir)
    writer.open(START)
    for raw in (b"first", b"second", b"third"):
        writer.append(_entries(raw))
    writer.close()
    path = fast_dir / "000001.log"
    path.write_bytes(path.read_bytes().replace(b"second", b"s?cond"))

    again = Journal(fast_dir)
    again.open(_end(fast_dir))
    again.append(_entries(b"fourth"))
    again.close()

    assert b"third" in path.read_bytes()
    assert _read(fast_dir) == [[b"first"], [b"fourth"]]


def test_a_journal_that_is_shorter_than_the_index_remembers_goes_on_where_all_can_be_read(fast_dir):
    journal = Journal(fast_dir)
    journal.open(Place(3, 1000))
    places, _ = journal.append(_entries(b"new"))
    journal.close()

    assert _read(fast_dir, START) == [[b"new"]]
    assert read_at(fast_dir, places[0], 3) == b"new"


def test_a_full_segment_is_followed_by_another(fast_dir, monkeypatch):
    monkeypatch.setattr(module, "SEGMENT_BYTES", 200)
    journal = Journal(fast_dir)
    journal.open(START)
    raws = [b"%03d" % n * 20 for n in range(20)]
    places = [journal.append(_entries(raw))[0][0] for raw in raws]
    journal.close()

    assert len(segments(fast_dir)) > 3
    assert _read(fast_dir) == [[raw] for raw in raws]
    assert [read_at(fast_dir, place, 60) for place in places] == raws
    again = Journal(fast_dir)
    again.open(_end(fast_dir))
    again.append(_entries(b"after a restart"))
    again.close()
    assert _read(fast_dir)[-1] == [b"after a restart"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("write_at_most", [7, 1 << 20])
def test_an_append_refused_at_any_call_adds_nothing_and_the_next_one_is_whole(
    fast_dir, monkeypatch, error, write_at_most
):
    monkeypatch.setattr(module, "SEGMENT_BYTES", 150)  # so that making a new segment is among the calls that fail
    refusals = 0
    for fail_at in range(1, 200):
        directory = fast_dir / f"{fail_at}"
        directory.mkdir()
        durable.disk = FailingDisk(fail_at, error, write_at_most)
        journal, kept = Journal(directory), []
        with_retry(lambda journal=journal: journal.open(START))
        for n in range(6):
            raw = b"batch %d " % n * 5
            try:
                journal.append(_entries(raw, b"x"))
            except OSError as trouble:
                refusals += trouble.errno == error
                assert _read(directory) == kept
                journal.append(_entries(raw, b"x"))
            kept.append([raw, b"x"])
            assert _read(directory) == kept
        journal.close()
        if durable.disk.calls < fail_at:
            break
    else:
        pytest.fail("the sweep did not reach the last call")
    assert refusals > 5


def with_retry(work):
    try:
        work()
    except OSError:
        work()


def test_a_disk_that_fills_up_at_any_byte_leaves_whole_batches_only(fast_dir):
    for room in range(0, 130, 3):
        directory = fast_dir / f"{room}"
        directory.mkdir()
        journal = Journal(directory)
        journal.open(START)
        journal.append(_entries(b"before"))
        durable.disk = FullDisk(bytes_left=room)
        try:
            journal.append(_entries(b"during" * 5, b"more"))
            kept = [[b"before"], [b"during" * 5, b"more"]]
        except OSError:
            kept = [[b"before"]]
        assert _read(directory) == kept
        durable.disk.full = False
        journal.append(_entries(b"after"))
        journal.close()
        assert _read(directory) == [*kept, [b"after"]]


def test_a_failed_flush_leaves_the_segment_for_good(journal, fast_dir):
    durable.disk = FailingDisk(fail_at=2, error=errno.EIO)  # the write succeeds, the flush does not
    with pytest.raises(OSError, match="Input/output"):
        journal.append(_entries(b"lost pages"))
    places, _ = journal.append(_entries(b"next"))

    assert places[0].segment == 2
    assert _read(fast_dir) == [[b"next"]]


def test_what_the_reader_would_not_read_is_not_written(journal, fast_dir):
    for entries in ([], [Entry({"name": "x" * 20_000}, b"")], [Entry({}, bytes(MAX_RAW_BYTES + 1))]):
        with pytest.raises(ValueError, match=r"batch of nothing|journal entry"):
            journal.append(entries)
    journal.append(_entries(b"fine"))

    assert _read(fast_dir) == [[b"fine"]]


def test_descriptors_are_not_leaked_by_a_journal_that_cannot_be_opened(fast_dir):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        durable.disk = FailingDisk(fail_at=1)
        with pytest.raises(OSError, match="No space"):
            Journal(fast_dir).open(START)

    assert len(list(Path("/proc/self/fd").iterdir())) == before
