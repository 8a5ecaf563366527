"""Is Prime asked without anybody waiting, and does it always get its memory back?

Against the engine over real sockets; the job's life is only written down.
"""

from __future__ import annotations

import asyncio
import json
import os
import time

import pytest
from support.job_world import Clock
from support.prime_engine import MODELS, running

from reactord import durable
from reactord.jobs import leasing as module
from reactord.jobs.leasing import Leasing
from reactord.jobs.machine import JobMachine
from reactord.jobs.states import State
from reactord.jobs.triggers import JobRequest, submit
from reactord.ledger.state import Store
from reactord.prime import lease as wire
from reactord.prime.health import Health
from reactord.prime.lease import Lease


@pytest.fixture
def engine():
    with running() as made:
        yield made


@pytest.fixture
def house(home, engine, monkeypatch):
    """A job that reserves, beside an engine that the environment names."""
    monkeypatch.setenv("JARVIS_PRIME_URL", engine.url)
    monkeypatch.setattr(module, "RETRY_S", 0.0)

    class House:
        def __init__(self):
            self.home, self.clock, self.store = home, Clock(time.time()), Store(home.state_db)
            self.machine, self.lost = JobMachine(self.store), []
            submit(self.store, JobRequest(job_id="j", born_of="cli"), self.clock(), "asked")
            self.machine.fire("j", "admit", self.clock(), cause="its turn")
            self.begin()

        def begin(self):
            """The next daemon."""
            self.leasing = Leasing(home, self.store, self.clock)
            self.leasing.lost = lambda job_id, why: self.lost.append((job_id, why))

        def move(self, *triggers):
            for trigger in triggers:
                self.machine.fire("j", trigger, self.clock(), cause="so")

        def topics(self):
            return [event.topic for event in self.store.events() if event.topic.startswith("prime.")]

    made = House()
    yield made
    made.store.close()


# -- asking ------------------------------------------------------------------------------------------------------------
async def test_what_prime_said_last_is_known_without_asking_until_it_is_stale(house, engine, monkeypatch):
    assert house.leasing.heard().health is None
    await house.leasing.ask()
    heard = house.leasing.heard()

    assert isinstance(heard.health, Health)
    assert heard.health.engine.resident == tuple(MODELS)
    assert not heard.leased
    monkeypatch.setattr(module, "STALE_S", -1.0)
    assert house.leasing.heard().health is None


async def test_a_prime_that_does_not_answer_once_is_what_it_was_and_one_that_never_did_is_not_there(house, engine):
    engine.manner["health"] = "fails"
    await house.leasing.ask()
    assert isinstance(house.leasing.heard().health, str)
    engine.manner.clear()
    await house.leasing.ask()
    engine.manner["health"] = "fails"
    await house.leasing.ask()

    assert house.leasing.heard().health.engine.lease == "serving"


async def test_the_loop_goes_on_while_a_prime_that_hangs_is_asked(house, engine):
    engine.manner["health"] = "mute"
    turns = 0

    async def count():
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    counting = asyncio.create_task(count())
    await house.leasing.ask()
    counting.cancel()

    assert isinstance(house.leasing.heard().health, str)
    assert turns > 20


async def test_a_prime_on_another_machine_is_not_asked(house, monkeypatch):
    monkeypatch.setenv("JARVIS_PRIME_URL", "http://192.0.2.1:8000")
    await house.leasing.ask()

    assert house.leasing.heard().health is None
    assert "its memory is not this machine's" in await house.leasing.acquire("j")


async def test_prime_is_asked_while_a_job_is_at_work_and_otherwise_left_in_peace(house, engine):
    await house.leasing.look()
    await house.leasing.look()
    assert [what for what, _ in engine.asked] == ["health"]
    house.move("requeue")
    house.begin()
    await house.leasing.look()
    assert len(engine.asked) == 1


# -- a lease -----------------------------------------------------------------------------------------------------------
async def test_a_lease_is_on_the_disk_for_our_eyes_only_and_held_as_long_as_its_job_needs_it(house, engine):
    assert await house.leasing.acquire("j") is None

    assert house.leasing.heard().leased
    assert Lease.read(house.home.prime_lease) == house.leasing.lease
    assert house.leasing.lease.pid == os.getpid()  # who listens there
    assert house.home.prime_lease.stat().st_mode & 0o077 == 0
    for trigger in ("start", "export"):
        house.move(trigger)
        await house.leasing.look()
        assert house.leasing.heard().leased
    house.move("deploy")
    await house.leasing.look()
    assert (engine.lease, engine.resident, house.leasing.lease) == (None, MODELS, None)
    assert not house.home.prime_lease.exists()
    assert house.topics() == ["prime.lent", "prime.given_back"]
    assert all("token" not in json.dumps(event.data) for event in house.store.events())


@pytest.mark.parametrize(
    "end", [("start", "preempt"), ("start", "fail"), ("cancel",), ("requeue",), ("start", "export", "reject")]
)
async def test_however_a_job_ends_prime_has_its_memory_back(house, engine, end):
    await house.leasing.acquire("j")
    house.move(*end)
    await house.leasing.look()

    assert (engine.lease, engine.resident) == (None, MODELS)


async def test_the_next_daemon_renews_the_lease_of_a_job_that_is_at_work(house, engine):
    await house.leasing.acquire("j")
    house.move("start")
    house.clock.now += module.RENEW_EVERY_S + 1  # it took a while to start
    house.begin()

    assert house.leasing.heard().leased
    await house.leasing.look()
    assert len(engine.posts("renew")) == 1
    assert Lease.read(house.home.prime_lease).renewed_at == house.clock.now


