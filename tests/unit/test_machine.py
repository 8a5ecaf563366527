from __future__ import annotations

import pytest

from reactord.jobs.machine import IllegalTransition, JobMachine
from reactord.jobs.states import LIVE, TERMINAL, TRANSITIONS, State
from reactord.ledger.state import Job, Store

TRIGGERS = sorted({edge["trigger"] for edge in TRANSITIONS})
EDGES = {
    (source, edge["trigger"]): edge["dest"]
    for edge in TRANSITIONS
    for source in ([edge["source"]] if isinstance(edge["source"], str) else edge["source"])
}


@pytest.fixture
def store(fast_dir):
    made = Store(fast_dir / "state.db")
    yield made
    made.close()


@pytest.fixture
def machine(store):
    return JobMachine(store)


def _put(store, state, fence=0):
    store.insert_job(
        Job(id="j", state=state, cause="", attempt=0, fence=fence, created_at=1.0, updated_at=1.0, request={}, facts={})
    )


@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.parametrize("state", list(State))
def test_every_trigger_in_every_state_does_what_the_table_says_and_leaves_one_event(machine, store, state, trigger):
    _put(store, state)
    before = store.job("j")
    if (dest := EDGES.get((state, trigger))) is None:
        with pytest.raises(IllegalTransition):
            machine.fire("j", trigger, 2.0, cause="why")
        assert store.job("j") == before
        assert store.last_event() == 0
        return
    moved = machine.fire("j", trigger, 2.0, cause="why", loss=0.5)

    assert moved == store.job("j")
    assert (moved.state, moved.cause, moved.updated_at, moved.facts) == (dest, "why", 2.0, {"loss": 0.5})
    (event,) = store.events()
    assert (event.topic, event.subject, event.at) == (f"job.{dest}", "j", 2.0)
    assert (event.data["source"], event.data["trigger"], event.data["facts"]) == (state, trigger, {"loss": 0.5})


def test_every_state_can_be_reached_and_every_live_one_be_left():
    reached, frontier = set(), {"queued"}
    while frontier:
        reached |= frontier
        frontier = {dest for (source, _), dest in EDGES.items() if source in frontier} - reached

    assert reached == {str(state) for state in State}
    assert {source for source, _ in EDGES} == {str(state) for state in LIVE}


def test_terminal_states_absorb():
    assert not [edge for edge in EDGES if edge[0] in TERMINAL]


def test_from_every_live_state_there_are_a_failure_and_a_cancellation():
    assert all(EDGES[state, "fail"] == "failed" and EDGES[state, "cancel"] == "cancelled" for state in LIVE)


def test_a_run_with_an_old_fence_is_refused_and_changes_nothing(machine, store):
    _put(store, "training", fence=7)

    with pytest.raises(IllegalTransition, match="newer run"):
        machine.fire("j", "export", 2.0, cause="late", fence=6)

    assert store.job("j").state == "training"
    assert store.last_event() == 0
    assert machine.fire("j", "export", 3.0, cause="in time", fence=7).state == "exporting"


def test_a_fence_stays_with_the_job_until_a_newer_one_comes(machine, store):
    _put(store, "reserving")
    machine.fire("j", "start", 2.0, cause="", fence=4)
    assert machine.fire("j", "preempt", 3.0, cause="").fence == 4


def test_a_job_that_does_not_exist_cannot_be_moved(machine):
    with pytest.raises(IllegalTransition, match="no job"):
        machine.fire("nobody", "cancel", 1.0, cause="")


def test_a_state_and_its_event_are_one_transaction(machine, store, monkeypatch):
    _put(store, "queued")

    def fail(*arguments, **data):
        raise OSError("no room for the event")

    monkeypatch.setattr(store, "note", fail)
    with pytest.raises(OSError, match="no room"):
        machine.fire("j", "admit", 2.0, cause="")

    assert store.job("j").state == "queued"


def test_learning_a_fact_does_not_move_the_job_and_is_told(machine, store):
    _put(store, "deploying")

    learned = machine.learn(store.job("j"), 2.0, previous="v1")

    assert learned == store.job("j")
    assert (learned.state, learned.facts) == ("deploying", {"previous": "v1"})
    assert [event.topic for event in store.events()] == ["job.fact"]


def test_learning_about_a_job_that_has_moved_on_is_refused(machine, store):
    _put(store, "deploying")
    before = store.job("j")
    machine.fire("j", "cancel", 2.0, cause="")

    with pytest.raises(IllegalTransition):
        machine.learn(before, 3.0, previous="v1")
    assert store.job("j").facts == {}


def test_work_that_was_done_under_an_old_fence_is_not_committed_though_the_job_is_in_the_same_state_again(
    machine, store
):
    _put(store, "exporting", fence=7)  # the run with fence 6 was fenced off, a newer one got just as far

    with pytest.raises(IllegalTransition, match="newer run"):
        machine.fire("j", "deploy", 2.0, cause="late", held=6)
    with pytest.raises(IllegalTransition, match="newer run"):
        machine.fire("j", "deploy", 2.0, cause="late", held=6, fence=9)

    assert (store.job("j").state, store.last_event()) == ("exporting", 0)
    moved = machine.fire("j", "deploy", 3.0, cause="in time", held=7, fence=9)
    assert (moved.state, moved.fence) == ("deploying", 9)
