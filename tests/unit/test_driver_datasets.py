"""Does each job start from what the jobs before it took and deployed, even where the index forgot it?"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from dataclasses import replace

import pytest
from support.driver_work import stand_in
from support.job_world import World, make_base, make_dataset

from reactord.jobs import exporting, training
from reactord.jobspec import JobSpec
from reactord.ledger.state import Model
from reactord.workdir import WorkDir


@pytest.fixture
def work(monkeypatch):
    return stand_in(monkeypatch)


@pytest.fixture
async def world(home, work):
    made = World(home)
    yield made
    await made.close()


# -- the index is disposable -------------------------------------------------------------------------------------------
async def test_what_was_taken_is_taken_again_where_a_rebuilt_index_forgot_it(world, home):
    for n, dataset in enumerate(("d1", "d2", "d3")):
        make_dataset(home, dataset)
        world.store.insert_dataset(dataset, "j", float(n))
    world.inbox.taken = ["d2"]
    world.start()
    await world.until(lambda: len(world.inbox.taken) == 3)

    assert world.inbox.taken == ["d2", "d1", "d3"]


async def test_a_dataset_that_is_gone_keeps_jobs_waiting_and_says_which(world, home):
    world.store.insert_dataset("d1", "j", 1.0)
    world.ask()
    world.start()
    await world.until(lambda: world.driver.trouble)
    assert "d1" in world.driver.trouble
    assert world.job().state == "queued"

    make_dataset(home, "d1")

    assert (await world.until_over()).state == "completed"


# -- moments -----------------------------------------------------------------------------------------------------------
def named(job):
    return replace(job, facts={"model_id": "jarvis-openhermes"})


@pytest.fixture
def prepared(home, monkeypatch):
    """A job whose stages have their outcomes."""
    make_dataset(home, "d1")
    make_base(home)

    async def outcome(services, job, stage):
        return {"ok": True, "dataset": "d1", "base": "base", "steps": 1}

    monkeypatch.setattr(training, "run_stage", outcome)


async def test_a_rebuilt_index_is_told_of_the_earlier_datasets_before_the_next_one_is_taken(world, home, prepared):
    make_dataset(home, "d0")
    world.store.insert_dataset("d0", "another", 1.0)

    said = await training.work(world.driver.services, named(world.ask()))

    assert said.trigger == "export"
    assert world.inbox.taken == ["d0", "d1"]
    assert world.store.datasets() == ["d0", "d1"]


def _spec(home, **more):
    """The directory of job j, with its spec and what its prepare stage said."""
    work = WorkDir(home.jobs / "j")
    spec = {
        "job_id": "j",
        "base": "b",
        "home": home.root,
        "upto": 7,
        "as_of": 1.0,
        "model_id": "m",
        "version": "v1.0.0",
    }
    work.create(JobSpec(**{**spec, "fence": 1, **more}))
    work.write_outcome("prepare", {"ok": True, "dataset": "d1"})
    return work


@pytest.mark.parametrize(
    ("taken", "again"), [(["d0"], True), ([], False), (["d1"], False), (["d0", "d1"], False)], ids=str
)
async def test_a_dataset_chosen_before_another_job_took_its_own_is_chosen_again(world, home, prepared, taken, again):
    """It would count records that are gone, and the ledger would refuse it."""
    work = _spec(home)
    for n, dataset in enumerate(taken):
        if dataset != "d1":
            make_dataset(home, dataset)
        world.store.insert_dataset(dataset, "another", float(n))

    await training.work(world.driver.services, named(world.ask()))

    assert (work.outcome("prepare") is None) == again
    assert work.spec().parent_dataset == ("d0" if again else None)


async def test_a_model_deployed_while_a_job_waited_is_the_one_to_be_better_than(world, home, monkeypatch):
    work, seen = _spec(home, incumbent_gguf="/old.gguf"), []
    work.write_outcome("judge", {"ok": True, "verdict": "pass"})

    async def outcome(services, job, stage):
        seen.append((stage, str(work.spec().incumbent_gguf), work.outcome("judge") is None))
        return {"ok": True, "verdict": "pass", "chosen": "Q8_0.gguf"}

    monkeypatch.setattr(exporting, "run_stage", outcome)
    job = world.ask()
    for fate, gguf in (("superseded", "/old.gguf"), ("deployed", "/new.gguf")):
        world.store.put_model(
            Model(version=fate, model_id="m", job_id="x", created_at=1.0, fate=fate, facts={"gguf": gguf})
        )

    assert (await exporting.work(world.driver.services, job)).trigger == "deploy"

    assert seen == [("export", "/new.gguf", True), ("judge", "/new.gguf", True)]


async def test_a_job_cancelled_while_its_dataset_is_taken_leaves_index_and_state_in_agreement(world, home, prepared):
    taking: Future[None] = Future()
    world.inbox.take = lambda dataset, manifest: taking
    at_work = asyncio.create_task(training.work(world.driver.services, named(world.ask())))
    await asyncio.sleep(0.01)
    taking.set_running_or_notify_cancel()  # the ingest thread is at it

    at_work.cancel()
    await asyncio.gather(at_work, return_exceptions=True)
    taking.set_result(None)

    await world.until(lambda: world.store.datasets() == ["d1"])
