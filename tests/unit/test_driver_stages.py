"""The driver with real worker processes: what the stages say, and what becomes of the job."""

from __future__ import annotations

import asyncio
import json

import pytest
from support.ledgers import check, manifest
from support.staged_world import FACTS, RECORDS, StagedWorld, fates, fill, patch, plan, starts

from reactord.ipc import dlm
from reactord.jobs.attempts import RULES, Cause
from reactord.jobs.slot import NAME, Slot
from reactord.jobs.worker_process import is_working
from reactord.workdir import STAGES

ALL = list(STAGES)
ENVIRONMENT_RETRY_S = RULES[Cause.ENVIRONMENT].wait_s


@pytest.fixture
def taken(home, monkeypatch):
    patch(monkeypatch)
    return fill(home)


@pytest.fixture
async def world(home, taken):
    made = StagedWorld(home)
    await made.until(lambda: made.inbox.intake.ready)
    yield made
    await made.close()


async def test_a_job_goes_through_all_stages_takes_its_dataset_and_the_ledger_balances(world, home, taken):
    workdir = plan(home)
    world.start()
    world.ask()

    job = await world.until_over()

    assert (job.state, job.attempt) == ("completed", 0), job.cause
    assert starts(workdir) == ALL
    assert workdir.spec().upto == job.facts["upto"] == 10
    assert job.facts["training"]["loss"] == 0.5
    assert world.store.datasets() == ["d1"]
    await world.until(lambda: dlm.holder(home.locks, NAME) is None)
    await world.close()
    counts = check(home, [("d1", taken)])
    assert (counts.in_datasets, counts.held_out, counts.pending, counts.rejected) == (6, 2, 1, {"a_twin": 1})


async def test_two_jobs_at_once_decide_on_different_records_and_the_ledger_balances(home, taken):
    world = StagedWorld(home, max_concurrent_training_jobs=2)
    await world.until(lambda: world.inbox.intake.ready)
    rest = {**FACTS["prepare"], "dataset": "d2"}
    (home.datasets / "d2").mkdir()
    second = manifest(RECORDS, train=taken["fates"]["waiting"])
    (home.datasets / "d2" / "manifest.json").write_text(json.dumps(second))
    slow = {"for_s": 1.0}
    directories = [plan(home, "a", train=slow), plan(home, "b", prepare={"facts": rest}, train=slow)]
    world.ask("a")
    world.ask("b")
    world.start()
    await world.until(lambda: all("train" in starts(work) and is_working(work) for work in directories))
    assert world.store.datasets() == ["d1", "d2"]
    assert directories[1].spec().parent_dataset == "d1"

    for identity in "ab":
        assert (await world.until_over(identity)).state == "completed"

    assert [starts(work) for work in directories] == [ALL, ALL]
    await world.close()
    assert dlm.holder(home.locks, NAME) is None
    counts = check(home, [("d1", taken), ("d2", second)])
    assert (counts.in_datasets, counts.held_out, counts.pending) == (7, 2, 0)


async def test_a_worker_holds_the_slot_and_the_end_of_the_job_gives_it_back(world, home):
    workdir = plan(home, train={"for_s": 0.3})
    world.start()
    world.ask()
    await world.until(lambda: "train" in starts(workdir))

    lock = dlm.holder(home.locks, NAME)

    assert lock is not None
    assert lock.token.endswith(f".{world.job().fence}")
    await world.until_over()
    await world.until(lambda: dlm.holder(home.locks, NAME) is None)


async def test_a_name_that_would_mislead_prime_is_refused_before_a_record_is_decided_on(world, home):
    workdir = plan(home)
    object.__setattr__(world.settings, "model_id", "jarvis-llama-3-small")
    world.start()
    world.ask()

    job = await world.until_over()

    assert (job.state, job.facts["error"]) == ("failed", "BadRequest")
    assert "choose a model_id that contains one of" in job.cause
    assert starts(workdir) == ["prepare"]
    assert world.store.datasets() == []


