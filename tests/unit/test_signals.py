"""Do a measured drift and a curriculum speak only when something was measured?"""

from __future__ import annotations

import pytest

from reactord.jobs.signals import CURRICULUM_FRESH_S, Share, curriculum, drift, is_worse
from reactord.ledger.state import Event, Job, Model

NOW = 1_000_000.0


def measured(rate, of=48, name="exact_answer_rate"):
    count = "verifiable" if name == "exact_answer_rate" else "pairs"
    return {name: rate, count: of}


def model(**candidate):
    return Model(version="v1.2.0", model_id="m", job_id="maker", created_at=NOW - 9000, fate="deployed",
                 facts={"candidate": candidate})  # fmt: skip


def job(identity="judge", age=100.0, **facts):
    return Job(id=identity, state="rejected", cause="", attempt=0, fence=0, created_at=NOW - age, updated_at=NOW,
               request={}, facts=facts)  # fmt: skip


# -- drift -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["exact_answer_rate", "preference_accuracy"])
def test_a_served_model_that_is_measured_worse_than_when_it_was_judged_has_drifted(name):
    why = drift(model(**measured(0.9, name=name)), [job(incumbent=measured(0.5, name=name))])

    assert "v1.2.0" in why
    assert "90% of 48" in why
    assert "50% of 48" in why


@pytest.mark.parametrize(
    ("then", "since"),
    [
        (measured(0.9), measured(0.85)),  # chance
        (measured(0.9), measured(0.95)),
        (measured(0.9, 10), measured(0.1, 10)),  # too few questions
        (measured(None), measured(0.1)),  # nothing could be verified then
        (measured(0.9), {}),
        ({}, measured(0.1)),
        (measured(0.9), measured(0.1, name="preference_accuracy")),  # another measure
    ],
)
def test_what_was_not_measured_or_may_be_chance_is_no_drift(then, since):
    assert drift(model(**then), [job(incumbent=since)]) is None


def test_there_is_no_drift_of_nothing():
    bad = measured(0.1)
    assert drift(None, [job(incumbent=bad)]) is None
    assert drift(model(**measured(0.9)), []) is None
    assert drift(model(**measured(0.9)), [job("maker", incumbent=bad)]) is None  # that was the one before it
    assert drift(model(**measured(0.9)), [job(age=9999, incumbent=bad)]) is None


def test_a_drift_is_acted_on_once():
    judged = job(incumbent=measured(0.1))

    assert drift(model(**measured(0.9)), [judged])
    assert drift(model(**measured(0.9)), [job("next", age=1), judged]) is None


def test_the_test_of_two_rates_is_the_textbooks():
    # 40 of 50 against 28 of 50: pooled 0.68, z = 0.24 / 0.0933 = 2.57, beyond 2.326
    assert is_worse(Share(0.80, 50), Share(0.56, 50))
    # 40 of 50 against 30 of 50: pooled 0.70, z = 0.20 / 0.0917 = 2.18
    assert not is_worse(Share(0.80, 50), Share(0.60, 50))
    assert not is_worse(Share(1.0, 50), Share(1.0, 50))


# -- curriculum --------------------------------------------------------------------------------------------------------
def event(*entries, age=60.0):
    return Event(seq=1, at=NOW - age, topic="curriculum", subject="", data={"facts": {"top_k": list(entries)}})


BUGS = {"task_type": "bug_fix", "priority": 0.38, "failure_rate": 0.61}


def test_what_body_wants_practised_is_named_with_its_rate():
    assert curriculum(event(BUGS), [], 0.3, NOW) == "the curriculum asks for 'bug_fix' (failed 61%)"


def test_of_many_tasks_some_are_named():
    why = curriculum(event(*[{**BUGS, "task_type": f"t{i}"} for i in range(9)]), [], 0.3, NOW)

    assert why.count("failed") == 3


@pytest.mark.parametrize(
    "said",
    [
        None,
        event(),
        event({**BUGS, "priority": 0.29}),
        event({**BUGS, "priority": "high"}),
        event({**BUGS, "priority": float("nan")}),
        event({**BUGS, "task_type": 7}),
        event("bug_fix"),
        event(BUGS, age=CURRICULUM_FRESH_S),
        event(BUGS, age=-CURRICULUM_FRESH_S),
        Event(seq=1, at=NOW, topic="curriculum", subject="", data={"facts": {"top_k": {"a": 1}}}),
        Event(seq=1, at=NOW, topic="curriculum", subject="", data={}),
    ],
)
def test_what_asks_for_nothing_or_was_long_ago_is_no_reason(said):
    assert curriculum(said, [], 0.3, NOW) is None


def test_a_curriculum_is_followed_once():
    assert curriculum(event(BUGS), [job(age=61)], 0.3, NOW)
    assert curriculum(event(BUGS), [job(age=60)], 0.3, NOW) is None
