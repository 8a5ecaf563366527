"""The training slot with Redis before the file: both or none, whoever goes away in between."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time

import pytest
from support.peers import Body, RedisBody
from support.redis_server import RedisServer

from reactord.home import Home
from reactord.ipc import arbiter, dlm
from reactord.jobs import slot as module
from reactord.jobs.slot import NAME, TTL_S, Slot
from reactord.settings import Settings

KEY = "jarvis:lock:trinity:training_slot"


@pytest.fixture
def server(tmp_path):
    made = RedisServer(tmp_path)
    made.start()
    yield made
    if made._process:
        made.thaw()
    made.kill()


@pytest.fixture
def home(tmp_path):
    made = Home(tmp_path / "home")
    made.create()
    return made


class Clock:
    def __init__(self):
        self.ahead = 0.0

    def __call__(self):
        return time.time() + self.ahead


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(server, home, clock, monkeypatch):
    monkeypatch.setattr(dlm, "SETTLE_S", 0.0)
    monkeypatch.setattr(module, "RENEW_EVERY_S", 0.02)
    settings = Settings(redis_host="127.0.0.1", redis_port=server.port)
    return lambda: Slot(home.locks, clock, arbiter.connect(settings, NAME, TTL_S))


@pytest.fixture
def slot(make):
    return make()


@pytest.fixture
def body(server):
    return RedisBody(server.client(), NAME)


@pytest.fixture
def worker():
    made = subprocess.Popen(["sleep", "60"])
    yield made
    made.kill()
    made.wait()


async def _until(true):
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.01)


async def _lost(slot, *, expected):
    """Keep it for a while, or until it is lost."""
    lost = []
    slot.lost = lambda: lost.append(1)
    keeping = asyncio.create_task(slot.keep())
    if expected:
        await _until(lambda: lost)
    await asyncio.sleep(0.2)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    assert lost == ([1] if expected else [])


async def test_both_are_held_under_one_fence_signed_by_the_worker_and_given_back(slot, home, server, worker):
    assert await slot.take(await slot.shared_fence(5), delegated=False, worker=worker.pid) is None

    said, file = json.loads(server.client().get(KEY)), dlm.holder(home.locks, NAME)
    assert said["owner"] == file.owner == dlm.owner_of(worker.pid)
    assert said["fencing_token"] == file.fence == 5
    await _lost(slot, expected=False)
    assert json.loads(server.client().get(KEY))["expires_at"] > said["expires_at"]

    await slot.release()
    assert server.client().get(KEY) is None
    assert dlm.holder(home.locks, NAME) is None


async def test_who_has_the_key_keeps_us_out_and_the_file_is_not_touched(slot, home, body):
    assert body.acquire()
    assert "held by jarvis-" in await slot.take(1, delegated=False)
    assert dlm.holder(home.locks, NAME) is None
    body.release()
    assert await slot.take(1, delegated=False) is None


async def test_who_has_only_the_file_keeps_us_out_too_and_gets_no_key_in_the_way(slot, home, server):
    body = Body(home.locks, NAME)
    assert body.acquire()
    assert "held by jarvis-" in await slot.take(1, delegated=False)
    assert server.client().get(KEY) is None


async def test_what_body_lends_by_redis_is_used_and_taken_over_when_it_is_given_back(slot, body, server):
    assert body.acquire()
    assert await slot.take(1, delegated=True) is None
    await _lost(slot, expected=False)
    body.release()
    keeping = asyncio.create_task(slot.keep())
    await _until(lambda: b"reactor-" in (server.client().get(KEY) or b""))
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_a_redis_that_is_away_at_the_start_is_waited_for_and_the_file_alone_is_never_enough(slot, home, server):
    server.kill()
    assert "does not answer" in await slot.take(await slot.shared_fence(3), delegated=False)
    assert dlm.holder(home.locks, NAME) is None
    server.start()
    assert await slot.take(await slot.shared_fence(3), delegated=False) is None


async def test_a_redis_that_freezes_stalls_nobody_and_the_slot_is_lost_before_it_can_be_anothers(slot, server, clock):
    assert await slot.take(1, delegated=False) is None
    server.freeze()
    asking, ticks = asyncio.create_task(slot.take(2, delegated=False)), 0
    while not asking.done():  # a loop that waits for Redis itself ticks once or twice in all that time
        await asyncio.sleep(0.01)
        ticks += 1
    assert ticks > 20
    assert asking.result() is None  # it cannot be anybody's yet

    clock.ahead = TTL_S * 2 / 3 + 1
    await _lost(slot, expected=True)


async def test_a_redis_that_forgot_us_means_that_the_slot_is_lost(slot, server):
    assert await slot.take(1, delegated=False) is None
    server.kill()
    server.start()
    await _lost(slot, expected=True)


async def test_a_thief_in_redis_is_noticed_and_what_is_left_is_kept_until_the_worker_has_stopped(
    slot, home, server, body
):
    assert await slot.take(1, delegated=False) is None
    server.client().delete(KEY)
    assert body.acquire()

    await _lost(slot, expected=True)

    assert dlm.holder(home.locks, NAME).owner.startswith("reactor-")
    await slot.release()
    assert dlm.holder(home.locks, NAME) is None
    assert body.keep()


async def test_the_next_daemon_adopts_both_with_the_worker(slot, make, home, server, worker):
    assert await slot.take(1, delegated=False, worker=worker.pid) is None
    heir = make()
    assert "held by reactor-" in await heir.take(2, delegated=False)
    assert await heir.take(2, delegated=False, worker=worker.pid) is None
    assert dlm.holder(home.locks, NAME).fence == json.loads(server.client().get(KEY))["fencing_token"] == 2
    await heir.left(worker.pid)
    assert json.loads(server.client().get(KEY))["owner"] == dlm.owner_of(os.getpid())


def test_a_daemon_asks_the_redis_of_the_environment_and_names_a_package_that_is_missing(tmp_path, server):
    home, errors = Home(tmp_path / "whole"), tmp_path / "stderr"
    environ = {**os.environ, "REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(server.port)}
    command = ["from reactord.cli import main; import sys; sys.exit(main())", "run", "--home", home.root, "--port", "0"]

    def daemon(first=""):
        with errors.open("wb") as stderr:
            return subprocess.Popen(
                [sys.executable, "-c", first + command[0], *map(str, command[1:])], env=environ, stderr=stderr
            )

    running = daemon()
    log = home.logs / "reactord.jsonl"
    deadline = time.monotonic() + 60
    try:
        while not (log.exists() and "ready on port" in log.read_text()):
            assert running.poll() is None, errors.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        running.terminate()
        assert running.wait(30) == 0
    finally:
        running.kill()
        running.wait()
    without = daemon("import sys; sys.modules['redis'] = None; ")
    assert without.wait(60) == 1
    assert "REDIS_HOST is set and the redis package is not installed" in errors.read_text()
    assert "Traceback" not in errors.read_text()
