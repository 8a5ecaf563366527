"""A whole job in memory that Prime lends: real workers' processes, the real lease over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal

import pytest
from support.prime_engine import MODELS, running
from support.staged_world import StagedWorld, fill, patch, plan, starts

from reactord.jobs import leasing as leasing_module
from reactord.jobs import reserving
from reactord.jobs.leasing import Leasing
from reactord.jobs.negotiating import Snapshot
from reactord.jobs.planning import GIB
from reactord.jobs.worker_process import is_working
from reactord.prime.memory import Holding

LENT = Holding(alive=True, held_bytes=GIB, may_reach_bytes=GIB)


class LendingWorld(StagedWorld):
    """A machine on which nothing fits unless Prime lends its memory."""

    def _begin(self):
        super()._begin()
        self.leases = Leasing(self.home, self.store, self.clock)
        object.__setattr__(self.driver.services, "leasing", self.leases)

    def start(self):
        super().start()
        self.keeping = asyncio.create_task(self.leases.keep())

    async def stop(self):
        await super().stop()
        self.keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.keeping

    def ask_tired(self):
        self.ask()
        self.store.db.execute("UPDATE jobs SET facts=? WHERE id='j'", (json.dumps({"waits_since": 1.0}),))


def _seen(services, job):
    heard = services.leasing.heard()
    if heard.leased:
        return Snapshot(16 * GIB, 12 * GIB, prime=LENT)
    engine = getattr(heard.health, "engine", None)
    lends = 10 * GIB if engine and engine.lease == "serving" else None
    return Snapshot(16 * GIB, 2 * GIB, prime=Holding(alive=True, held_bytes=11 * GIB, may_reach_bytes=None,
                                                     leasable_bytes=lends))  # fmt: skip


@pytest.fixture
def engine():
    with running() as made:
        yield made


@pytest.fixture
async def world(home, engine, monkeypatch):
    patch(monkeypatch)
    fill(home)
    monkeypatch.setenv("JARVIS_PRIME_URL", engine.url)
    monkeypatch.setattr(reserving, "look_around", _seen)
    monkeypatch.setattr(leasing_module, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(leasing_module, "RENEW_EVERY_S", 0.1)
    made = LendingWorld(home, prime_lease=True)
    await made.until(lambda: made.inbox.intake.ready)
    yield made
    await made.close()


def _leased(world, engine, workdir):
    return engine.lease is not None and engine.resident == [] and is_working(workdir)


async def test_prime_is_silent_while_the_job_trains_and_serves_before_its_model_is_placed(world, engine, home):
    workdir = plan(home, train={"for_s": 0.5})
    world.start()
    world.ask_tired()
    await world.until(lambda: starts(workdir)[-1:] == ["train"])
    assert _leased(world, engine, workdir)
    job = await world.until_over()
    await world.until(lambda: engine.lease is None)

    assert job.state == "completed", job.cause
    assert engine.resident == MODELS
    assert len(engine.posts("acquire")) == 1
    assert len(engine.posts("renew")) > 1


async def test_a_prime_that_was_started_again_makes_the_job_leave_at_a_checkpoint_and_is_asked_anew(
    world, engine, home
):
    workdir = plan(home, train={"for_s": 30.0})
    world.start()
    world.ask_tired()
    await world.until(lambda: starts(workdir)[-1:] == ["train"])
    await world.until(lambda: is_working(workdir))
    plan(home)
    await asyncio.sleep(0.3)  # the worker has read what it does
    engine.forget()
    world.store.db.execute(  # it has been waiting for long by now, too
        "UPDATE jobs SET facts=json_set(facts, '$.waits_since', 1.0) WHERE id='j'"
    )
    job = await world.until_over()

    assert (job.state, job.attempt) == ("completed", 0), job.cause
    assert "prime.lease_lost" in [event.topic for event in world.store.events()]
    assert any("Prime took its memory back" in str(event.data.get("cause")) for event in world.store.events())
    assert len(engine.posts("acquire")) == 2
    await world.until(lambda: engine.lease is None)


async def test_a_worker_that_is_killed_costs_prime_nothing(world, engine, home):
    workdir = plan(home, train={"for_s": 30.0})
    world.start()
    world.ask_tired()
    await world.until(lambda: starts(workdir)[-1:] == ["train"] and (workdir.root / "worker.json").exists())
    plan(home)
    await asyncio.sleep(0.3)
    worker = json.loads((workdir.root / "worker.json").read_bytes())
    object.__setattr__(world.settings, "max_attempts", 1)
    os.kill(worker["pid"], signal.SIGKILL)

    job = await world.until_over()
    await world.until(lambda: engine.lease is None)
    assert job.state == "failed"
    assert engine.resident == MODELS


async def test_a_cancelled_job_gives_prime_its_memory_back(world, engine, home):
    workdir = plan(home, train={"for_s": 30.0})
    world.start()
    world.ask_tired()
    await world.until(lambda: starts(workdir)[-1:] == ["train"] and is_working(workdir))
    world.driver.cancel("j")

    assert (await world.until_over()).state == "cancelled"
    await world.until(lambda: engine.resident == MODELS)


async def test_a_daemon_that_is_killed_leaves_a_lease_that_the_next_one_renews_for_the_worker_that_lives(
    world, engine, home
):
    workdir = plan(home, train={"for_s": 2.0})
    world.start()
    world.ask_tired()
    await world.until(lambda: starts(workdir)[-1:] == ["train"] and workdir.worker_path.exists())
    world.driver._interrupt = lambda *arguments: asyncio.sleep(0)  # killed: nobody says goodbye, the worker lives
    for task in (world.task, world.keeping):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    before = len(engine.posts("renew"))
    assert _leased(world, engine, workdir)

    await world.restart()
    await world.until(lambda: len(engine.posts("renew")) > before)
    assert _leased(world, engine, workdir)
    job = await world.until_over()

    assert (job.state, job.attempt) == ("completed", 0), job.cause
    assert starts(workdir).count("train") == 1
    assert len(engine.posts("acquire")) == 1
    await world.until(lambda: engine.resident == MODELS)


async def test_a_daemon_that_was_killed_with_a_lease_that_no_job_needs_gives_it_back_at_its_next_start(
    world, engine, home
):
    world.ask_tired()
    world.driver.services.machine.fire("j", "admit", world.clock(), cause="its turn")
    assert await world.leases.acquire("j") is None
    world.driver.services.machine.fire("j", "requeue", world.clock(), cause="so", not_before=world.clock() + 10**6)
    await world.restart()

    await world.until(lambda: engine.lease is None)
    assert engine.resident == MODELS
