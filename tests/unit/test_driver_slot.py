"""The training slot as the driver holds it."""

from __future__ import annotations

import asyncio
import errno

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


async def test_the_slot_is_taken_once_and_given_back(slot, home):
    assert await slot.take(3, delegated=False) is None
    token = dlm.holder(home.locks, NAME).token
    assert await slot.take(4, delegated=False) is None
    assert dlm.holder(home.locks, NAME).token == token

    slot.release()

    assert dlm.holder(home.locks, NAME) is None


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

    slot.release()
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


async def test_giving_back_what_cannot_be_removed_is_no_reason_to_stop(slot, monkeypatch):
    await slot.take(1, delegated=False)
    durable.disk = FailingDisk(fail_at=1, error=errno.EIO)

    slot.release()

    assert slot.lease is None
