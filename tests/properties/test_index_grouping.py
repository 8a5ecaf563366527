"""Whether batches are entered one by one, all at once or some together: the index knows the same afterwards."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties.test_conservation import ENTRIES
from support.ledgers import dump, manifest, pending

from reactord.home import Home
from reactord.ledger import compaction
from reactord.ledger import journal as journal_module
from reactord.ledger import staged as staged_module
from reactord.ledger.index import Index
from reactord.ledger.journal import Entry, Journal, Place, batches


def _event(number, kind, path):
    """What the ingest journals for one event: news of our own work, a file that it names, or one experience."""
    document = {"event_id": f"event{number}", "event_type": kind, "payload": {"data_path": path}}
    meta = {"format": "experiences", "name": "5_1_e.json", "at": 8.0, "where": "5_1_e.json"}
    return Entry(meta, json.dumps(document).encode())


EVENTS = st.builds(
    _event,
    st.integers(0, 4),
    st.sampled_from(["curriculum_updated", "data_batch_ready", "user_feedback", "heartbeat"]),
    st.sampled_from(["/bus/a.jsonl", "/bus/b.jsonl", "not a path"]),
)
BATCHES = st.lists(st.lists(ENTRIES | EVENTS, min_size=1, max_size=3), min_size=1, max_size=9)
#: how many batches are staged before each flush; what is left over comes with the last one
GROUPS = st.lists(st.integers(1, 5), max_size=9)
ROWS = st.sampled_from([1, 4, 9, staged_module.ROWS])
PATHS = [f"/bus/interactions_2026112{day}.jsonl" for day in (1, 2)]
#: a few entries fill a segment
SEGMENT_BYTES = 600


@contextmanager
def _journalled(written):
    """A home whose journal has these batches, and no index."""
    root = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    home = Home(root)
    home.create()
    journal = Journal(home.journal)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(journal_module, "SEGMENT_BYTES", SEGMENT_BYTES)
        journal.open(Place(1, 0))
        for batch in written:
            journal.append(batch)
        journal.close()
    try:
        yield home
    finally:
        shutil.rmtree(root)


@contextmanager
def _read(home, groups, rows, name):
    """(an index that has read the journal in groups of batches, what it told on the way)."""
    refusals, tails, brought = [], [], [0, 0]
    index = Index(home.ledger / f"{name}.db", lambda entry, *where: refusals.append((entry.raw, *where)))
    left = list(groups)

    def flush():
        applied = index.flush()
        brought[0] += applied.new
        brought[1] += applied.fresh

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(staged_module, "ROWS", rows)
        waiting = 0
        for batch, end in batches(home.journal, Place(1, 0)):
            full = index.stage(batch, end)
            waiting += 1
            tails.append([index.tail(path) for path in PATHS])
            if full or (left and waiting >= left[0]):
                flush()
                waiting, left = 0, left[1:]
        flush()
    try:
        yield index, {"refusals": refusals, "tails": tails, "brought": brought}
    finally:
        index.close()


def _all_at_once(home, rows=staged_module.ROWS):
    return _read(home, [], rows, "at-once")


def _one_by_one(home):
    return _read(home, [1] * 1000, staged_module.ROWS, "one-by-one")


@settings(max_examples=80)
@given(written=BATCHES, groups=GROUPS, rows=ROWS)
def test_the_number_and_the_fate_of_every_record_do_not_depend_on_how_batches_are_grouped(written, groups, rows):
    with (
        _journalled(written) as home,
        _one_by_one(home) as (one_by_one, told),
        _all_at_once(home) as (at_once, told_at_once),
        _read(home, groups, rows, "grouped") as (grouped, told_grouped),
    ):
        assert dump(one_by_one) == dump(at_once) == dump(grouped)
        assert told == told_at_once == told_grouped
        assert one_by_one.untold() == at_once.untold() == grouped.untold()
        assert one_by_one.counts().balanced


@settings(max_examples=60)
@given(written=BATCHES, groups=GROUPS, rows=ROWS, compacted=st.integers(1, 4))
def test_nor_do_they_where_segments_were_compacted(written, groups, rows, compacted):
    with _journalled(written) as home, _one_by_one(home) as (live, _):
        decided = manifest(live.counts().last_seq, train=pending(live))
        live.take("all", decided)
        for number in range(1, compacted + 1):
            if live.may_compact(number):
                compaction.compact(home.journal, live, number)
        with _all_at_once(home, rows) as (at_once, _), _read(home, groups, rows, "grouped") as (grouped, _):
            at_once.take("all", decided)
            grouped.take("all", decided)

            assert dump(at_once) == dump(grouped) == dump(live)
