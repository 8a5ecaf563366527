from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reactord.jobs.queue import AGE_STEP_S, PLACING, PRIORITIES, level_of, next_job, overdue_at
from reactord.jobs.states import LIVE, State
from reactord.ledger.state import Job

NOW = 1000.0


def _job(identity, state="queued", priority="normal", created_at=1.0, **facts):
    request = {} if priority is None else {"priority": priority}
    return Job(id=identity, state=state, cause="", attempt=0, fence=0, created_at=created_at, updated_at=created_at,
               request=request, facts=facts)  # fmt: skip


def _order(*jobs):
    """In which order they would run, whatever order they are given in."""
    left, order = list(jobs), []
    while left:
        random.Random(len(left)).shuffle(left)
        chosen = next_job(left, NOW)
        order.append(chosen.id)
        left.remove(chosen)
    return order


def test_nothing_to_do_is_nothing():
    assert next_job([], NOW) is None


def test_the_more_urgent_goes_first_then_the_older():
    assert _order(
        _job("old low", priority="low", created_at=1), _job("new high", priority="high", created_at=9),
        _job("old normal", created_at=2), _job("new normal", created_at=3), _job("critical", priority="critical"),
        _job("background", priority="background"), _job("urgent", priority="urgent", created_at=2),
    ) == ["critical", "urgent", "new high", "old normal", "new normal", "old low", "background"]  # fmt: skip


@pytest.mark.parametrize("state", [state for state in LIVE if state != State.QUEUED])
def test_an_interrupted_job_goes_before_every_other(state):
    jobs = [
        _job("critical", priority="critical"),
        _job("interrupted", state=state, priority="background", created_at=9),
    ]

    assert next_job(jobs, NOW).id == "interrupted"


def test_a_job_that_must_wait_lets_the_others_pass():
    waiting = _job("waiting", priority="critical", not_before=NOW + 1)

    assert next_job([waiting, _job("ready", priority="low")], NOW).id == "ready"
    assert next_job([waiting], NOW) is None
    assert next_job([waiting], NOW + 1).id == "waiting"


def test_waiting_does_not_hold_a_job_that_is_already_at_work():
    assert next_job([_job("a", state="training", not_before=NOW + 99)], NOW).id == "a"


@pytest.mark.parametrize("word", ["whatever", "", "HIGH", None])
def test_a_priority_that_nobody_knows_is_normal(word):
    assert _order(_job("b", priority=word, created_at=2), _job("a", created_at=1), _job("c", priority="low")) == [
        "a", "b", "c",
    ]  # fmt: skip


def test_every_word_of_body_has_its_place():
    assert sorted(PRIORITIES, key=lambda word: (PRIORITIES[word], word)) == [
        "critical", "urgent", "high", "normal", "low", "background",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("model_type", "level"),
    [
        ("voice", "critical"),
        ("nlu", "high"),
        ("vision", "normal"),
        ("embedding", "low"),
        ("llm", "normal"),
        ("?", "normal"),
    ],
)
def test_where_nobody_names_a_priority_the_model_type_suggests_one(model_type, level):
    assert level_of({"model_type": model_type}) == level_of({"model_type": model_type, "priority": None})
    assert level_of({"model_type": model_type}) == PRIORITIES[level]
    assert level_of({"model_type": model_type, "priority": "background"}) == PRIORITIES["background"]


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(PRIORITIES)), st.integers(0, 90_000), st.integers(1, 5400)),
        min_size=1,
        max_size=60,
    )
)
def test_however_many_urgent_jobs_come_nobody_is_overtaken_beyond_the_bound(asked):
    """A machine that runs one job at a time, fed with any jobs at any times."""
    jobs = [_job(f"{n:03}", priority=word, created_at=at) for n, (word, at, _) in enumerate(asked)]
    takes_s = {job.id: for_s for job, (_, _, for_s) in zip(jobs, asked, strict=True)}
    left, now, started = list(jobs), 0.0, []
    while left:
        there = [job for job in left if job.created_at <= now]
        if (chosen := next_job(there, now)) is None:
            now = min(job.created_at for job in left)
            continue
        started.append((chosen, now))
        left.remove(chosen)
        now += takes_s[chosen.id]

    begun = {job.id: at for job, at in started}
    for job in jobs:
        overtakers = [other for other in jobs if other.created_at > job.created_at and begun[other.id] < begun[job.id]]
        assert all(other.created_at <= overdue_at(job) for other in overtakers)
        assert overdue_at(job) - job.created_at <= max(PRIORITIES.values()) * AGE_STEP_S


