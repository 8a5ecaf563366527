"""What does the world see of us, and when is it refreshed?

The heartbeats every 5 s, the state at every change and every 10 s, the registry every 15 s, and what a job's transition
means to Body and Prime. A file that cannot be written is a trouble that is shown, not an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec

import psutil

from reactord.home import Home
from reactord.ipc import announce, presence, registry
from reactord.jobs.states import State
from reactord.ledger.state import Job
from reactord.prime import place
from reactord.settings import Settings

if TYPE_CHECKING:
    from reactord.jobs.driver import Driver
    from reactord.jobs.stages import Services

log = logging.getLogger("reactord.public")
P = ParamSpec("P")

BEAT_S = 5.0
STATE_EVERY_BEATS = 2
REGISTRY_EVERY_BEATS = 3
EXPIRE_EVERY_BEATS = 12
GIB = 1024**3

#: what a state means on the bus
SAID: dict[str, announce.Progress] = {
    State.TRAINING: "started",
    State.EXPORTING: "progress",
    State.COMPLETED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "failed",
    State.SKIPPED: "failed",  # Body knows no other end without a model; the facts beside it tell the state
    State.REJECTED: "failed",
    State.ROLLED_BACK: "failed",
}
RUNNING = (State.TRAINING, State.EXPORTING, State.DEPLOYING)


class Public:
    """Keeps the published files true."""

    def __init__(self, home: Home, settings: Settings, version: str, clock: Callable[[], float]) -> None:
        self.home, self.settings, self.version, self.clock = home, settings, version, clock
        self.started_at = clock()
        self.phase: presence.Status = "starting"
        self.port = settings.port
        self.trouble: str | None = None  # what keeps us from starting
        self.unpublished: str | None = None  # what the last beat could not write
        self.doors: Callable[[], list[str]] = list  # where the sidecar should listen and does not
        self._logged: set[str] = set()  # what of it is in the log already
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call only starts the measurement
        self._services: Services | None = None
        self._driver: Driver | None = None
        self._output = str(place.models_dir(home, os.environ, settings.prime_models_dir))
        self._changed = asyncio.Event()
        self.last: presence.Presence | None = None  # what the newest beat told

    def ready(self, services: Services, driver: Driver) -> None:
        """Recovery is over: from now on there are jobs to tell of."""
        self._services, self._driver = services, driver
        self.phase, self.trouble = "ready", None
        self._changed.set()

    def moved(self, job: Job) -> None:
        """A job's transition is committed: tell it, and refresh the state at once."""
        if said := SAID.get(job.state):
            facts = {"state": job.state, "cause": job.cause, "version": str(job.facts.get("version", ""))}
            self._try(announce.training, self.home, said, job.id, facts, self.clock())
        self._changed.set()

    def troubles(self) -> list[str]:
        """What is wrong with our environment now, in words."""
        intake = self._services.inbox.intake.trouble if self._services else None
        driver = self._driver.trouble if self._driver else None
        return [trouble for trouble in (self.trouble, self.unpublished, intake, driver, *self.doors()) if trouble]

    async def run(self) -> None:
        """Beat until cancelled. A change wakes it, so that Body sees a job start and end at once."""
        beat = 0
        while True:
            self._try(self._beat, beat)
            if self.unpublished is None:
                self._logged.clear()
            beat += 1
            # not wait_for: before Python 3.12 it can swallow a cancellation that comes with the event
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._changed.wait()

    def _beat(self, beat: int) -> None:
        changed = self._changed.is_set()
        self._changed.clear()
        now, document = self.clock(), self._presence()
        self.last, self.unpublished = document, None
        self._try(presence.write_heartbeats, self.home, document, now)
        if beat % STATE_EVERY_BEATS == 0 or changed:
            self._try(presence.write_state, self.home, document, now)
            self._try(presence.share_heartbeat, self.home, document, now)
        if beat % REGISTRY_EVERY_BEATS == 0:
            self._try(registry.register, self.home, document, now)
        if beat % EXPIRE_EVERY_BEATS == 0:
            self._try(announce.expire, self.home, now)

    def withdraw(self) -> None:
        """Say goodbye in every file that carries our pid."""
        self.phase = "stopping"  # also after a crash: the store is closed by now, no job is to be counted
        self._try(self._goodbye)

    def _goodbye(self) -> None:
        now, document = self.clock(), self._presence()
        self._try(presence.withdraw, self.home, document, now)
        self._try(registry.withdraw, self.home, document, now)

    def _presence(self) -> presence.Presence:
        with self._process.oneshot():
            cpu, resident = self._process.cpu_percent(), self._process.memory_info().rss
        jobs = self._services.store.live_jobs() if self._services and self.phase != "stopping" else []
        active = sum(job.state in RUNNING for job in jobs)
        total = resident + (self._driver.worker_rss_bytes() if self._driver and active else 0)
        return presence.Presence(
            status=self.phase,
            phase=self.phase,
            port=self.port,
            primary_port=self.settings.port or self.port,
            version=self.version,
            started_at=self.started_at,
            memory_usage_gb=round(total / GIB, 4),
            memory_percent=round(100 * total / psutil.virtual_memory().total, 3),
            cpu_percent=cpu,
            active_training_jobs=active,
            model_output_dir=self._output,
            metrics={"pending_fresh": float(self._services.inbox.intake.fresh)} if self._services else {},
            errors=tuple(self.troubles()),
            startup_progress_pct=100.0 if self.phase == "ready" else 0.0,
        )

    def _try(self, write: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Publishing must not end the daemon: a full disk, or no descriptor that is left, shows up as a trouble."""
        try:
            write(*args, **kwargs)
        except (OSError, psutil.Error, sqlite3.Error) as trouble:
            what, name = getattr(trouble, "strerror", None), getattr(trouble, "filename", None)
            where = f": {name}" if name else ""  # a write that finds no room has no name
            self.unpublished = f"cannot publish: {what or trouble}{where}"
            if self.unpublished not in self._logged:
                self._logged.add(self.unpublished)
                log.warning("%s", self.unpublished)
