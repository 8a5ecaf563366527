from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactord import memory
from reactord.jobs.correction import (
    HIGHEST,
    LEAP,
    LOWEST,
    MEASURED_MARGIN,
    SPREAD,
    SURE_AFTER,
    UNKNOWN_MARGIN,
    factor,
    first_margin,
)
from reactord.ledger import peaks
from reactord.ledger.peaks import KEPT, Kind, Peak
from reactord.ledger.state import Store

MIB = 1024**2
KIND = Kind("linux-x86_64-bfloat16", "train/dpo/lora", "smollm2")


SIZE = 1000 * MIB


def _runs(*ratios, size=SIZE):
    """Newest first, each measured at so much of what was foretold."""
    return [Peak(size, int(size * ratio)) for ratio in ratios]


@pytest.fixture(autouse=True)
def measured(monkeypatch):
    """A platform whose coefficients are its own."""
    monkeypatch.setattr(memory, "platform_name", lambda: next(iter(memory.MEASURED)))


def test_a_kind_that_never_ran_is_given_a_margin_and_a_larger_one_where_nobody_measured(monkeypatch):
    assert factor(SIZE, []) == first_margin() == MEASURED_MARGIN
    monkeypatch.setattr(memory, "platform_name", lambda: "plan9-sparc-float32")
    assert factor(SIZE, []) == first_margin() == UNKNOWN_MARGIN


@pytest.mark.parametrize("truth", [0.4, 0.9, 1.0, 1.3, 2.1, 3.5])
def test_the_factor_converges_to_what_is_measured_and_stays_within_fifteen_percent_above(truth):
    chance = random.Random(truth)
    seen = []
    for run in range(30):
        measured = truth * chance.uniform(0.98, 1.02)
        if run >= SURE_AFTER:
            assert measured * 0.95 <= factor(SIZE, seen) <= measured * 1.15, run
        seen = [*_runs(measured), *seen][:KEPT]


@given(st.lists(st.floats(0.2, 2.0), min_size=2, max_size=KEPT))
def test_no_run_that_a_second_one_resembles_is_ever_planned_for_below_what_it_took(ratios):
    second, highest = sorted(ratios)[-2:]
    if highest <= LEAP * second:
        assert factor(SIZE, _runs(*ratios)) >= min(highest, HIGHEST / SPREAD)


def test_one_outlier_counts_little_and_a_second_one_is_believed():
    usual = [1.0] * (KEPT - 1)

    once, twice = factor(SIZE, _runs(3.0, *usual)), factor(SIZE, _runs(3.0, 3.1, *usual[1:]))

    assert once == pytest.approx(LEAP * SPREAD)
    assert twice >= 3.1
    assert factor(SIZE, _runs(0.01, *usual)) == factor(SIZE, _runs(*usual))  # a run that ended early says nothing


def test_an_outlier_is_forgotten_when_enough_runs_have_followed():
    seen = _runs(3.0)
    for _ in range(KEPT):
        seen = [*_runs(1.0), *seen][:KEPT]

    assert factor(SIZE, seen) == pytest.approx(SPREAD)


def test_a_first_run_that_took_little_does_not_make_the_second_one_bold():
    assert factor(SIZE, _runs(0.3)) == factor(SIZE, _runs(0.3, 0.3)) == MEASURED_MARGIN
    assert factor(SIZE, _runs(0.3, 0.3, 0.3)) == pytest.approx(0.3 * SPREAD)


def test_runs_of_another_size_never_make_a_plan_smaller():
    small = _runs(*[0.5] * KEPT, size=SIZE // 4)

    assert factor(SIZE // 4, small) == pytest.approx(0.5 * SPREAD)
    assert factor(SIZE, small) == MEASURED_MARGIN
    assert factor(SIZE // 100, small) == MEASURED_MARGIN


def test_where_no_run_was_of_the_size_the_nearest_warn_and_one_of_the_size_outweighs_them():
    small = _runs(1.4, 1.4, size=SIZE // 4)

    assert factor(SIZE, [*_runs(0.1, 0.1, size=SIZE // 50), *small]) == pytest.approx(1.4 * SPREAD)
    assert factor(SIZE, [*_runs(1.0, 1.0), *small]) == MEASURED_MARGIN


@given(st.lists(st.tuples(st.floats(0.9, 1.1), st.integers(100, 8000)), max_size=40))
def test_runs_of_all_sizes_within_a_tenth_never_lead_further_away_than_they_were(runs):
    """It cannot swing: a factor is at most the highest ratio seen, or the margin."""
    seen: list[Peak] = []
    for ratio, size in runs:
        assert 0.9 <= factor(size * MIB, seen) <= 1.1 * SPREAD + 1e-6
        seen = [Peak(size * MIB, int(size * MIB * ratio)), *seen][:KEPT]


def test_a_killed_run_asks_for_more_than_it_held():
    killed = [Peak(1000, 1250, killed=True)]

    assert factor(1000, killed) > 1.25 * SPREAD
    assert factor(1000, killed) <= LEAP * UNKNOWN_MARGIN * SPREAD


@given(
    st.integers(0, 1 << 50),
    st.lists(st.tuples(st.integers(0, 1 << 50), st.integers(0, 1 << 50), st.booleans()), max_size=KEPT),
)
def test_the_factor_is_bounded_whatever_was_measured(foretold, rows):
    assert LOWEST <= factor(foretold, [Peak(*row) for row in rows]) <= HIGHEST


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
