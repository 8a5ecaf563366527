from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from reactord.ledger.journal import Entry, Journal, Place, batches, read_at

#: bytes that look like our own framing are drawn more often than chance would
RAW = st.binary(max_size=60) | st.lists(
    st.sampled_from([b"E 3 {}\n", b"C 1 7 00000000\n", b"\n", b"\0", b"{", b"E 99 {", b"abc"]), max_size=6
).map(b"".join)
META = st.dictionaries(st.text(max_size=5), st.text(max_size=9) | st.integers(-9, 9) | st.none(), max_size=3)
BATCHES = st.lists(st.lists(st.builds(Entry, META, RAW), min_size=1, max_size=4), max_size=6)


@settings(max_examples=150)
@given(written=BATCHES, restarts=st.sets(st.integers(0, 6)))
def test_any_bytes_in_any_batches_over_any_restarts_come_back_unaltered_and_at_their_places(written, restarts):
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        directory = Path(name)
        journal, end, places = Journal(directory), Place(1, 0), []
        journal.open(end)
        for n, batch in enumerate(written):
            if n in restarts:
                journal.close()
                journal = Journal(directory)
                journal.open(end)
            found, end = journal.append(batch)
            places += found
        journal.close()

        assert [[entry for _, entry in batch] for batch, _ in batches(directory, Place(1, 0))] == written
        flat = [entry for batch in written for entry in batch]
        assert [read_at(directory, place, len(e.raw)) for place, e in zip(places, flat, strict=True)] == [
            e.raw for e in flat
        ]


@settings(max_examples=150)
@given(written=BATCHES.filter(bool), cut=st.integers(0, 10_000), junk=st.binary(max_size=30))
def test_a_file_cut_anywhere_with_any_junk_behind_it_reads_as_a_prefix_of_what_was_written(written, cut, junk):
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        directory = Path(name)
        journal = Journal(directory)
        journal.open(Place(1, 0))
        for batch in written:
            journal.append(batch)
        journal.close()
        path = directory / "000001.log"
        raw = path.read_bytes()
        cut %= len(raw)
        path.write_bytes(raw[:cut] + junk)

        found = [[entry for _, entry in batch] for batch, _ in batches(directory, Place(1, 0))]

        completed = raw[:cut] + junk == raw[: cut + len(junk)]
        assert found == written[: len(found)]
        assert completed or len(found) < len(written)
