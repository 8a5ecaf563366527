from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ledgers import Ledger, chunk, drop, dump, line, manifest, pending, refused

from reactord.errors import Conservation
from reactord.home import Home
from reactord.ledger import reading

IDS = st.sampled_from(["a", "b", "c", "d", "e", "f"])
LINES = st.one_of(
    st.builds(line, IDS), st.builds(lambda n: line(None, n=n), st.integers(0, 3)),
    st.sampled_from([b"", b"  ", b"{broken", b"[1]", b"\xff", b"7"]),
)  # fmt: skip
ITEMS = st.one_of(
    IDS.map(lambda i: {"id": i}), st.integers(0, 9), st.just({}), st.just({"experience_id": "a", "id": "b"})
)
NAMES = st.sampled_from(["interactions_20261121.jsonl", "interactions_20261122.jsonl"])
ENTRIES = st.one_of(
    st.builds(chunk, st.lists(LINES, max_size=5), st.integers(0, 2), NAMES),
    st.builds(drop, st.lists(ITEMS, max_size=5), st.sampled_from(["x.json", "y.json"]), st.none() | IDS),
    st.builds(refused, st.sampled_from(["x.json", "y.json"])),
)
FATES = st.lists(st.sampled_from(["train", "holdout", "waiting", "too_old", "a_twin"]), min_size=1, max_size=9)
STEPS = st.lists(
    st.lists(ENTRIES, min_size=1, max_size=3) | st.tuples(st.floats(0, 1), FATES, st.sampled_from([0, 0, -1, 1])),
    max_size=8,
)


@contextmanager
def _ledger():
    root = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    home = Home(root)
    home.create()
    ledger = Ledger(home)
    try:
        yield ledger
    finally:
        ledger.close()
        shutil.rmtree(root)


def _decide(ledger, share, fates, *, forget):
    """A manifest over what is pending up to some record; `forget` = -1 leaves one out, +1 invents one."""
    upto = int(share * ledger.index.counts().last_seq)
    shares: dict[str, list[str]] = {}
    for n, identity in enumerate(pending(ledger.index, upto)):
        shares.setdefault(fates[n % len(fates)], []).append(identity)
    if forget > 0:
        shares.setdefault("train", []).append("00" * 16)
    if forget < 0:
        shares = {fate: ids[1:] if n == 0 else ids for n, (fate, ids) in enumerate(shares.items())}
    return manifest(upto, **shares)


@settings(max_examples=120)
@given(steps=STEPS)
def test_after_any_soup_of_records_refusals_duplicates_and_takes_every_record_is_accounted_for_once(steps):
    with _ledger() as ledger:
        seen: Counter[str] = Counter()
        taken = []
        for n, step in enumerate(steps):
            if isinstance(step, list):
                new = ledger.add(*step)
                seen["new"] += new
            else:
                share, fates, forget = step
                wanted = _decide(ledger, share, fates, forget=forget)
                touched = sum(map(len, wanted["fates"]["rejected"].values())) + sum(
                    len(wanted["fates"][fate]) for fate in ("train", "holdout", "waiting")
                )
                honest = touched == len(pending(ledger.index, wanted["upto"]))
                if honest and "00" * 16 not in wanted["fates"]["train"]:
                    ledger.index.take(f"d{n}", wanted)
                    taken.append((f"d{n}", wanted))
                else:
                    before = dump(ledger.index)
                    with pytest.raises(Conservation):
                        ledger.index.take(f"d{n}", wanted)
                    assert dump(ledger.index) == before

            counts = ledger.index.counts()
            assert counts.balanced
            assert counts.received - counts.duplicates == seen["new"] == counts.last_seq
            assert counts.pending == len(pending(ledger.index))
            assert len(list(reading.pending(ledger.home, counts.last_seq))) == counts.pending

        again = ledger.rebuilt(taken)
        assert dump(again) == dump(ledger.index)
        again.close()
