"""Do commands reach the driver from their thread, and does a stopping daemon put them off?"""

from __future__ import annotations

import asyncio
import threading

import pytest
from support.job_world import World

from reactord.errors import BadRequest, EnvironmentTrouble
from reactord.jobs import orders
from reactord.jobs.orders import Orders


@pytest.fixture
async def world(home):
    made = World(home)
    yield made
    await made.stop()
    made.store.close()


@pytest.fixture
async def asked(world):
    """(the orders, a way to call them as the thread of the commands does)"""
    ended = threading.Event()
    made = Orders(world.driver, lambda: "ready", ended)

    async def ask(name, *arguments):
        return await asyncio.to_thread(getattr(made, name), *arguments)

    return ended, ask


async def test_a_job_is_queued_once_however_often_it_is_asked_for(world, asked):
    _, ask = asked
    assert await ask("submit", "j", {"priority": "high"}) == {"job_id": "j", "state": "queued", "new": True}
    assert (await ask("submit", "j", {}))["new"] is False
    assert (world.job().request["born_of"], world.job().request["priority"]) == ("command", "high")
    assert (await ask("facts"))["queued_jobs"] == 1


async def test_a_command_may_say_which_data_its_job_waits_for(world, asked):
    _, ask = asked
    await ask("submit", "j", {"needs_experiences": 50, "needs_dataset": "job-1"})

    assert (world.job().request["needs_experiences"], world.job().request["needs_dataset"]) == (50, "job-1")


@pytest.mark.parametrize(
    "payload",
    [{"recipe": "xyz"}, {"model_type": "voice"}, {"priority": 7}, {"needs_experiences": -1}, {"needs_dataset": "../x"}],
)
async def test_a_job_that_makes_no_sense_is_refused_in_words(world, asked, payload):
    _, ask = asked
    with pytest.raises(BadRequest):
        await ask("submit", "j", payload)
    assert world.store.jobs() == []


async def test_a_queued_job_is_cancelled_and_an_unknown_one_is_said_to_be_unknown(asked):
    _, ask = asked
    await ask("submit", "j", {})
    assert (await ask("cancel", "j"))["state"] == "cancelled"
    with pytest.raises(BadRequest, match="no job"):
        await ask("cancel", "k")


async def test_nothing_runs_so_there_is_nothing_to_checkpoint(asked):
    _, ask = asked
    assert await ask("checkpoint", "shutdown announced") == {"job_id": None}


async def test_a_draining_daemon_admits_no_job(world, asked):
    _, ask = asked
    await ask("drain", "the supervisor leaves")
    world.start()
    await ask("submit", "j", {})
    await asyncio.sleep(0.2)
    assert world.job().state == "queued"
    assert (await ask("facts"))["draining"] is True


async def test_a_stopping_daemon_puts_a_command_off(world, asked):
    ended, ask = asked
    ended.set()
    with pytest.raises(EnvironmentTrouble, match="after its next start"):
        await ask("submit", "j", {})
    assert world.store.jobs() == []


async def test_a_loop_that_does_not_answer_is_not_waited_for_for_ever(world, monkeypatch):
    monkeypatch.setattr(orders, "ANSWER_S", 0.01)
    made = Orders(world.driver, lambda: "ready", threading.Event())
    with pytest.raises(TimeoutError):
        made.submit("j", {})  # on the loop's own thread: it cannot answer
    await asyncio.sleep(0.01)
    assert world.store.jobs() == []
