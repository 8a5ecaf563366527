from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactord.jobs.hanging import Limits, Progress, hangs, hear, patience_s

LIMITS = Limits(deadline_s=1e9)


def step(number, took_s=1.0):
    return {"kind": "step", "step": number, "step_s": took_s}


def heard(*lines, every_s=1.0):
    """What is known after these lines, one every so many seconds, and when the last one came."""
    progress, at = Progress(0.0), 0.0
    for line in lines:
        at += every_s
        progress = hear(progress, line, at)
    return progress, at


@pytest.mark.parametrize(
    ("took_s", "allowed_s"), [(1.0, 600.0), (120.0, 600.0), (121.0, 605.0), (3600.0, 18_000.0), (0.0, 600.0)]
)
def test_a_step_may_take_ten_minutes_or_five_times_the_usual_whichever_is_longer(took_s, allowed_s):
    progress, at = heard(*(step(n, took_s) for n in range(1, 8)))

    assert patience_s(progress, LIMITS) == allowed_s
    assert hangs(progress, LIMITS, at + allowed_s) is None
    assert "no step after step 7" in hangs(progress, LIMITS, at + allowed_s + 1)


def test_one_slow_step_does_not_make_us_patient():
    progress, _ = heard(*(step(n) for n in range(1, 20)), step(20, 50_000.0))

    assert patience_s(progress, LIMITS) == 600


def test_before_the_first_step_everything_new_counts():
    progress, at = heard({"kind": "note", "text": "loading"}, {"kind": "work", "text": "converting", "done": 1})

    assert progress.news_at == at
    assert hangs(progress, LIMITS, at + 1800) is None
    assert "said nothing new" in hangs(progress, LIMITS, at + 1801)


@pytest.mark.parametrize(
    "line",
    [
        step(3), {"kind": "note", "text": "still here"}, {"kind": "work", "text": "x", "done": 5}, {"kind": "beat"}, {},
        {"kind": "step"}, {"kind": None}, {"kind": "note"},
    ],
)  # fmt: skip
def test_no_heartbeat_hides_that_no_step_is_made(line):
    progress, at = heard(step(1), step(2), step(3))
    later = progress
    for n in range(100):
        later = hear(later, line, at + n * 10)

    assert later.news_at == at
    assert hangs(later, LIMITS, at + 1000)


def test_saying_the_same_again_is_nothing_new():
    progress, _ = heard(*[{"kind": "work", "text": "converting", "done": 1}] * 50)

    assert progress.news_at == 1.0


def test_a_checkpoint_is_news():
    progress, at = heard(step(1), {"kind": "checkpoint", "step": 1})

    assert progress.news_at == at


def test_a_resumed_run_may_repeat_steps():
    progress, at = heard(step(5), step(6), step(7), step(5))

    assert progress.news_at == at


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["kind", "step", "step_s", "text", "done"]),
            st.one_of(
                st.none(), st.booleans(), st.floats(), st.integers(), st.sampled_from(["step", "note", "work", ""])
            ),
        )
    )
)
def test_whatever_a_worker_writes_the_patience_is_finite_and_at_least_the_floor(lines):
    progress, _ = heard(*lines)

    assert 600 <= patience_s(progress, LIMITS) < float("inf")
