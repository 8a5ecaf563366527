"""Waiting for memory and the slot, and what is written down when both are there."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from support.job_world import World

from reactord.jobs import reserving
from reactord.jobs.negotiating import Snapshot
from reactord.jobs.planning import GIB
from reactord.jobs.reserving import outgrown, tightened, work
from reactord.prime.memory import Holding
from reactord.workdir import WorkDir

LLAMA = {
    "num_hidden_layers": 30,
    "hidden_size": 576,
    "vocab_size": 49152,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}


@pytest.fixture
def machine(monkeypatch):
    """What the job sees of the machine; change it with `machine.free(gib)`."""

    class Machine:
        snapshot = Snapshot(64 * GIB, 60 * GIB)

        def free(self, gib, total=64):
            self.snapshot = Snapshot(total * GIB, int(gib * GIB))

    made = Machine()
    monkeypatch.setattr(reserving, "look_around", lambda services, job: made.snapshot)
    return made


@pytest.fixture
def world(home):
    folder = home.base_models / "smollm2" / "hf"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(LLAMA))
    (folder.parent / "BASE.json").write_text(json.dumps({"name": "smollm2", "chat_template": "<|im_start|>"}))
    made = World(home, training_slot_timeout_s=0.02)
    yield made
    made.store.close()


async def _once(world, **request):
    job = world.ask(**request)
    clock = world.clock

    def tick():
        clock.now += 0.01
        return clock.now

    object.__setattr__(world.driver.services, "clock", tick)
    return await work(world.driver.services, job)


def _prepared(world, identity="j", longest=100):
    path = WorkDir(world.home.jobs / identity).outcome_path("prepare")
    path.write_text(json.dumps({"ok": True, "base": "smollm2", "longest_example_tokens": longest}))


async def test_a_job_that_fits_starts_as_it_was_asked_for(world, machine):
    what = await _once(world, hyper={"pairs_per_batch": 4})

    assert (what.trigger, what.cause) == ("start", "memory and the training slot are granted")
    spec = WorkDir(world.home.jobs / "j").spec()
    assert (spec.hyper.pairs_per_batch, spec.fence) == (4, what.facts["fence"])
    assert what.facts["peak_bytes"] == max(what.facts["stage_peaks"].values())
    assert what.facts["granted_bytes"] == what.facts["peak_bytes"]
    assert what.facts["shrunk"] is None


async def test_a_job_that_does_not_fit_is_queued_again_with_the_numbers_and_remembers_since_when_it_waits(
    world, machine
):
    machine.free(1.5)
    began = world.clock.now

    what = await _once(world)

    assert what.trigger == "requeue"
    assert "1.5 GiB of 64.0 GiB are available" in what.cause
    assert began < what.facts["waits_since"] < world.clock.now
    assert world.slot.takes == []  # what nobody can use is not taken


async def test_while_a_job_waits_everybody_can_read_what_for_and_the_journal_is_not_filled_with_it(world, machine):
    object.__setattr__(world.settings, "training_slot_timeout_s", 1.0)
    machine.free(1.5)

    await _once(world)

    assert "1.5 GiB of 64.0 GiB are available" in world.job().facts["waits_for"]
    assert [event.topic for event in world.store.events()].count("job.fact") == 1


async def test_a_job_that_may_not_fit_chooses_its_examples_and_is_cut_only_when_their_length_is_known(world, machine):
    machine.free(8)
    first = await _once(world, hyper={"pairs_per_batch": 8})
    workdir = WorkDir(world.home.jobs / "j")
    before = workdir.spec().hyper
    _prepared(world, longest=512)

    assert "only the examples for now" in first.cause
    assert (before.pairs_per_batch, first.facts["stage_peaks"].keys()) == (8, {"prepare"})
    assert outgrown(world.driver.services, replace(world.job(), facts=first.facts))
    second = await work(world.driver.services, world.job())
    assert "in a smaller form: 1 pairs a micro-batch (a step still holds as many) instead of 8" in second.cause
    hyper = workdir.spec().hyper
    assert (hyper.pairs_per_batch, hyper.pairs_per_step, hyper.max_length_tokens) == (1, 8, 512)


async def test_short_examples_are_not_cut_for_the_length_they_might_have_had(world, machine):
    machine.free(8)
    await _once(world)
    _prepared(world, longest=100)

    assert (await work(world.driver.services, world.job())).cause == "memory and the training slot are granted"


async def test_a_job_that_never_fits_fails_with_what_to_change(world, machine):
    machine.free(2, total=2)

    what = await _once(world)

    assert (what.trigger, what.facts["end_reason"]) == ("fail", "never_fits")
    assert "Choose a smaller base model" in what.cause


async def test_a_slot_that_is_busy_is_a_reason_to_wait_too(world, machine):
    world.slot.busy = "the training slot is held by jarvis-1"

    assert (await _once(world)).cause == "the training slot is held by jarvis-1"


async def test_a_job_that_has_chosen_its_dataset_keeps_its_numbers_and_may_only_be_cut_into_smaller_pieces(
    world, machine
):
    await _once(world, hyper={"pairs_per_batch": 4, "lora_rank": 32})
    _prepared(world, longest=400)
    checkpoint = WorkDir(world.home.jobs / "j").checkpoints / "step-000004"
    checkpoint.mkdir()
    before = WorkDir(world.home.jobs / "j").spec()
    machine.free(7)

    what = await work(world.driver.services, world.job())

    after = WorkDir(world.home.jobs / "j").spec()
    assert what.trigger == "start"
    assert after.hyper.pairs_per_batch < 4
    assert after.model_copy(update={"hyper": before.hyper}) == before
    assert after.hyper.model_copy(update={"pairs_per_batch": 4}) == before.hyper


async def test_what_is_left_to_do_decides_what_is_asked_for(world, machine):
    await _once(world, hyper={"pairs_per_batch": 8})
    _prepared(world)
    WorkDir(world.home.jobs / "j").outcome_path("train").write_text('{"ok": true}')
    machine.free(3.5)

    what = await work(world.driver.services, world.job())

    assert what.trigger == "start"
    assert set(what.facts["stage_peaks"]) == {"export", "judge"}


async def test_a_job_whose_base_turns_out_larger_than_guessed_reserves_again(world, machine):
    what = await _once(world, hyper={"pairs_per_batch": 2})
    _prepared(world, longest=512)
    services, job = world.driver.services, world.job()

    assert outgrown(services, replace(job, facts=what.facts)) is None
    assert "were granted" in outgrown(services, replace(job, facts={"granted_bytes": GIB}))


async def test_what_was_granted_for_any_length_is_given_back_when_the_length_is_known(world, machine):
    what = await _once(world)
    job = world.job()
    world.store.db.execute("UPDATE jobs SET facts=? WHERE id='j'", (json.dumps({**what.facts, "kept": 1}),))
    _prepared(world, longest=100)

    known = tightened(world.driver.services, world.job())

    assert job.id == known.id
    assert known.facts["granted_bytes"] < what.facts["granted_bytes"] / 2
    assert known.facts["granted_bytes"] == known.facts["peak_bytes"] == max(known.facts["stage_peaks"].values())
    assert world.job().facts == known.facts
    assert known.facts["kept"] == 1
    assert tightened(world.driver.services, known) is known
    assert outgrown(world.driver.services, known) is None


# -- what Prime lends --------------------------------------------------------------------------------------------------
LENDS = Holding(alive=True, held_bytes=5 * GIB, may_reach_bytes=None, leasable_bytes=4 * GIB)
LENT = Holding(alive=True, held_bytes=GIB, may_reach_bytes=GIB)


@pytest.fixture
def tight(world, monkeypatch):
    """A machine on which the job fits only with what Prime lends; `tight.free_gib` are available when it has."""
    object.__setattr__(world.settings, "prime_lease", True)

    class Tight:
        free_gib = 8

    def seen(services, job):
        if services.leasing.lease:
            return Snapshot(16 * GIB, Tight.free_gib * GIB, prime=LENT)
        return Snapshot(16 * GIB, 2 * GIB, prime=LENDS)

    monkeypatch.setattr(reserving, "look_around", seen)
    return Tight


async def _tired(world):
    job = world.ask()
    world.store.db.execute("UPDATE jobs SET facts=? WHERE id='j'", (json.dumps({"waits_since": world.clock.now - 9}),))
    object.__setattr__(world.settings, "training_slot_timeout_s", 0.02)
    clock = world.clock

    def tick():
        clock.now += 0.01
        return clock.now

    object.__setattr__(world.driver.services, "clock", tick)
    return await work(world.driver.services, world.job(job.id))


async def test_a_job_out_of_patience_has_prime_lend_its_memory_and_starts_in_it(world, tight):
    world.leasing.lends = None

    what = await _tired(world)

    assert what.trigger == "start"
    assert what.cause.startswith("memory and the training slot are granted; Prime lends its memory until the job has")
    assert world.leasing.done == ["acquire j"]
    assert world.slot.held


async def test_prime_is_not_silenced_for_a_job_that_has_no_slot(world, tight):
    world.leasing.lends, world.slot.busy = None, "the training slot is held by jarvis-1"

    assert (await _tired(world)).cause == "the training slot is held by jarvis-1"
    assert world.leasing.done == []


async def test_a_lease_that_is_refused_is_the_reason_to_wait_and_the_slot_is_free_for_others(world, tight):
    world.leasing.lends = "Prime has lent its memory already: held by somebody"

    what = await _tired(world)

    assert (what.trigger, what.cause) == ("requeue", "Prime has lent its memory already: held by somebody")
    assert not world.slot.held


async def test_what_prime_lent_and_is_not_enough_it_has_back_before_anybody_waits(world, tight):
    world.leasing.lends, tight.free_gib = None, 2

    what = await _tired(world)

    assert what.trigger == "requeue"
    assert "2.0 GiB of 16.0 GiB are available, Prime holds 1.0 GiB" in what.cause
    assert world.leasing.done[:2] == ["acquire j", "given back, useless"]


def test_the_machine_is_looked_at_with_what_our_other_jobs_were_granted(world):
    world.ask("other")
    world.store.db.execute("UPDATE jobs SET state='training', facts=? WHERE id='other'", ('{"peak_bytes": 12345}',))
    job = world.ask()

    snapshot = reserving.look_around(world.driver.services, job)

    assert 0 < snapshot.available_bytes <= snapshot.total_bytes
    assert (snapshot.ours_held_bytes, snapshot.ours_to_come_bytes) == (0, 12345)
    assert not snapshot.prime.alive
