from __future__ import annotations

import random

import pytest

from reactord.jobs.queue import PRIORITIES, next_job
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
