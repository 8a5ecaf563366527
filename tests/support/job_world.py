"""Everything that the job driver needs, real where that is cheap, in a home of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from reactord.home import Home
from reactord.ipc.inbox import Intake
from reactord.jobs.driver import Driver
from reactord.jobs.machine import JobMachine
from reactord.jobs.stages import Services
from reactord.jobs.states import TERMINAL
from reactord.jobs.surveying import Heard
from reactord.jobs.triggers import JobRequest
from reactord.ledger.state import Job, Store
from reactord.settings import Settings

PATIENCE_S = 20.0


@dataclass
class Clock:
    """Epoch seconds that pass only when told to."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class FakeInbox:
    """The ingest thread's face, answering at once: what is `taken`, and what it was asked."""

    def __init__(self) -> None:
        self.intake, self.looked_upto = Intake(ready=True), 0
        self.taken: list[str] = []
        self.refuses: Exception | None = None
        self.index = SimpleNamespace(has_taken=lambda dataset: dataset in self.taken)

    def call(self, work: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            if self.refuses:
                raise self.refuses
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - the caller gets it
            future.set_exception(error)
        return future

    def take(self, dataset: str, manifest: dict[str, Any]) -> Future[None]:
        return self.call(lambda: self.taken.append(dataset) if dataset not in self.taken else None)


@dataclass
class FakeSlot:
    """The training slot; `busy` says who has it."""

    busy: str | None = None
    held: bool = False
    takes: list[int] = field(default_factory=list)
    lost: Callable[[], None] = lambda: None

    async def take(self, fence: int, *, delegated: bool, worker: int | None = None) -> str | None:
        await asyncio.sleep(0)
        if not self.held and self.busy and not delegated:
            return self.busy
        self.held = True
        self.takes.append(fence)
        return None

    async def left(self, worker: int | None) -> None:
        await asyncio.sleep(0)

    async def release(self) -> None:
        self.held = False

    async def shared_fence(self, floor: int) -> int:
        return floor


@dataclass
class FakeLeasing:
    """Prime's ear: nobody is there. With `lends` it lends its memory, unless that is a reason why not."""

    says: Heard = field(default_factory=Heard)
    lends: str | None = "nobody is there"
    lease: Any = None
    done: list[str] = field(default_factory=list)
    lost: Callable[[str, str], None] = lambda job_id, why: None

    def heard(self) -> Heard:
        return self.says

    async def ask(self) -> None:
        await asyncio.sleep(0)

    async def acquire(self, job_id: str) -> str | None:
        self.done.append(f"acquire {job_id}")
        self.lease = None if self.lends else SimpleNamespace(job_id=job_id)
        return self.lends

    async def give_back(self, job_id: str, *, useless: bool = False) -> None:
        if self.lease and self.lease.job_id == job_id:
            self.done.append("given back, useless" if useless else "given back")
            self.lease = None


class World:
    """One daemon's life around one state.db; `restart` begins the next one."""

    def __init__(
        self, home: Home, *, inbox: Any = None, slot: Any = None, leasing: Any = None, **settings: Any
    ) -> None:
        self.home, self.clock = home, Clock()
        self.settings = Settings(**{"experience_threshold": 0, "resource_check_interval_s": 0.01, **settings})
        self.inbox, self.slot = inbox or FakeInbox(), slot or FakeSlot()
        self.leasing = leasing or FakeLeasing()
        self.told: list[str] = []
        self._begin()

    def _begin(self) -> None:
        self.store = Store(self.home.state_db)
        services: Any = (
            self.home,
            self.settings,
            self.store,
            JobMachine(self.store),
            self.inbox,
            self.slot,
            self.leasing,
            self.clock,
        )
        self.driver = Driver(Services(*services), lambda job: self.told.append(job.state))
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self.driver.run())

    async def stop(self) -> None:
        """As SIGTERM does."""
        if self.task:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait_for(self.task, PATIENCE_S)

    async def close(self) -> None:
        await self.stop()
        self.store.close()

    async def restart(self) -> None:
        """The next daemon on the same home; the one before was stopped, or just vanished."""
        self.store.close()
        self._begin()
        self.start()

    def ask(self, identity: str = "j", **request: Any) -> Job:
        return self.driver.submit(JobRequest(**{"job_id": identity, "born_of": "cli", **request}), "asked")[0]

    def job(self, identity: str = "j") -> Job:
        found = self.store.job(identity)
        assert found
        return found

    def states(self, identity: str = "j") -> list[str]:
        """Every state the job has been in, in order, as the event journal tells it."""
        moves = [e.topic for e in self.store.events() if e.subject == identity and e.topic.startswith("job.")]
        return [topic[4:] for topic in moves if topic != "job.fact"]

    async def until(self, true: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            assert self.task is None or not self.task.done(), self.task
            assert time.monotonic() < deadline, [self.states(job.id) for job in self.store.jobs()]
            await asyncio.sleep(0.002)

    async def until_state(self, *states: str, identity: str = "j") -> Job:
        await self.until(lambda: self.job(identity).state in states)
        return self.job(identity)

    async def until_over(self, identity: str = "j") -> Job:
        return await self.until_state(*(str(state) for state in TERMINAL), identity=identity)


def make_dataset(home: Home, name: str = "d1") -> str:
    (home.datasets / name).mkdir(parents=True)
    manifest = {
        "upto": 0, "counts": {}, "date_range": ["2026-11-20T00:00:00+00:00", "2026-11-21T00:00:00+00:00"],
        "sources": {"telemetry": 2}, "fates": {"train": [], "holdout": [], "rejected": {}, "waiting": []},
    }  # fmt: skip
    (home.datasets / name / "manifest.json").write_text(json.dumps(manifest))
    return name


def make_base(home: Home, name: str = "base") -> None:
    """A converted base that speaks ChatML."""
    (home.base_models / name).mkdir()
    (home.base_models / name / "BASE.json").write_text(json.dumps({"name": name, "chat_template": "<|im_start|>"}))
