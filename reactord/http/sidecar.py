"""How does the daemon offer itself over HTTP? The facade over its own services."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import sys
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from reactord.errors import EnvironmentTrouble
from reactord.home import Home
from reactord.http.app import build
from reactord.http.facade import Pulse
from reactord.http.listen import Listening, serve
from reactord.http.stream import STREAMS
from reactord.ipc.inbox import Inbox
from reactord.ipc.presence import Presence
from reactord.jobs.driver import Driver
from reactord.jobs.restoring import restoring
from reactord.jobs.stages import Services
from reactord.jobs.states import State as JobState
from reactord.jobs.triggers import JobRequest
from reactord.ledger.state import Job, State, Store
from reactord.public import Public
from reactord.schedule import Schedule
from reactord.settings import Settings

#: a deployment may need that long; whoever drains us waits 30 s
DRAIN_S = 25.0
#: how long a thread that computes may keep the interpreter from the loop: of Python's own 5 ms an answer waits several
TURN_S = 0.001


class Sidecar:
    """Listens from the start; knows jobs from `ready` until `leave`."""

    def __init__(self, settings: Settings, home: Home, inbox: Inbox, public: Public) -> None:
        self.home, self.clock = home, time.time
        self.version, self.started_at = public.version, public.started_at
        self.settings, self._inbox, self._public = settings, inbox, public
        self._drain: str | None = None
        self._draining = asyncio.Event()
        self._counted: tuple[int, int, int] | None = None  # at so many writes: active jobs, queued jobs
        self._services: Services | None = None
        self._driver: Driver | None = None
        self._app = build(self)
        self._listening: Listening | None = None

    @property
    def port(self) -> int:
        """The port we listen on, which may differ from the one in the settings (0)."""
        return self._listening.port if self._listening else self.settings.port

    @property
    def socket_file(self) -> str | None:
        """Where the command line asks first."""
        return str(self._listening.path) if self._listening else None

    async def start(self) -> None:
        """Listen. Raises PortInUse, and BadConfig for a token that others may read."""
        sys.setswitchinterval(TURN_S)
        self._listening = await serve(self.settings, self._app)
        self._public.doors = self._listening.troubles

    async def keep(self) -> None:
        """Listen on what was taken or not there at the start, as soon as that is possible; until cancelled."""
        assert self._listening is not None
        await self._listening.keep()

    def ready(self, services: Services, driver: Driver) -> None:
        """Recovery is over."""
        self._services, self._driver, self._counted = services, driver, None

    def leave(self) -> None:
        """The daemon is stopping: end the streams, take no more; the health is told until `stop`."""
        self._services = self._driver = None
        self._app[STREAMS].end()

    async def stop(self) -> None:
        if self._listening is not None:
            await self._listening.stop()

    # -- the facade ----------------------------------------------------------------------------------------------------
    @property
    def phase(self) -> str:
        if self._services is not None:
            return "ready"
        return "stopping" if self._public.phase == "stopping" else "starting"

    @property
    def draining(self) -> str | None:
        return self._drain

    @property
    def presence(self) -> Presence | None:
        return self._public.last

    @property
    def mark(self) -> object:
        try:
            writes = self._services and self._services.store.writes
        except sqlite3.Error:
            return object()
        return writes, self._inbox.intake.fresh, self._drain, self._public.phase, self._public.troubles()

    def pulse(self) -> Pulse:
        troubles = tuple(self._public.troubles())
        if self._services is None:
            return Pulse(self.phase, troubles, draining=self._drain)
        try:
            active, queued = self._count(self._services.store)
        except sqlite3.Error as trouble:  # a broken disk must not make us look dead
            return Pulse("ready", (*troubles, f"state.db: {trouble}"), draining=self._drain)
        return Pulse("ready", troubles, active, queued, self._inbox.intake.fresh, self._drain)

    def _count(self, store: Store) -> tuple[int, int]:
        """Active and queued jobs; counted again when something was written."""
        writes = store.writes
        if self._counted is None or self._counted[0] != writes:
            live = store.live_jobs()
            queued = sum(job.state == JobState.QUEUED for job in live)
            self._counted = writes, len(live) - queued, queued
        return self._counted[1:]

    @property
    def state(self) -> State:
        return self._open()[0].store

    def submit(self, request: JobRequest, cause: str, facts: Mapping[str, Any] | None = None) -> tuple[Job, bool]:
        return self._open()[1].submit(request, cause, dict(facts or {}))

    def cancel(self, job_id: str) -> Job | None:
        return self._open()[1].cancel(job_id)

    def offer(self, format_name: str, name: str, raw: bytes) -> Future[int]:
        return self._inbox.offer(format_name, name, raw)

    def restore(self, version: str | None) -> Job:
        services, driver = self._open()
        request, facts = restoring(services.store, version, "http", self.clock())
        return driver.submit(request, f"{facts['restores']} is wanted again", facts)[0]

    def schedule(self) -> Schedule:
        return self._open()[1].births.schedule

    def ask_for(self, name: str, cron: str | None) -> None:
        self._open()[1].births.ask(name, cron)

    def drain(self, why: str) -> str:
        if self._drain is None:
            self._drain = uuid.uuid4().hex
            driver = self._open()[1]
            driver.drain(why)
            driver.checkpoint(why)
            self._draining.set()
        return self._drain

    async def drained(self) -> None:
        """Until somebody drained us and nothing is at work any more, or DRAIN_S later."""
        await self._draining.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while self._driver and self._driver.running:
                    await asyncio.sleep(0.1)

    def _open(self) -> tuple[Services, Driver]:
        if self._services is None or self._driver is None:
            raise EnvironmentTrouble("reactord is not ready; ask again in a moment")
        return self._services, self._driver