async def test_the_next_daemon_gives_back_the_lease_of_a_job_that_is_not(house, engine):
    await house.leasing.acquire("j")
    house.move("requeue")
    house.begin()
    await house.leasing.look()

    assert engine.lease is None
    assert house.leasing.lease is None


async def test_a_job_gives_back_only_what_was_lent_to_it(house, engine):
    await house.leasing.acquire("j")
    await house.leasing.give_back("another")

    assert engine.lease is not None
    assert house.leasing.heard().leased


async def test_a_daemon_that_was_told_to_stop_gives_the_memory_back_and_waits_for_no_answer(house, engine, monkeypatch):
    monkeypatch.setattr(module, "GOODBYE_S", 0.1)
    await house.leasing.acquire("j")
    await house.leasing.goodbye()
    assert engine.lease is not None  # its job is still at work: the next daemon goes on with it
    house.move("requeue")
    engine.manner["release"] = "mute"
    await house.leasing.goodbye()

    assert engine.lease is None


async def test_a_token_that_comes_when_nobody_waits_for_it_any_more_is_given_back(house, engine, monkeypatch):
    """A job is cancelled while Prime still lets its answers end."""
    real = wire.acquire

    def slowly(*arguments):
        time.sleep(0.2)
        return real(*arguments)

    monkeypatch.setattr(wire, "acquire", slowly)
    asking = asyncio.create_task(house.leasing.acquire("j"))
    await asyncio.sleep(0.05)
    asking.cancel()
    house.move("cancel")
    while not house.home.prime_lease.exists():
        await asyncio.sleep(0.01)
    await house.leasing.look()

    assert engine.lease is None
    assert house.leasing.lease is None


async def test_a_disk_that_is_full_when_the_token_comes_gives_the_memory_back_at_once(house, engine, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "publish", full)
    with pytest.raises(OSError, match="No space"):
        await house.leasing.acquire("j")

    assert engine.lease is None


async def test_a_lease_is_not_asked_for_again_soon_after_it_was_refused_or_did_not_help(house, engine):
    engine.lease = {"holder": "somebody", "token": "his", "ttl_s": 300.0, "restore_models": []}
    engine.renewed_at = time.time()
    assert "held by somebody" in await house.leasing.acquire("j")
    engine.lease = None
    await house.leasing.ask()
    assert house.leasing.heard().health.engine.lease is None  # so nothing can be leased (prime/memory.py)

    house.begin()
    await house.leasing.acquire("j")
    await house.leasing.give_back("j", useless=True)
    await house.leasing.ask()
    assert engine.lease is None
    assert house.leasing.heard().health.engine.lease is None


# -- a lease that is lost ----------------------------------------------------------------------------------------------
async def test_a_prime_that_was_started_again_has_its_memory_back_and_the_job_must_leave(house, engine, monkeypatch):
    monkeypatch.setattr(module, "RENEW_EVERY_S", 0.0)
    await house.leasing.acquire("j")
    house.move("start")
    await house.leasing.look()
    assert house.lost == []
    engine.forget()
    await house.leasing.look()

    assert house.lost == [("j", "Prime took its memory back: Prime knows of no such lease any more")]
    assert not house.leasing.heard().leased
    assert not house.home.prime_lease.exists()
    assert house.topics()[-1] == "prime.lease_lost"


async def test_a_lease_whose_process_is_gone_does_not_count_from_that_moment_on(house, engine):
    await house.leasing.acquire("j")
    house.leasing.lease = module.replace(house.leasing.lease, started=house.leasing.lease.started - 60)

    assert not house.leasing.heard().leased
    await house.leasing.look()
    assert house.lost[0][0] == "j"


async def test_a_machine_that_slept_through_its_lease_has_lost_it(house, engine):
    await house.leasing.acquire("j")
    house.clock.now += wire.TTL_S + 1

    assert not house.leasing.heard().leased
    await house.leasing.look()
    assert len(house.lost) == 1


async def test_a_prime_that_does_not_answer_a_renewal_is_asked_again_and_the_lease_counts_while_it_runs(
    house, engine, monkeypatch
):
    monkeypatch.setattr(module, "RENEW_EVERY_S", 0.0)
    monkeypatch.setattr(wire, "RENEW_DEADLINE_S", 0.2)
    await house.leasing.acquire("j")
    engine.manner["renew"] = "mute"
    await house.leasing.look()
    await house.leasing.look()
    assert house.leasing.heard().leased
    assert len(engine.posts("renew")) == 2
    monkeypatch.setattr(wire, "RENEW_DEADLINE_S", 10.0)
    engine.manner.clear()
    house.clock.now += 10
    await house.leasing.look()

    assert house.leasing.lease.renewed_at == house.clock.now
    assert house.lost == []


async def test_a_return_that_nobody_hears_is_said_again_until_the_lease_has_run_out_by_itself(house, engine):
    engine.manner["release"] = "deaf"
    await house.leasing.acquire("j")
    house.move("requeue")
    for _ in range(2):
        await house.leasing.give_back("j", deadline_s=0.1)
    assert house.leasing.lease is not None
    assert len(engine.posts("release")) == 2
    house.clock.now += wire.TTL_S + 1
    await house.leasing.give_back("j", deadline_s=0.1)

    assert house.leasing.lease is None
    assert house.topics()[-1] == "prime.ran_out"


async def test_trouble_with_our_own_disk_is_no_end_of_the_daemon(house, monkeypatch):
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.01)
    looks = []

    async def full(self):
        looks.append(1)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Leasing, "look", full)
    keeping = asyncio.create_task(house.leasing.keep())
    await asyncio.sleep(0.1)

    assert len(looks) > 2
    assert not keeping.done()
    keeping.cancel()


def test_the_states_that_need_a_lease_are_those_that_hold_memory():
    assert set(module.NEEDS_IT) == {State.RESERVING, State.TRAINING, State.EXPORTING}
