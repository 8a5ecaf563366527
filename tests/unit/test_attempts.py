from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactord.errors import ReactordError
from reactord.jobs.attempts import DAY_S, MAX_WAIT_S, RULES, Cause, Ended, Past, after, cause_of, smaller
from reactord.jobspec import Hyper

NOW, MOST = 1_000_000.0, 3
PLACE = "train, step-000004"


def _lives(cause, *, most=MOST, each_s=1.0):
    """What is decided when a run ends so again and again at one place, until there is no other run; 50 at most."""
    past, now, verdicts = Past(), NOW, []
    for _ in range(50):
        verdict = after(Ended(cause, "it ended.", PLACE, now), past, most)
        verdicts.append(verdict)
        if verdict.trigger != "preempt":
            break
        past = Past(verdict.attempt, PLACE, verdict.trouble_since)
        now = max(now + each_s, verdict.not_before)
    return verdicts


def test_every_cause_has_a_rule():
    assert set(RULES) == set(Cause)


def test_every_cause_that_a_worker_can_report_is_known():
    def tree(error):
        return {error.cause}.union(*(tree(child) for child in error.__subclasses__()))

    assert {str(cause_of(word)) for word in tree(ReactordError) - {"stopped"}} == tree(ReactordError) - {"stopped"}


#: cause -> (how many runs there are at one place, how the job ends, the pauses between the runs)
LIVES = {
    Cause.PREEMPTED: (50, "preempt", 0),
    Cause.LOST_LOCK: (50, "preempt", 0),
    Cause.ENVIRONMENT: (50, "preempt", 30),
    Cause.DISK_FULL: (50, "preempt", 30),
    Cause.MISSING_MODEL: (50, "preempt", 30),
    Cause.OUT_OF_MEMORY: (3, "fail", 30),
    Cause.SIGNAL: (3, "fail", (0, 10)),
    Cause.CRASHED: (3, "fail", (0, 10)),
    Cause.HANG: (2, "fail", 0),
    Cause.DEADLINE: (1, "fail", 0),
    Cause.NO_DATA: (1, "skip", 0),
    Cause.BAD_DATA: (1, "fail", 0),
    Cause.BUG: (1, "fail", 0),
}


@pytest.mark.parametrize("cause", list(Cause))
def test_only_the_retries_that_make_sense(cause):
    runs, end, pauses = LIVES[cause]

    lives = _lives(cause)

    assert (len(lives), lives[-1].trigger) == (runs, end)
    again = [verdict for verdict in lives if verdict.trigger == "preempt"]
    expected = pauses if isinstance(pauses, tuple) else (pauses,) * len(again)
    times = [NOW]
    for verdict, pause_s in zip(again, expected, strict=True):
        assert verdict.not_before - times[-1] == pause_s
        times.append(max(times[-1] + 1.0, verdict.not_before))
    assert {verdict.smaller for verdict in again} <= {cause == Cause.OUT_OF_MEMORY}
    assert all(verdict.words.startswith("it ended.") for verdict in lives)


@pytest.mark.parametrize("cause", [Cause.PREEMPTED, Cause.LOST_LOCK, Cause.ENVIRONMENT, Cause.DISK_FULL])
def test_what_is_nobodys_fault_costs_no_attempt(cause):
    verdict = after(Ended(cause, "", PLACE, NOW), Past(2, PLACE), MOST)

    assert (verdict.trigger, verdict.attempt) == ("preempt", 2)


def test_a_run_that_got_further_has_its_attempts_counted_anew():
    verdict = after(Ended(Cause.SIGNAL, "", "train, step-000008", NOW), Past(2, PLACE), MOST)

    assert (verdict.trigger, verdict.attempt) == ("preempt", 1)


def test_a_broken_environment_is_waited_for_a_day_and_the_day_begins_anew_once_it_was_mended():
    late = Ended(Cause.DISK_FULL, "full;", PLACE, NOW + DAY_S)

    assert after(late, Past(trouble_since=NOW), MOST).trigger == "fail"
    assert "24 h" in after(late, Past(trouble_since=NOW), MOST).words
    assert after(late, Past(trouble_since=None), MOST).trouble_since == late.at
    assert after(Ended(Cause.SIGNAL, "", PLACE, NOW), Past(trouble_since=1.0), MOST).trouble_since is None


def test_a_cause_that_nobody_knows_is_a_bug():
    assert [cause_of(word) for word in (None, "", "whatever", 7)] == [Cause.BUG] * 4


@given(cause=st.sampled_from(Cause), most=st.integers(1, 20), each_s=st.floats(0, 10 * DAY_S))
def test_no_cause_is_tried_for_ever_at_one_place_but_those_that_end_by_themselves(cause, most, each_s):
    lives = _lives(cause, most=most, each_s=each_s)
    free = RULES[cause].again and not RULES[cause].counts

    assert len(lives) <= (50 if free else most)
    assert all(verdict.attempt < most or verdict.trigger != "preempt" for verdict in lives)
    assert all(verdict.not_before <= NOW + 60 * (MAX_WAIT_S + each_s) for verdict in lives)


def test_a_run_that_was_too_large_is_halved_down_to_one_pair_at_a_time():
    sizes, hyper = [], Hyper(pairs_per_batch=12)
    while hyper:
        sizes.append(hyper.pairs_per_batch)
        assert hyper == Hyper(pairs_per_batch=sizes[-1])
        hyper = smaller(hyper)

    assert sizes == [12, 4, 2, 1], "a step holds eight"
