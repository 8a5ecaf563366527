"""Are automatic births paused after failures, for longer and longer, and only then?"""

from __future__ import annotations

import pytest

from reactord.jobs.breaker import MAX_WAIT_S, failures_in_a_row, pause
from reactord.ledger.state import Job

NOW = 1_000_000.0


def job(state, age, **facts):
    return Job(id=f"{state}-{age}", state=state, cause=f"why {age}", attempt=0, fence=0, created_at=NOW - age - 60,
               updated_at=NOW - age, request={}, facts=facts)  # fmt: skip


def streak(*ends):
    return [job(end, 10.0 * i) for i, end in enumerate(reversed(ends))]


@pytest.mark.parametrize(
    ("ends", "in_a_row"),
    [
        ((), 0),
        (("failed",), 1),
        (("failed", "failed", "rolled_back"), 3),
        (("failed", "completed", "failed"), 1),
        (("failed", "failed", "rejected"), 0),  # it was trained and judged
        (("failed", "cancelled", "failed"), 2),  # the owner's wish says nothing about us
        (("failed", "skipped", "failed"), 2),  # there was nothing to learn
        (("failed", "training", "failed", "queued"), 2),
    ],
)
def test_failures_since_the_last_good_end_count(ends, in_a_row):
    assert len(failures_in_a_row(streak(*ends))) == in_a_row


@pytest.mark.parametrize("reason", ["no_data", "bad_data"])
def test_a_failure_of_the_data_is_not_ours(reason):
    assert failures_in_a_row([job("failed", 1, end_reason=reason), job("failed", 2, end_reason="bug")]) == [
        job("failed", 2, end_reason="bug")
    ]


@pytest.mark.parametrize(
    ("failures", "wait_s"), [(2, None), (3, 100), (4, 200), (5, 400), (12, 51200), (13, MAX_WAIT_S), (90, MAX_WAIT_S)]
)
def test_the_pause_doubles_with_every_further_failure(failures, wait_s):
    paused = pause(streak(*["failed"] * failures), NOW, 3, 100.0)

    assert (paused and paused.until) == (wait_s and NOW + wait_s)


def test_the_pause_says_why_and_ends():
    jobs = streak("failed", "failed", "failed")

    paused = pause(jobs, NOW + 99, 3, 100.0)

    assert (paused.failures, paused.job_id, paused.cause) == (3, "failed-0.0", "why 0.0")
    assert pause(jobs, NOW + 100, 3, 100.0) is None


def test_a_pause_is_none_for_whoever_wants_none():
    assert pause(streak(*["failed"] * 50), NOW, 0, 100.0) is None


def test_a_clock_that_is_set_back_by_years_does_not_make_the_pause_one_of_years():
    jobs = streak("failed", "failed", "failed")

    assert pause(jobs, NOW - 50, 3, 100.0)
    assert pause(jobs, NOW - 1e8, 3, 100.0) is None


def test_failures_that_a_wrong_clock_dated_hide_no_others():
    ahead = [job("failed", -1e8 - n) for n in range(5)]

    assert pause([*ahead, *streak("failed", "failed", "failed")], NOW, 3, 100.0).failures == 3
    assert pause([*ahead, *streak("failed", "failed", "completed")], NOW, 3, 100.0) is None
