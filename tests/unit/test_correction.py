from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactord.jobs.correction import FIRST_MARGIN, HIGHEST, LEAP, LOWEST, SPREAD, SURE_AFTER, factor
from reactord.ledger import peaks
from reactord.ledger.peaks import KEPT, Kind, Peak
from reactord.ledger.state import Store

MIB = 1024**2
KIND = Kind("linux-x86_64-bfloat16", "train/dpo/lora", "smollm2")


def _runs(*ratios):
    """Newest first, each measured at so much of what was foretold."""
    return [Peak(1000 * MIB, int(1000 * MIB * ratio)) for ratio in ratios]


def test_a_kind_that_never_ran_is_given_a_margin():
    assert factor([]) == FIRST_MARGIN


@pytest.mark.parametrize("truth", [0.4, 0.9, 1.0, 1.3, 2.1, 3.5])
def test_the_factor_converges_to_what_is_measured_and_stays_within_fifteen_percent_above(truth):
    chance = random.Random(truth)
    seen = []
    for run in range(30):
        measured = truth * chance.uniform(0.98, 1.02)
        if run >= SURE_AFTER:
            assert measured * 0.95 <= factor(seen) <= measured * 1.15, run
        seen = [*_runs(measured), *seen][:KEPT]


@given(st.lists(st.floats(0.2, 2.0), min_size=2, max_size=KEPT))
def test_no_run_that_a_second_one_resembles_is_ever_planned_for_below_what_it_took(ratios):
    second, highest = sorted(ratios)[-2:]
    if highest <= LEAP * second:
        assert factor(_runs(*ratios)) >= min(highest, HIGHEST / SPREAD)


def test_one_outlier_counts_little_and_a_second_one_is_believed():
    usual = [1.0] * (KEPT - 1)

    once, twice = factor(_runs(3.0, *usual)), factor(_runs(3.0, 3.1, *usual[1:]))

    assert once == pytest.approx(LEAP * SPREAD)
    assert twice >= 3.1
    assert factor(_runs(0.01, *usual)) == factor(_runs(*usual))  # a run that ended early says nothing


def test_an_outlier_is_forgotten_when_enough_runs_have_followed():
    seen = _runs(3.0)
    for _ in range(KEPT):
        seen = [*_runs(1.0), *seen][:KEPT]

    assert factor(seen) == pytest.approx(SPREAD)


def test_a_first_run_that_took_little_does_not_make_the_second_one_bold():
    assert factor(_runs(0.3)) == factor(_runs(0.3, 0.3)) == 1.0
    assert factor(_runs(0.3, 0.3, 0.3)) == pytest.approx(0.3 * SPREAD)


def test_a_killed_run_asks_for_more_than_it_held():
    killed = [Peak(1000, 1250, killed=True)]

    assert factor(killed) > 1.25 * SPREAD
    assert factor(killed) <= LEAP * FIRST_MARGIN * SPREAD


@given(st.lists(st.tuples(st.integers(0, 1 << 50), st.integers(0, 1 << 50), st.booleans()), max_size=KEPT))
def test_the_factor_is_bounded_whatever_was_measured(rows):
    assert LOWEST <= factor([Peak(*row) for row in rows]) <= HIGHEST


# -- the ledger's table ------------------------------------------------------------------------------------------------
def test_the_ledger_keeps_the_newest_of_each_kind(home):
    store = Store(home.state_db)
    other = Kind("darwin-arm64-float32", KIND.method, KIND.base)
    for number in range(KEPT + 5):
        with store.transaction():
            peaks.remember(store.db, KIND, Peak(100, number), "j", float(number))
    with store.transaction():
        peaks.remember(store.db, other, Peak(100, 7, killed=True), "j", 0.0)

    assert [peak.measured_bytes for peak in peaks.recent(store.db, KIND)] == list(range(KEPT + 4, 4, -1))
    assert peaks.recent(store.db, other) == [Peak(100, 7, killed=True)]
    assert peaks.recent(store.db, Kind("a", "b", "c")) == []
    assert store.db.execute("SELECT count(*) FROM peaks").fetchone() == (KEPT + 1,)
    store.db.execute("DROP TABLE peaks")
    assert peaks.recent(store.db, KIND) == []
    store.close()