@pytest.mark.parametrize(
    ("word", "begins_at_s"), [("high", 1800), ("normal", 3600), ("low", 5400), ("background", 7200)]
)
def test_beside_an_endless_stream_of_critical_jobs_everybody_has_a_turn(word, begins_at_s):
    """One critical job a minute, each of a minute: nothing else would ever run by priority alone."""
    waiting, now = _job("waiting", priority=word, created_at=0.5), 0.0
    while next_job([waiting, _job("critical", priority="critical", created_at=now)], now).id != "waiting":
        now += 60

    assert begins_at_s <= now <= begins_at_s + 60


# -- several at once ---------------------------------------------------------------------------------------------------
def test_one_at_a_time_is_the_default():
    jobs = [_job("a", state="training", dataset="d1"), _job("b")]

    assert next_job(jobs, NOW, driven=["a"]) is None
    assert next_job(jobs, NOW, driven=["a"], at_once=2).id == "b"


@pytest.mark.parametrize(
    "first", [_job("a"), _job("a", state="reserving"), _job("a", state="training")], ids=lambda job: job.state
)
def test_nobody_is_admitted_while_another_may_still_decide_on_records(first):
    assert next_job([first, _job("b")], NOW, driven=["a"], at_once=9) is None


def test_one_job_at_a_time_is_judged_and_deployed_and_the_nearest_to_its_end_goes_first():
    a, b, c = _job("a", state="exporting", dataset="d"), _job("b", state="deploying"), _job("c", state="exporting")

    assert next_job([a, b, c], NOW, at_once=9).id == "b"
    assert next_job([a, b, c], NOW, driven=["b"], at_once=9) is None
    assert next_job([a, c], NOW, at_once=9).id == "a"


def test_small_jobs_cannot_for_ever_hold_the_memory_that_a_large_one_waits_for():
    large = _job("large", priority="low", created_at=0, not_before=NOW * 1e3)
    at_work, small = _job("at work", state="training", dataset="d"), _job("small", priority="critical", created_at=9)
    overdue = overdue_at(large)

    assert next_job([large, at_work, small], overdue - 1, driven=["at work"], at_once=9).id == "small"
    assert next_job([large, at_work, small], overdue, driven=["at work"], at_once=9) is None
    assert next_job([large, small], overdue, at_once=9).id == "small"  # it is not ours what it waits for


@given(
    st.lists(st.tuples(st.sampled_from(LIVE), st.booleans(), st.booleans(), st.booleans()), max_size=8),
    st.integers(1, 4),
)
def test_whatever_is_at_work_the_next_job_breaks_no_rule(jobs, at_once):
    live = [
        _job(str(n), state=state, **({"dataset": "d"} if chosen else {}), **({"not_before": NOW + 1} if waits else {}))
        for n, (state, chosen, waits, _) in enumerate(jobs)
    ]
    driven = {str(n) for n, (_, _, _, at_work) in enumerate(jobs) if at_work}

    chosen = next_job(live, NOW, driven=driven, at_once=at_once)

    if chosen is None:
        return
    assert chosen in live
    assert chosen.id not in driven
    assert len(driven) < at_once
    if chosen.state == State.QUEUED:
        assert chosen.facts.get("not_before", 0) <= NOW
        assert not [j for j in live if j.state == "reserving" or (j.state == "training" and "dataset" not in j.facts)]
    if chosen.state in PLACING:
        assert not [job for job in live if job.id in driven and job.state in PLACING]
