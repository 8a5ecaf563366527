"""The training slot as the driver holds it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import subprocess
import threading
import time

import psutil
import pytest
from support.disks import FailingDisk, FullDisk
from support.job_world import Clock

from reactord import durable
from reactord.ipc import dlm
from reactord.jobs import slot as module
from reactord.jobs.slot import NAME, Slot


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def slot(home, clock, monkeypatch):
    monkeypatch.setattr(dlm, "SETTLE_S", 0.0)
    monkeypatch.setattr(module, "RENEW_EVERY_S", 0.01)
    return Slot(home.locks, clock)


@pytest.fixture
def worker():
    """A process that waits until it is ended."""
    made = subprocess.Popen(["sleep", "60"])
    yield made
    made.kill()
    made.wait()


def _owner(home):
    return dlm.holder(home.locks, NAME).owner


async def test_the_slot_is_taken_once_and_given_back(slot, home):
    assert await slot.take(3, delegated=False) is None
    claim_id = dlm.holder(home.locks, NAME).claim_id
    assert await slot.take(3, delegated=False) is None
    assert dlm.holder(home.locks, NAME).claim_id == claim_id

    await slot.release()

    assert dlm.holder(home.locks, NAME) is None


async def test_of_several_jobs_under_one_slot_the_token_carries_the_highest_fence(slot, home):
    for fence, seen in ((3, 3), (5, 5), (4, 5)):
        assert await slot.take(fence, delegated=False) is None
        assert dlm.holder(home.locks, NAME).fence == seen


async def test_two_jobs_that_ask_at_once_take_it_once_and_neither_starts_before_it_has_settled(slot, home, monkeypatch):
    monkeypatch.setattr(dlm, "SETTLE_S", 0.3)
    first = asyncio.create_task(slot.take(1, delegated=False))
    while dlm.holder(home.locks, NAME) is None:
        await asyncio.sleep(0.005)
    second = asyncio.create_task(slot.take(2, delegated=False))
    await asyncio.sleep(0.1)
    assert not first.done()
    assert not second.done()
    assert await asyncio.gather(first, second) == [None, None]


async def test_the_only_worker_owns_the_slot_the_daemon_does_beside_several_and_after_them(slot, home, worker):
    mine = dlm.owner_of(os.getpid())
    await slot.take(1, delegated=False)
    assert _owner(home) == mine
    await slot.take(1, delegated=False, worker=worker.pid)
    assert _owner(home) == dlm.owner_of(worker.pid)
    await slot.take(2, delegated=False, worker=os.getppid())
    assert _owner(home) == mine
    await slot.left(os.getppid())
    assert _owner(home) == dlm.owner_of(worker.pid)
    await slot.left(worker.pid)
    assert _owner(home) == mine
    await slot.left(worker.pid)
    await slot.left(None)


async def test_the_slot_outlives_the_daemon_with_its_worker_and_the_next_daemon_adopts_it(slot, home, clock, worker):
    await slot.take(7, delegated=False, worker=worker.pid)
    claim_id = dlm.holder(home.locks, NAME).claim_id
    clock.now += 30  # of the daemon nothing is left but the file

    heir = Slot(home.locks, clock)
    assert "held by reactor-" in await heir.take(8, delegated=False)
    assert await heir.take(8, delegated=False, worker=worker.pid) is None

    found = dlm.holder(home.locks, NAME)
    assert (found.claim_id, found.fence, found.expires_at) == (claim_id, 8, clock.now + module.TTL_S)


async def test_a_worker_that_dies_frees_the_slot_until_its_daemon_signs_again(slot, home, clock, worker):
    await slot.take(1, delegated=False, worker=worker.pid)
    worker.kill()
    worker.wait()

    thief = dlm.claim(home.locks, NAME, 60.0, clock.now)

    assert isinstance(thief, dlm.Lease)
    await slot.left(worker.pid)
    assert dlm.holder(home.locks, NAME).token == thief.token
    assert "held by reactor-" in await slot.take(1, delegated=False)


def _body(home, clock, pid):
    """Body holds the slot in its file."""
    started = psutil.Process(pid).create_time()
    said = {"acquired_at": clock.now, "expires_at": clock.now + 7200, "owner": f"jarvis-{pid}-{started:.1f}",
            "token": "bodys", "lock_name": NAME}  # fmt: skip
    dlm.lock_path(home.locks, NAME).write_text(json.dumps(said))


async def test_what_body_lends_is_not_touched_and_taken_over_when_body_dies_under_our_worker(slot, home, clock, worker):
    _body(home, clock, worker.pid)
    assert "held by jarvis-" in await slot.take(1, delegated=False)
    assert await slot.take(1, delegated=True, worker=os.getppid()) is None
    assert await _kept(slot) == []
    assert dlm.holder(home.locks, NAME).token == "bodys"

    worker.kill()
    worker.wait()

    assert await _kept(slot) == []
    assert _owner(home) == dlm.owner_of(os.getppid())


async def test_a_lent_slot_that_somebody_else_has_now_is_lost(slot, home, clock, worker):
    _body(home, clock, worker.pid)
    assert await slot.take(1, delegated=True) is None
    dlm.lock_path(home.locks, NAME).unlink()
    dlm.claim(home.locks, NAME, 60.0, clock.now)

    assert await _kept(slot) == [1]


async def test_a_claim_whose_job_was_cancelled_meanwhile_is_given_back(slot, home, monkeypatch):
    claim, claimed = dlm.claim, threading.Event()

    def slow(*arguments, **named):
        got = claim(*arguments, **named)
        claimed.set()
        time.sleep(0.1)
        return got

    monkeypatch.setattr(dlm, "claim", slow)
    taking = asyncio.create_task(slot.take(1, delegated=False))
    while not claimed.is_set():
        await asyncio.sleep(0.005)
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    deadline = time.monotonic() + 20
    while dlm.holder(home.locks, NAME) is not None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def test_who_holds_the_slot_is_named(slot, home, clock):
    dlm.claim(home.locks, NAME, 60.0, clock.now)

    assert "held by reactor-" in await slot.take(1, delegated=False)


async def _kept(slot, for_s=0.1):
    lost = []
    slot.lost = lambda: lost.append(1)
    keeping = asyncio.create_task(slot.keep())
    await asyncio.sleep(for_s)
    assert not keeping.done()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    return lost


async def test_a_slot_that_is_kept_does_not_run_out(slot, home, clock):
    await slot.take(1, delegated=False)
    for _ in range(5):
        clock.now += module.RENEW_EVERY_S * 100
        assert await _kept(slot, 0.03) == []

    assert dlm.holder(home.locks, NAME).expires_at > clock.now


async def test_a_slot_that_somebody_else_took_is_lost_and_the_driver_told_once(slot, home, clock):
    await slot.take(1, delegated=False)
    dlm.lock_path(home.locks, NAME).unlink()
    other = dlm.claim(home.locks, NAME, 60.0, clock.now)

    assert await _kept(slot) == [1]

    await slot.release()
    assert dlm.holder(home.locks, NAME).token == other.token


async def test_a_full_disk_ends_neither_the_keeping_nor_the_daemon_and_the_slot_stays_ours_while_it_lasts(
    slot, home, clock
):
    await slot.take(1, delegated=False)
    durable.disk = FullDisk()
    assert await _kept(slot) == []

    durable.disk.full = False
    clock.now += 10
    assert await _kept(slot) == []
    assert dlm.holder(home.locks, NAME).expires_at == clock.now + module.TTL_S


async def test_a_slot_that_could_not_be_renewed_in_time_is_lost(slot, clock):
    await slot.take(1, delegated=False)
    durable.disk = FullDisk()
    clock.now += module.TTL_S

    assert await _kept(slot) == [1]


async def test_giving_back_what_cannot_be_removed_is_no_reason_to_stop(slot, home):
    await slot.take(1, delegated=False)
    durable.disk = FailingDisk(fail_at=1, error=errno.EIO)

    await slot.release()

    assert dlm.holder(home.locks, NAME) is not None  # it runs out by itself
