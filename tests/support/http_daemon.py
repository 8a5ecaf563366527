"""A daemon without workers: the real ledger, job machine and ingest thread behind the real HTTP server."""

from __future__ import annotations

import contextlib
import io
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp

from reactord.home import Home
from reactord.http.app import build
from reactord.http.facade import Pulse
from reactord.http.listen import serve
from reactord.ipc.inbox import Inbox
from reactord.ipc.presence import Presence
from reactord.jobs import timetable
from reactord.jobs.machine import JobMachine
from reactord.jobs.restoring import restoring
from reactord.jobs.triggers import JobRequest, submit
from reactord.ledger.state import Job, Store
from reactord.schedule import Schedule
from reactord.settings import Settings
from reactord.workdir import WorkDir


class House:
    """The facade over real stores, with a hand on every state."""

    version = "1.2.3"

    def __init__(self, home: Home) -> None:
        home.create()
        self.home = home
        self.started_at = time.time()
        self.clock: Callable[[], float] = time.time
        self.phase, self.troubles = "ready", ()
        self.settings = Settings(port=0)
        self.draining: str | None = None
        self.presence: Presence | None = None
        self.store = Store(home.state_db)
        self.machine = JobMachine(self.store)
        self.inbox = Inbox(home)
        self.offered: list[tuple[str, bytes]] = []
        self._ingest = threading.Thread(target=self.inbox.run, daemon=True)

    def __enter__(self) -> Self:
        self._ingest.start()
        deadline = time.monotonic() + 10
        while not self.inbox.intake.ready:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self.inbox.stop()
        self._ingest.join(10)
        self.store.close()

    # -- the facade --
    def pulse(self) -> Pulse:
        live = self.store.live_jobs()
        return Pulse(self.phase, tuple(self.troubles), 0, len(live), self.inbox.intake.fresh, self.draining)

    @property
    def mark(self) -> object:
        return self.store.writes, self.inbox.intake.fresh, self.draining, self.phase, tuple(self.troubles)

    @property
    def state(self) -> Store:
        return self.store

    def restore(self, version: str | None) -> Job:
        request, facts = restoring(self.store, version, "http", self.clock())
        return submit(self.store, request, self.clock(), "a test says so", facts)[0]

    def schedule(self) -> Schedule:
        return timetable.schedule_of(self.settings, timetable.asked(self.home))

    def ask_for(self, name: str, cron: str | None) -> None:
        timetable.ask(self.home, self.settings, name, cron)

    def drain(self, why: str) -> str:
        self.draining = self.draining or f"drain-{len(why)}"
        return self.draining

    def submit(self, request: JobRequest, cause: str, facts: Any = None) -> tuple[Job, bool]:
        return submit(self.store, request, self.clock(), cause, facts)

    def cancel(self, job_id: str) -> Job | None:
        return self.fire(job_id, "cancel", cause="cancelled on request")

    def offer(self, format_name: str, name: str, raw: bytes) -> Future[int]:
        self.offered.append((name, raw))
        return self.inbox.offer(format_name, name, raw)

    # -- what a driver and a worker would do --
    def fire(self, job_id: str, *triggers: str, cause: str = "a test says so", **facts: Any) -> Job:
        for trigger in triggers:
            job = self.machine.fire(job_id, trigger, self.clock(), cause=cause, **facts)
        return job

    def queue(self, job_id: str) -> Job:
        return self.submit(JobRequest(job_id=job_id, born_of="http"), "a test says so")[0]

    def work(self, job_id: str) -> WorkDir:
        workdir = WorkDir(self.home.jobs / job_id)
        workdir.root.mkdir(exist_ok=True)
        return workdir

    def step(self, job_id: str, step: int, total: int = 4, loss: float = 0.5) -> None:
        self.work(job_id).progress(
            "train", "step", step=step, total_steps=total, epoch=step / 2, loss=loss, reward_accuracy=0.75,
            reward_margin=None, learning_rate=1e-4, step_s=1.5, eta_s=1.5 * (total - step), rss_mb=900,
        )  # fmt: skip


@dataclass
class Served:
    """A house and a client for it."""

    house: House
    port: int
    session: aiohttp.ClientSession
    base: str = field(init=False)

    def __post_init__(self) -> None:
        self.base = f"http://127.0.0.1:{self.port}"

    async def get(self, path: str, **kwargs: Any) -> tuple[int, Any]:
        async with self.session.get(self.base + path, **kwargs) as response:
            return response.status, await response.json()

    async def post(self, path: str, document: Any = None, **kwargs: Any) -> tuple[int, Any]:
        if document is not None:
            kwargs = {"data": json.dumps(document).encode(), "headers": {"Content-Type": "application/json"}} | kwargs
        if isinstance(kwargs.get("data"), bytes):
            kwargs["data"] = io.BytesIO(kwargs["data"])  # aiohttp warns about large bodies in one piece
        async with self.session.post(self.base + path, **kwargs) as response:
            return response.status, await response.json()


@contextlib.contextmanager
def house_in(root: Path) -> Iterator[House]:
    with House(Home(root)) as house:
        yield house


@contextlib.asynccontextmanager
async def served(house: House) -> AsyncIterator[Served]:
    listening = await serve(Settings(port=0), build(house))
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
            yield Served(house, listening.port, session)
    finally:
        await listening.stop()


async def body_client(at: Served, job_id: str) -> AsyncIterator[Any]:
    """Body's own stream client: every line of the response that is JSON is an update (contract/body.md 1.5)."""
    async with at.session.get(f"{at.base}/api/training/stream/{job_id}") as response:
        async for line in response.content:
            if line:
                try:
                    update = json.loads(line.decode("utf-8").strip())
                except json.JSONDecodeError:
                    continue
                yield update


@dataclass
class SseEvent:
    """One event as a browser would dispatch it."""

    type: str
    data: str
    id: str


def parse_sse(text: str) -> list[SseEvent]:
    """The event stream interpretation of the HTML standard, section 9.2.6."""
    events, data, kind, last_id = [], [], "", ""
    for line in text.replace("\r\n", "\n").split("\n"):
        if not line:
            if data:
                events.append(SseEvent(kind or "message", "\n".join(data), last_id))
            data, kind = [], ""
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            kind = value
        elif name == "id" and "\0" not in value:
            last_id = value
    return events
