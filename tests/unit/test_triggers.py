from __future__ import annotations

import pytest
from pydantic import ValidationError

from reactord.jobs.states import State
from reactord.jobs.triggers import Growth, JobRequest, due, new_job_id, submit, wanted
from reactord.ledger.state import Job, Store
from reactord.settings import Settings

NOW = 10_000.0
SETTINGS = Settings(experience_threshold=100, settle_s=5, min_training_interval_s=3600)


def _job(state, created_at):
    return Job(id=f"{state}-{created_at}", state=state, cause="", attempt=0, fence=0, created_at=created_at,
               updated_at=created_at, request={}, facts={})  # fmt: skip


@pytest.mark.parametrize(
    ("fresh", "quiet_s", "jobs", "born"),
    [
        (100, 5, [], True),
        (99, 5, [], False),
        (0, 1e9, [], False),
        (10_000, 4.9, [], False),
        (100, -50, [], False),  # the clock was set back
        (100, 5, [("completed", 3600)], True),
        (100, 5, [("completed", 3599)], False),
        (100, 5, [("failed", 3599)], False),
        (100, 5, [("completed", 9000), ("rejected", 3599)], False),
        (100, 5, [("queued", 9000)], False),
        (100, 5, [("reserving", 9000)], False),
        (100, 5, [("training", 9000)], False),
        (100, 5, [("exporting", 9000)], True),
        (100, 5, [("deploying", 9000)], True),
        (100, 5, [("cancelled", 9000)], True),
    ],
)
def test_a_job_is_born_when_enough_is_new_and_nothing_speaks_against_it(fresh, quiet_s, jobs, born):
    growth = Growth(fresh, NOW - quiet_s)

    cause = due(SETTINGS, growth, [_job(state, NOW - age) for state, age in jobs], NOW)

    assert (cause is not None) == born
    assert not born or str(fresh) in cause


@pytest.mark.parametrize(
    ("fresh", "score", "settings", "born"),
    [
        (10, 99.9, {}, False),
        (10, 100.0, {}, True),
        (10, None, {}, False),  # nobody knows yet
        (100, 10.0, {}, True),  # near-duplicates, but as many as were asked for
        (10, 49.0, {"score_threshold": 50.0}, False),
        (10, 50.0, {"score_threshold": 50.0}, True),
        (10, 1e6, {"score_threshold": 0.0}, False),
        (10, 1e6, {"experience_threshold": 0}, False),  # the score has no number of its own
        (1000, 60.0, {"experience_threshold": 0, "score_threshold": 50.0}, True),
        (1000, 40.0, {"experience_threshold": 0, "score_threshold": 50.0}, False),
        (0, 100.0, {}, False),
    ],
)
def test_a_job_is_born_when_what_is_new_weighs_enough(fresh, score, settings, born):
    growth = Growth(fresh, NOW - 5, score, "10 correction")

    assert (due(SETTINGS.model_copy(update=settings), growth, [], NOW) is not None) == born


def test_a_clock_that_was_set_back_by_years_stops_no_birth():
    growth = Growth(100, NOW + 1e8)

    assert due(SETTINGS, growth, [_job("completed", NOW + 1e8)], NOW)
    assert due(SETTINGS, growth, [_job("completed", NOW + 3599)], NOW) is None


@pytest.mark.parametrize(
    ("fresh", "jobs", "may"),
    [(20, [], True), (19, [], False), (20, [("queued", 9000)], False), (20, [("failed", 3599)], False)],
)
def test_a_reason_of_its_own_needs_a_bit_that_is_new(fresh, jobs, may):
    made = [_job(state, NOW - age) for state, age in jobs]

    assert wanted(SETTINGS, Growth(fresh, NOW - 5), made, NOW) == may
    assert not wanted(SETTINGS.model_copy(update={"signal_threshold": 0}), Growth(10**6, 0.0), [], NOW)


def test_a_threshold_of_zero_means_never():
    assert due(SETTINGS.model_copy(update={"experience_threshold": 0}), Growth(10**9, 0.0), [], NOW) is None


@pytest.fixture
def store(fast_dir):
    made = Store(fast_dir / "state.db")
    yield made
    made.close()


def test_submitting_the_same_job_again_changes_nothing_and_says_so(store):
    first, new = submit(store, JobRequest(job_id="a", born_of="http", priority="high"), NOW, "asked")
    again, renewed = submit(store, JobRequest(job_id="a", born_of="cli", priority="low"), NOW + 9, "asked again")

    assert (new, renewed) == (True, False)
    assert again == first == store.job("a")
    assert (first.state, first.request["priority"], first.attempt, first.fence) == (State.QUEUED, "high", 0, 0)
    assert [(event.topic, event.subject) for event in store.events()] == [("job.queued", "a")]


@pytest.mark.parametrize(
    "identity", ["", "..", ".a", "-a", "a/b", "a\n", "a b", "a\0", "ü", "a" * 129, "/etc/passwd", "a\\b"]
)
def test_an_id_that_could_be_a_path_or_worse_is_refused(identity):
    with pytest.raises(ValidationError):
        JobRequest(job_id=identity, born_of="http")


@pytest.mark.parametrize("identity", ["a", "A1", "job-1795281245-0a1b2c3d", "a.b_c-d", "a" * 128])
def test_an_id_of_a_peer_is_taken(identity):
    assert JobRequest(job_id=identity, born_of="http").job_id == identity


@pytest.mark.parametrize(
    "hyper", [{"learning_rate": float("nan")}, {"learning_rate": float("inf")}, {"max_steps": "x"}]
)
def test_numbers_that_are_none_are_refused(hyper):
    with pytest.raises(ValidationError):
        JobRequest(job_id="a", born_of="http", hyper=hyper)


def test_ids_of_our_own_are_unique_sort_by_time_and_are_ids():
    identities = [new_job_id(1e9 + n // 10) for n in range(100)]

    assert len(set(identities)) == 100
    assert sorted(identities, key=lambda i: i.split("-")[1]) == identities
    assert all(JobRequest(job_id=identity, born_of="cli") for identity in identities)