async def test_a_job_that_waits_for_a_setting_goes_by_the_corrected_one(world, home):
    refusal = {"ok": False, "cause": "missing_model", "message": "correct base_model in the settings"}
    workdir = plan(home, prepare={"do": "refuse", "facts": refusal})
    object.__setattr__(world.settings, "base_model", "/nonexistent")
    world.start()
    world.ask()
    await world.until(lambda: world.job().facts.get("end_reason") == "missing_model")
    before = workdir.spec()
    await world.stop()
    plan(home)
    object.__setattr__(world.settings, "base_model", "/models/there")
    world.clock.now += ENVIRONMENT_RETRY_S
    await world.restart()

    assert (await world.until_over()).state == "completed"
    after = workdir.spec()
    assert (before.base, after.base) == ("/nonexistent", "/models/there")
    assert (before.upto, before.as_of, before.version) == (after.upto, after.as_of, after.version)


async def test_a_dataset_that_does_not_add_up_stops_the_job_and_changes_nothing(world, home, taken):
    plan(home)
    taken["fates"]["train"].pop()
    (home.datasets / "d1" / "manifest.json").write_text(json.dumps(taken))
    world.start()
    world.ask()

    job = await world.until_over()

    assert (job.state, job.facts["error"]) == ("failed", "Conservation")
    assert world.store.datasets() == []
    await world.close()
    assert (fates(home).pending, fates(home).balanced) == (10, True)


@pytest.mark.parametrize("stage", ["prepare", "judge"])
async def test_a_worker_that_is_lost_is_tried_again_a_bounded_number_of_times(world, home, stage):
    workdir = plan(home, **{stage: {"do": "die"}})
    world.start()
    world.ask()
    await world.until(lambda: world.job().attempt == 2)
    assert world.job().facts["not_before"] == world.clock.now + RULES[Cause.SIGNAL].wait_s
    world.clock.now += RULES[Cause.SIGNAL].wait_s

    job = await world.until_over()

    assert (job.state, job.attempt, job.facts["end_reason"]) == ("failed", 2, "signal")
    assert "attempt 3 of 3" in job.cause
    assert starts(workdir) == [*ALL[: ALL.index(stage)], stage, stage, stage]


async def test_a_worker_that_is_lost_once_costs_one_attempt_and_the_job_completes(world, home):
    workdir = plan(home, train={"do": "crash"})
    world.start()
    world.ask()
    await world.until(lambda: "preempt" in [event.data.get("trigger") for event in world.store.events()])
    plan(home)
    world.clock.now += RULES[Cause.CRASHED].wait_s

    job = await world.until_over()

    assert job.state == "completed"
    assert 1 <= job.attempt <= 2
    assert starts(workdir)[-2:] == ["export", "judge"]


@pytest.mark.parametrize(
    ("stage", "cause"),
    [("prepare", "missing_model"), ("train", "environment"), ("export", "disk_full"), ("judge", "disk_full")],
)
async def test_a_broken_environment_is_waited_for_and_the_job_completes_when_it_is_mended(world, home, stage, cause):
    refusal = {"ok": False, "cause": cause, "message": "free some space; the job goes on by itself"}
    workdir = plan(home, **{stage: {"do": "refuse", "facts": refusal}})
    world.start()
    world.ask()
    job = await world.until_state("queued")
    await world.until(lambda: world.job().facts.get("end_reason") == cause)
    job = world.job()
    assert (job.state, job.cause) == ("queued", refusal["message"])
    assert job.facts["not_before"] == world.clock.now + ENVIRONMENT_RETRY_S
    tried = len(starts(workdir))
    await asyncio.sleep(0.1)
    assert len(starts(workdir)) == tried
    plan(home)

    world.clock.now += ENVIRONMENT_RETRY_S

    job = await world.until_over()
    assert (job.state, job.attempt) == ("completed", 0)
    assert starts(workdir).count(stage) == 2
    assert len(list(workdir.root.glob(f"outcome-{stage}.run-*.json"))) == 1  # what the first try said is kept


async def test_a_refusal_that_is_the_data_s_fault_fails_the_job_with_the_worker_s_words(world, home):
    plan(home, prepare={"do": "refuse"})
    world.start()
    world.ask()

    job = await world.until_over()

    assert (job.state, job.cause, job.facts["error"]) == ("failed", "no; send something else", "BadRecord")


async def test_a_job_without_anything_to_learn_from_is_skipped_and_its_records_stay(world, home):
    said = {"ok": False, "cause": "no_data", "message": "no example to learn from; wait for more interactions"}
    plan(home, prepare={"do": "refuse", "facts": said})
    world.start()
    world.ask()

    job = await world.until_over()

    assert (job.state, job.cause, job.attempt) == ("skipped", said["message"], 0)
    assert world.inbox.looked_upto == 10  # nothing is born again of what it looked at
    await world.close()
    assert (fates(home).pending, fates(home).balanced) == (10, True)


