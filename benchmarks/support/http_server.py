"""The sidecar of a daemon without workers, or an empty aiohttp handler; told what to do line by line.

Everything else is real: the ledger, the job machine, the ingest thread, the guards. One job stands in `training`, and
this process writes its progress. Reads JSON lines from stdin, answers each with one on stdout.

    python http_server.py HOME | empty
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from aiohttp import web

from reactord.home import Home
from reactord.http.sidecar import Sidecar
from reactord.ipc.inbox import Inbox
from reactord.jobs.driver import Driver
from reactord.jobs.leasing import Leasing
from reactord.jobs.machine import JobMachine
from reactord.jobs.slot import Slot
from reactord.jobs.stages import Services
from reactord.jobs.triggers import JobRequest
from reactord.ledger.state import Store
from reactord.public import Public
from reactord.settings import Settings
from reactord.workdir import WorkDir

JOB = "bench"


class Server:
    """One life."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.home.create()
        self.inbox = Inbox(self.home)
        self.work = WorkDir(self.home.jobs / JOB)
        self.work.root.mkdir(exist_ok=True)
        self.step = 0

    async def start(self) -> dict[str, Any]:
        settings = Settings(port=0)
        public = Public(self.home, settings, "1.2.3", time.time)
        self.sidecar = Sidecar(settings, self.home, self.inbox, public)
        await self.sidecar.start()
        threading.Thread(target=self.inbox.run, daemon=True).start()
        while not self.inbox.intake.ready:
            await asyncio.sleep(0.01)
        self.store = Store(self.home.state_db)
        slot = Slot(self.home.locks, time.time)
        leasing = Leasing(self.home, self.store, time.time)
        machine = JobMachine(self.store)
        services = Services(self.home, settings, self.store, machine, self.inbox, slot, leasing, time.time)
        driver = Driver(services, public.moved)
        public.ready(services, driver)
        self.sidecar.ready(services, driver)
        self.sidecar.submit(JobRequest(job_id=JOB, born_of="http"), "the benchmark says so")
        for trigger in ("admit", "start"):
            services.machine.fire(JOB, trigger, time.time(), cause="the benchmark says so")
        for _ in range(200):
            self.progress()
        return {"port": self.sidecar.port, "events": str(self.home.events), "job": JOB}

    def progress(self) -> None:
        self.step += 1
        self.work.progress(
            "train", "step", step=self.step, total_steps=10_000, epoch=self.step / 100, loss=0.5, reward_accuracy=0.75,
            learning_rate=1e-4, step_s=0.1, eta_s=100.0, rss_mb=900,
        )  # fmt: skip

    async def publish(self, *, hz: float, seconds: float) -> dict[str, Any]:
        """Steps of the job at a steady pace."""
        begin, told = time.monotonic(), 0
        while told < hz * seconds:
            self.progress()
            told += 1
            await asyncio.sleep(max(0.0, begin + told / hz - time.monotonic()))
        return {"told": told}

    async def cpu(self) -> dict[str, Any]:
        return {"cpu_s": time.process_time()}

    async def memory(self) -> dict[str, Any]:
        gc.collect()
        used = psutil.Process().memory_full_info()
        return {"uss_kib": used.uss / 1024, "cpu_s": time.process_time()}

    async def take(self, *, staged: str, records: int, hz: float) -> dict[str, Any]:
        """How long files take from the bus to durable records; meanwhile steps are told."""
        target = self.inbox.intake.last_seq + records
        telling = asyncio.create_task(self.publish(hz=hz, seconds=60)) if hz else None
        began = time.perf_counter()
        await asyncio.to_thread(_move, Path(staged), self.home.events)
        while self.inbox.intake.last_seq < target:
            await asyncio.sleep(0.01)
        took_s = time.perf_counter() - began
        if telling:
            telling.cancel()
        return {"took_s": took_s}

    async def stop(self) -> dict[str, Any]:
        began = time.monotonic()
        self.sidecar.leave()
        await self.sidecar.stop()
        took_s = time.monotonic() - began
        self.inbox.stop()
        return {"stop_s": took_s}


def _move(source: Path, target: Path) -> None:
    for file in source.iterdir():
        file.rename(target / file.name)


class Empty:
    """What aiohttp itself costs. In a process of its own, as ours is in its own: what Python has learned of the objects
    that pass through aiohttp's code helps whoever is alone with it."""

    async def start(self) -> dict[str, Any]:
        app = web.Application()
        for path in ("/health", "/api/training/status/{job_id}"):  # as ours are found
            app.router.add_get(path, self._nothing)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        return {"port": self.runner.addresses[0][1]}

    async def cpu(self) -> dict[str, Any]:
        return {"cpu_s": time.process_time()}

    async def _nothing(self, _: web.Request) -> web.Response:
        return web.Response(body=b"{}", content_type="application/json")


async def main(root: str) -> None:
    server = Empty() if root == "empty" else Server(Path(root))
    _say(await server.start())
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        do = partial(getattr(server, order.pop("do")), **order)
        _say(await do())


def _say(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
