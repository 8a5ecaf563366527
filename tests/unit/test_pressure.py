from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactord.jobs.pressure import LEAST_HEADROOM_BYTES, Tier, next_tier

GIB = 1024**3


@pytest.mark.parametrize(
    ("free", "tier"),
    [(2.0, Tier.NORMAL), (1.0, Tier.NORMAL), (0.99, Tier.ELEVATED), (0.5, Tier.ELEVATED), (0.49, Tier.CONSTRAINED),
     (0.25, Tier.CONSTRAINED), (0.24, Tier.CRITICAL), (0.0, Tier.CRITICAL)],
)  # fmt: skip
def test_a_tier_is_entered_at_once(free, tier):
    assert next_tier(Tier.NORMAL, int(free * GIB), GIB) == tier


def test_a_tier_is_left_one_at_a_time_and_only_with_a_quarter_more_than_where_it_was_entered():
    seen = [Tier.CRITICAL]
    for free in (0.30, 0.32, 0.60, 0.63, 1.1, 1.26):
        seen.append(next_tier(seen[-1], int(free * GIB), GIB))

    assert [int(tier) for tier in seen] == [3, 3, 2, 2, 1, 1, 0]


def test_memory_that_trembles_at_a_threshold_does_not_start_and_stop_a_job():
    tiers = [Tier.NORMAL]
    for free in itertools.islice(itertools.cycle((0.48, 0.52)), 50):
        tiers.append(next_tier(tiers[-1], int(free * GIB), GIB))

    assert sum(a != b for a, b in itertools.pairwise(tiers)) == 1


def test_no_headroom_at_all_still_means_that_the_machine_must_not_run_dry():
    assert next_tier(Tier.NORMAL, LEAST_HEADROOM_BYTES // 8, 0) == Tier.CRITICAL


@given(st.sampled_from(Tier), st.integers(0, 4 * GIB), st.integers(0, 4 * GIB))
def test_less_memory_is_never_a_lower_tier(before, free, less):
    assert next_tier(before, max(0, free - less), GIB) >= next_tier(before, free, GIB)
