from __future__ import annotations

import asyncio

import pytest
from support.fake_worker import EXIT_STOPPED
from support.job_world import World
from support.staged_world import FAKE, plan

from reactord.jobs import tidying, worker_process
from reactord.jobs.worker_process import is_working, start
from reactord.ledger.state import Job


@pytest.fixture
def world(home):
    made = World(home)
    yield made
    made.store.close()


def _put(world, identity, state):
    world.store.insert_job(
        Job(
            id=identity, state=state, cause="", attempt=0, fence=0, created_at=1.0, updated_at=1.0, request={}, facts={}
        )
    )


def _file(path, size=1000):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


async def test_what_a_crash_left_is_removed_at_the_start_and_reported(world, home):
    _put(world, "over", "failed")
    _put(world, "live", "training")
    doomed = [
        _file(home.jobs / "over" / "checkpoints" / "step-000004" / "optimizer.pt"),
        _file(home.jobs / "over" / "artifacts" / "f16.gguf"),
        _file(home.jobs / "over" / "scratch" / "cache"),
        _file(home.jobs / "live" / "checkpoints" / ".writing" / "checkpoint-8" / "optimizer.pt"),
        _file(home.jobs / "live" / ".spec.json.77.tmp"),
        _file(home.datasets / ".building-live" / "train.jsonl"),
        _file(home.base_models / ".making-smollm2" / "model.safetensors"),
    ]
    kept = [
        _file(home.jobs / "over" / "progress.jsonl"),
        _file(home.jobs / "live" / "checkpoints" / "step-000004" / "optimizer.pt"),
        _file(home.jobs / "stranger" / "checkpoints" / "step-000004" / "optimizer.pt"),
        _file(home.datasets / "d1" / "train.jsonl"),
        _file(home.base_models / "base" / "BASE.json"),
    ]

    report = await tidying.at_start(world.driver.services)

    assert not [path for path in doomed if path.exists()]
    assert all(path.exists() for path in kept)
    assert report.size_bytes == 1000 * len(doomed)
    assert report.strangers == ["stranger"]
    (event,) = [event for event in world.store.events() if event.topic == "leftovers.removed"]
    assert (event.data["count"], event.data["size_bytes"]) == (len(doomed), 1000 * len(doomed))
    assert {"its job is over", "half made by a run that died"} == {entry["why"] for entry in event.data["removed"]}


async def test_a_tidy_home_is_left_alone_and_nothing_is_said(world, home):
    _put(world, "live", "training")
    (home.jobs / "live" / "checkpoints").mkdir(parents=True)

    report = await tidying.at_start(world.driver.services)

    assert (report.removed, report.strangers) == ([], [])
    assert world.store.last_event() == 0


async def test_whoever_keeps_artifacts_keeps_them(home):
    world = World(home, keep_job_artifacts=True)
    _put(world, "over", "failed")
    kept = _file(home.jobs / "over" / "artifacts" / "f16.gguf")

    await tidying.at_start(world.driver.services)

    assert kept.exists()
    world.store.close()


async def test_what_a_worker_is_making_now_is_left_alone_and_the_worker_of_a_job_that_is_over_is_ended(
    world, home, monkeypatch
):
    monkeypatch.setattr(worker_process, "WORKER_COMMAND", FAKE)
    monkeypatch.setattr(worker_process, "POLL_S", 0.02)
    workers = {}
    for identity, state in (("live", "training"), ("over", "cancelled")):
        _put(world, identity, state)
        workers[identity] = await start(plan(home, identity, train={"do": "hang"}), "train")
        while not workers[identity].workdir.worker_path.exists():
            await asyncio.sleep(0.01)
    made = _file(home.jobs / "live" / "checkpoints" / ".writing" / "checkpoint-8" / "optimizer.pt")
    base = _file(home.base_models / ".making-smollm2" / "model.safetensors")

    await tidying.at_start(world.driver.services)

    assert made.exists()
    assert base.exists()
    assert is_working(workers["live"].workdir)
    assert not is_working(workers["over"].workdir)
    assert await workers["over"].child.wait() == EXIT_STOPPED
    await workers["live"].stop()


async def test_a_link_is_removed_and_not_what_it_points_to(world, home):
    _put(world, "over", "failed")
    dataset = _file(home.datasets / "d1" / "train.jsonl")
    (home.jobs / "over").mkdir()
    (home.jobs / "over" / "artifacts").symlink_to(home.datasets / "d1")

    await tidying.at_start(world.driver.services)

    assert dataset.exists()
    assert not (home.jobs / "over" / "artifacts").is_symlink()
