from __future__ import annotations

import sqlite3

import pytest

from reactord.ledger.state import Job, Model, Store


@pytest.fixture
def store(fast_dir):
    made = Store(fast_dir / "state.db")
    yield made
    made.close()


def _job(identity, **given):
    facts = {"state": "queued", "cause": "asked", "attempt": 0, "fence": 0, "created_at": 1.0, "updated_at": 1.0,
             "request": {"job_id": identity}, "facts": {}}  # fmt: skip
    return Job(id=identity, **{**facts, **given})


def _model(version, fate, created_at):
    return Model(version=version, model_id="m", job_id="j", created_at=created_at, fate=fate, facts={"gguf": "/g"})


def test_what_is_written_is_read_back_after_a_restart(store, fast_dir):
    job = _job("a", state="training", facts={"loss": 0.5, "list": [1, None]})
    store.insert_job(job)
    store.put_model(_model("v1.0.0", "deployed", 2.0))
    store.insert_dataset("d1", "a", 3.0)
    store.note("topic", "a", 4.0, key="value")
    store.close()
    again = Store(fast_dir / "state.db")

    assert again.job("a") == job
    assert again.deployed() == _model("v1.0.0", "deployed", 2.0)
    assert again.datasets() == ["d1"]
    (event,) = again.events()
    assert (event.topic, event.subject, event.data) == ("topic", "a", {"key": "value"})
    again.close()


def test_live_jobs_come_oldest_first_and_all_jobs_newest_first(store):
    for at, (identity, state) in enumerate([("a", "completed"), ("b", "queued"), ("c", "deploying"), ("d", "failed")]):
        store.insert_job(_job(identity, state=state, created_at=float(at)))

    assert [job.id for job in store.live_jobs()] == ["b", "c"]
    assert [job.id for job in store.jobs()] == ["d", "c", "b", "a"]
    assert [job.id for job in store.jobs(limit=1)] == ["d"]


def test_the_deployed_model_is_the_newest_that_is_meant_to_be_live(store):
    assert store.deployed() is None
    for version, fate, at in (("v1.0.0", "superseded", 1), ("v1.1.0", "deployed", 2), ("v1.2.0", "rejected", 3)):
        store.put_model(_model(version, fate, at))

    assert store.deployed().version == "v1.1.0"


def test_datasets_come_in_the_order_in_which_they_were_taken_and_once(store):
    for dataset, at in (("z", 1.0), ("a", 2.0), ("z", 3.0), ("m", 2.0)):
        store.insert_dataset(dataset, "j", at)

    assert store.datasets() == ["z", "a", "m"]


def test_events_are_numbered_without_gaps_and_can_be_followed(store):
    for n in range(5):
        store.note("t", "s", float(n))

    assert [event.seq for event in store.events(after=2)] == [3, 4, 5]
    assert [event.seq for event in store.events(after=2, limit=1)] == [3]
    assert store.last_event() == 5


def test_a_transaction_that_fails_leaves_nothing(store):
    def half_way():
        with store.transaction():
            store.insert_job(_job("a"))
            store.note("t", "a", 1.0)
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        half_way()

    assert store.job("a") is None
    assert store.last_event() == 0


def test_a_job_that_moved_in_between_is_not_overwritten(store):
    store.insert_job(_job("a", state="training", fence=5))

    assert not store.update_job(_job("a", state="exporting", fence=5), was="queued")
    assert not store.update_job(_job("a", state="exporting", fence=4), was="training")
    assert store.update_job(_job("a", state="exporting", fence=5), was="training")
    assert store.job("a").state == "exporting"


def test_fences_only_grow_over_restarts_too(store, fast_dir):
    first = [store.next_fence() for _ in range(3)]
    again = Store(fast_dir / "state.db")

    assert [*first, again.next_fence(), store.next_fence()] == [1, 2, 3, 4, 5]
    again.close()


def test_a_ledger_that_begins_anew_counts_on_above_what_others_have_seen(store):
    assert [store.next_fence(above=57), store.next_fence(), store.next_fence(above=3)] == [58, 59, 60]


def test_facts_that_are_no_json_are_a_bug_and_are_not_stored(store):
    with pytest.raises(TypeError):
        store.insert_job(_job("a", facts={"loss": object()}))

    assert store.job("a") is None


def test_every_commit_is_flushed(store):
    assert store.db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store.db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_that_is_no_database_is_said_so(fast_dir):
    (fast_dir / "state.db").write_bytes(b"nonsense" * 1000)

    with pytest.raises(sqlite3.DatabaseError):
        Store(fast_dir / "state.db")
