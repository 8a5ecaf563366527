from __future__ import annotations

import pytest
from support.job_world import World

from reactord.jobs import preflight
from reactord.jobs.preflight import EXPORT_GROWTH, FLOOR_BYTES, lacks_room, needed_bytes
from reactord.jobspec import Hyper

MIB = 1024 * 1024


def test_a_job_writes_its_checkpoints_and_the_export_chain():
    hyper = Hyper(keep_checkpoints=2)

    assert needed_bytes(0, 0, hyper, trained=False) == FLOOR_BYTES
    assert needed_bytes(270 * MIB, 0, hyper, trained=False) == FLOOR_BYTES + EXPORT_GROWTH * 270 * MIB
    assert needed_bytes(0, MIB, hyper, trained=False) == FLOOR_BYTES + 3 * 12 * MIB  # two, and the one being written
    assert needed_bytes(0, MIB, hyper, trained=True) == FLOOR_BYTES


def test_the_budget_bounds_the_checkpoints_but_two_and_the_one_being_written_always_need_room():
    small, large = Hyper(keep_checkpoints=100, checkpoint_budget_mb=60), Hyper(keep_checkpoints=4)

    assert needed_bytes(0, MIB, small, trained=False) == FLOOR_BYTES + 60 * MIB
    assert needed_bytes(0, 10 * MIB, small, trained=False) == FLOOR_BYTES + 3 * 120 * MIB
    assert needed_bytes(0, MIB, large, trained=False) == FLOOR_BYTES + 5 * 12 * MIB


@pytest.mark.parametrize(("free", "waits"), [(FLOOR_BYTES, False), (FLOOR_BYTES - 1, True)])
async def test_a_job_waits_for_the_last_byte_and_says_what_to_do(home, monkeypatch, free, waits):
    world = World(home)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free})())

    why = lacks_room(world.driver.services, world.ask())

    assert (why is not None) == waits
    assert why is None or "make room, the job goes on by itself" in why
    world.store.close()
