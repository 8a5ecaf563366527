"""What the world sees of us is true, at once, and a file that cannot be written ends nothing."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import re
import shutil
import sqlite3
import time
from dataclasses import replace

import pytest
from support.disks import FullDisk
from support.job_world import World

from reactord import durable
from reactord import public as public_module
from reactord.ipc import dlm
from reactord.jobs.states import State
from reactord.public import Public

PATIENCE_S = 10.0
SAID_BY = {
    "training": "training.started",
    "exporting": "training.progress",
    "completed": "training.completed",
    "failed": "training.failed",
    "cancelled": "training.failed",
    "rejected": "training.failed",
    "rolled_back": "training.failed",
    "skipped": "training.failed",
}


@pytest.fixture
def world(home, monkeypatch):
    for name in ("JPRIME_MODELS_DIR", "JARVIS_PRIME_MODELS_DIR", "JPRIME_REPO_DIR", "REACTOR_PIPELINE_EVENTS_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(dlm, "SETTLE_S", 0.0)
    made = World(home)
    yield made
    with contextlib.suppress(sqlite3.ProgrammingError):
        made.store.close()


@pytest.fixture
def public(home, world):
    made = Public(home, world.settings, "1.0.0", time.time)
    made.ready(world.driver.services, world.driver)
    return made


@contextlib.asynccontextmanager
async def beating(public):
    task = asyncio.create_task(public.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE_S)


async def until(true):
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.002)


def bus(home):
    return [json.loads(line) for line in home.bus_lines.read_text().splitlines()] if home.bus_lines.exists() else []


def state(home):
    return json.loads(home.reactor_state.read_bytes()) if home.reactor_state.exists() else {}


def in_state(world, name):
    job = world.store.job("j") or world.ask()
    moved = replace(job, state=name)
    world.store.update_job(moved, was=job.state)
    return moved


# -- moved -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(State))
def test_each_state_is_said_once_on_the_bus_or_not_at_all(public, world, home, name):
    public.moved(in_state(world, name))

    assert [line["topic"] for line in bus(home)] == ([SAID_BY[name]] if name in SAID_BY else [])


def test_a_training_that_starts_again_is_the_same_event_for_its_readers(public, world, home):
    public.moved(in_state(world, "training"))
    public.moved(in_state(world, "training"))

    assert len({line["event_id"] for line in bus(home)}) == 1


async def test_the_state_is_written_at_once_after_a_move(public, world, home):
    async with beating(public):
        await until(lambda: state(home).get("status") == "ready")
        began = time.monotonic()
        public.moved(in_state(world, "training"))
        await until(lambda: state(home)["active_training_jobs"] == 1)
        public.moved(in_state(world, "completed"))
        await until(lambda: state(home)["active_training_jobs"] == 0)

    assert time.monotonic() - began < public_module.BEAT_S


# -- trouble -----------------------------------------------------------------------------------------------------------


async def test_a_directory_that_cannot_be_written_is_a_trouble_that_goes_away_by_itself(public, home, monkeypatch):
    monkeypatch.setattr(public_module, "BEAT_S", 0.01)
    hearts = home.trinity / "heartbeats"
    shutil.rmtree(hearts)
    hearts.write_text("in the way: nobody, not even root, can write into it")
    async with beating(public):
        await until(lambda: state(home).get("errors"))

        assert state(home)["errors"] == public.troubles()
        assert public.troubles()[0].startswith("cannot publish: Not a directory: ")
        assert str(hearts) in public.troubles()[0]

        hearts.unlink()
        hearts.mkdir()
        await until(lambda: state(home)["errors"] == [])
        assert public.troubles() == []


def test_a_disk_without_room_is_told_without_an_invented_name(public, world, monkeypatch):
    moved = in_state(world, "training")
    monkeypatch.setattr(durable, "disk", FullDisk())

    public.moved(moved)

    assert public.troubles() == ["cannot publish: No space left on device"]


def test_every_trouble_is_shown(public, world, monkeypatch):
    public.trouble, public.unpublished = "start", "publish"
    monkeypatch.setattr(type(world.driver), "trouble", "jobs")
    world.inbox.intake.trouble = "intake"

    assert public.troubles() == ["start", "publish", "intake", "jobs"]


# -- goodbye -----------------------------------------------------------------------------------------------------------


def files_with_our_pid(home):
    pid = re.compile(rf"(?<![\w.]){os.getpid()}(?![\w.])")  # its digits may stand within a time, by chance
    return [
        path for path in home.root.rglob("*.json")
        if home.ledger not in path.parents and pid.search(path.read_text())
    ]  # fmt: skip


async def said_hello(public, home):
    async with beating(public):
        await until(lambda: state(home).get("status") == "ready" and (home.registry / "services.json").exists())
    assert len(files_with_our_pid(home)) == len(home.heartbeats) + 2  # and the state, and the registry


async def test_after_the_goodbye_no_file_has_our_pid(public, home):
    await said_hello(public, home)

    public.withdraw()

    assert files_with_our_pid(home) == []
    assert (state(home)["status"], "pid" in state(home)) == ("offline", False)


async def test_a_daemon_that_crashed_with_its_store_closed_says_goodbye_all_the_same(public, world, home):
    await said_hello(public, home)
    world.store.close()

    public.withdraw()

    assert files_with_our_pid(home) == []


async def test_a_moment_without_a_descriptor_is_told_and_ends_nothing(home, public, monkeypatch):
    real, asked = public._presence, []

    def measured():
        asked.append(public.unpublished)
        if len(asked) < 3:
            raise OSError(errno.EMFILE, "Too many open files", "/proc/self/stat")
        return real()

    monkeypatch.setattr(public, "_presence", measured)
    monkeypatch.setattr(public_module, "BEAT_S", 0.01)
    async with beating(public):
        await until(lambda: home.reactor_state.exists() and public.unpublished is None)

    assert asked[1:3] == ["cannot publish: Too many open files: /proc/self/stat"] * 2
