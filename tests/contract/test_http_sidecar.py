"""The facade over the daemon's own services: up before the ledger is, and out of the way when it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import time

import aiohttp
from support.http_daemon import Served, body_client, house_in

from reactord.http import listen
from reactord.http.sidecar import Sidecar
from reactord.jobs.driver import Driver
from reactord.jobs.leasing import Leasing
from reactord.jobs.slot import Slot
from reactord.jobs.stages import Services
from reactord.public import Public
from reactord.settings import Settings


async def test_the_sidecar_lives_through_start_work_and_goodbye(tmp_path):
    with house_in(tmp_path) as house:
        settings = Settings(port=0)
        public = Public(house.home, settings, "1.2.3", time.time)
        sidecar = Sidecar(settings, house.home, house.inbox, public)
        await sidecar.start()
        assert sidecar.port != 0
        assert sys.getswitchinterval() < 0.005  # Python's own
        async with aiohttp.ClientSession() as session:
            at = Served(house, sidecar.port, session)
            assert (await at.get("/health"))[1]["phase"] == "starting"

            slot = Slot(house.home.locks, time.time)
            leasing = Leasing(house.home, house.store, time.time)
            services = Services(house.home, settings, house.store, house.machine, house.inbox, slot, leasing, time.time)
            driver = Driver(services, public.moved)
            public.ready(services, driver)
            sidecar.ready(services, driver)
            _, health = await at.get("/health")
            assert (health["phase"], health["version"], health["queued_jobs"]) == ("ready", "1.2.3", 0)

            status, _ = await at.post("/api/training/start", {"job_id": "a1", "experiences": [{"query": "hi"}]})
            assert status == 200
            _, health = await at.get("/health")
            assert (health["queued_jobs"], health["pending_experiences"]) == (1, 1)
            assert (await at.get("/api/training/status/a1"))[1]["state"] == "queued"

            assert (await at.get("/api/resources"))[1]["memory_usage_gb"] is None
            beating = asyncio.create_task(public.run())
            async with asyncio.timeout(10):
                while (await at.get("/api/resources"))[1]["memory_usage_gb"] is None:
                    await asyncio.sleep(0.01)
            beating.cancel()
            state = json.loads((house.home.cross_repo / "reactor_state.json").read_bytes())
            _, said = await at.get("/api/resources")
            for name in ("memory_usage_gb", "cpu_percent", "active_training_jobs"):
                assert said[name] == state[name]

            updates = body_client(at, "a1")
            assert (await anext(updates))["status"] == "training"
            public.phase = "stopping"
            sidecar.leave()
            assert [update async for update in updates] == []
            assert (await at.get("/health"))[1]["phase"] == "stopping"
            assert (await at.get("/api/training/status/a1"))[0] == 503
        start = time.monotonic()
        await asyncio.wait_for(sidecar.stop(), 5)
        assert time.monotonic() - start < 1


async def test_cancelling_goes_through_the_driver(tmp_path):
    with house_in(tmp_path) as house:
        settings = Settings(port=0)
        public = Public(house.home, settings, "1.2.3", time.time)
        slot = Slot(house.home.locks, time.time)
        leasing = Leasing(house.home, house.store, time.time)
        services = Services(house.home, settings, house.store, house.machine, house.inbox, slot, leasing, time.time)
        sidecar = Sidecar(settings, house.home, house.inbox, public)
        driver = Driver(services, public.moved)
        public.ready(services, driver)
        sidecar.ready(services, driver)
        await sidecar.start()
        async with aiohttp.ClientSession() as session:
            at = Served(house, sidecar.port, session)
            await at.post("/api/training/start", {"job_id": "a1"})
            assert (await at.post("/api/training/cancel/a1"))[1]["state"] == "cancelled"
        await sidecar.stop()


async def test_where_we_cannot_listen_is_told_with_the_troubles_until_we_can(tmp_path, monkeypatch):
    monkeypatch.setattr(listen, "RETRY_S", 0.02)
    with house_in(tmp_path) as house, contextlib.closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        alias = other.getsockname()[1]
        settings = Settings(port=0, alias_ports=str(alias))
        public = Public(house.home, settings, "1.2.3", time.time)
        sidecar = Sidecar(settings, house.home, house.inbox, public)
        await sidecar.start()
        assert f"port {alias}: Address already in use" in public.troubles()[0]
        assert sidecar.socket_file == str(house.home.http_socket)
        keeping = asyncio.create_task(sidecar.keep())
        other.close()
        async with asyncio.timeout(10), aiohttp.ClientSession() as session:
            at = Served(house, sidecar.port, session)
            while (health := (await at.get("/health"))[1])["degraded"]:
                await asyncio.sleep(0.01)
        assert (health["trouble"], public.troubles()) == ("", [])
        keeping.cancel()
        await sidecar.stop()
        assert not house.home.http_socket.exists()