async def test_a_run_that_was_too_large_is_made_again_in_smaller_pieces_until_there_are_none(world, home):
    said = {"ok": False, "cause": "out_of_memory", "message": "unable to mmap; lower hyper.pairs_per_batch"}
    workdir = plan(home, train={"do": "refuse", "facts": said})
    world.start()
    world.ask(hyper={"pairs_per_batch": 4})
    for attempt, size in ((1, 2), (2, 1)):
        await world.until(lambda attempt=attempt: world.job().attempt == attempt)
        assert workdir.spec().hyper.pairs_per_batch == size
        assert f"the next run takes {size} pairs" in world.job().cause
        world.clock.now += RULES[Cause.OUT_OF_MEMORY].wait_s

    job = await world.until_over()

    assert (job.state, job.facts["end_reason"]) == ("failed", "out_of_memory")
    assert starts(workdir) == ["prepare", "train", "train", "train"]


async def test_a_worker_that_hangs_twice_at_one_place_is_not_started_a_third_time(world, home):
    object.__setattr__(world.settings, "stage_silence_s", 0.3)
    workdir = plan(home, export={"do": "hang"})
    world.start()
    world.ask()

    job = await world.until_over()

    assert (job.state, job.facts["end_reason"]) == ("failed", "hang")
    assert "nothing new" in job.cause
    assert starts(workdir) == ["prepare", "train", "export", "export"]


async def test_a_stage_has_a_deadline_and_the_job_says_which_passed(world, home):
    object.__setattr__(world.settings, "judge_deadline_s", 0.3)
    workdir = plan(home, judge={"do": "talk", "for_s": 30})
    world.start()
    world.ask()

    job = await world.until_over()

    assert (job.state, job.facts["end_reason"]) == ("failed", "deadline")
    assert "judge was given 0 s" in job.cause
    assert "raise judge_deadline_s" in job.cause
    assert not is_working(workdir)


@pytest.mark.parametrize("stage", ALL)
async def test_cancelling_ends_the_worker_of_any_stage(world, home, stage):
    workdir = plan(home, **{stage: {"do": "hang"}})
    world.start()
    world.ask()
    await world.until(lambda: stage in starts(workdir) and workdir.worker_path.exists())

    world.driver.cancel("j")

    assert (await world.until_over()).state == "cancelled"
    assert not is_working(workdir)
    await world.until(lambda: dlm.holder(home.locks, NAME) is None)
    await world.close()
    assert fates(home).balanced


@pytest.mark.parametrize("stage", ALL)
async def test_stopping_in_any_stage_ends_its_worker_and_the_next_start_does_only_what_is_left(world, home, stage):
    workdir = plan(home, **{stage: {"do": "hang"}})
    world.start()
    world.ask()
    await world.until(lambda: stage in starts(workdir) and workdir.worker_path.exists())

    await world.stop()

    assert not is_working(workdir)
    assert (world.job().state, world.job().cause) == ("queued", "the daemon was stopped")
    plan(home)
    await world.restart()
    job = await world.until_over()
    assert (job.state, job.attempt) == ("completed", 0)
    assert starts(workdir) == [*ALL[: ALL.index(stage) + 1], *ALL[ALL.index(stage) :]]


async def test_a_resumed_job_whose_slot_somebody_else_took_gives_way(world, home):
    workdir = plan(home, train={"do": "hang"})
    world.start()
    world.ask()
    await world.until(lambda: "train" in starts(workdir) and workdir.worker_path.exists())
    world.driver._interrupt = lambda *arguments: asyncio.sleep(0)  # killed: nobody says goodbye, the worker lives
    world.task.cancel()
    await asyncio.gather(world.task, return_exceptions=True)
    dlm.lock_path(home.locks, NAME).unlink()
    other = dlm.claim(home.locks, NAME, 60.0, world.clock.now)
    assert isinstance(other, dlm.Lease)
    world.slot = Slot(home.locks, world.clock)
    assert is_working(workdir)
    plan(home)

    await world.restart()

    await world.until_state("queued", "reserving")
    await world.until(lambda: not is_working(workdir))
    other.release()
    assert (await world.until_over()).state == "completed"
