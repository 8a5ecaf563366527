"""What do the routes need of the daemon?"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from reactord.home import Home
from reactord.ipc.presence import Presence
from reactord.jobs.triggers import JobRequest
from reactord.ledger.state import Job, State
from reactord.schedule import Schedule
from reactord.settings import Settings


@dataclass(frozen=True, slots=True)
class Pulse:
    """How the daemon is doing now."""

    phase: str  # "starting", "ready" or "stopping"
    troubles: tuple[str, ...] = ()  # what keeps it from working as it should, in words
    active_jobs: int = 0
    queued_jobs: int = 0
    pending_experiences: int = 0  # records that no dataset has looked at
    draining: str | None = None  # the id of the drain, while no new work is admitted

    @property
    def told(self) -> str:
        """The phase as everybody is told: who leaves is not ready, although it still answers."""
        return "draining" if self.draining and self.phase == "ready" else self.phase


class Facade(Protocol):
    """The daemon as the routes see it. What says so may be asked only while it is ready: else EnvironmentTrouble."""

    @property
    def home(self) -> Home: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def version(self) -> str: ...
    @property
    def started_at(self) -> float: ...
    @property
    def state(self) -> State:
        """Jobs, models and events, to be read; only while ready."""
        ...

    @property
    def phase(self) -> str:
        """As in the pulse, at no cost: it is asked with every request."""
        ...

    @property
    def draining(self) -> str | None:
        """The same."""
        ...

    @property
    def presence(self) -> Presence | None:
        """What was measured of us for the newest beat, as the files tell it; None before the first."""
        ...

    def clock(self) -> float:
        """Epoch seconds."""
        ...

    @property
    def mark(self) -> object:
        """What the pulse is made of, at less cost: another object that differs, when any of it has changed."""
        ...

    def pulse(self) -> Pulse: ...

    def submit(self, request: JobRequest, cause: str, facts: Mapping[str, Any] | None = None) -> tuple[Job, bool]:
        """Queue a job, idempotent by its id; (the job, whether it is new). `facts`: of a new one. Only while ready."""
        ...

    def cancel(self, job_id: str) -> Job | None:
        """Cancel a live job; a finished one stays as it is. None: there is no such job. Only while ready."""
        ...

    def offer(self, format_name: str, name: str, raw: bytes) -> Future[int]:
        """Take bytes in; the result, how many records are new, comes once they are durable."""
        ...

    def restore(self, version: str | None) -> Job:
        """Put an older version before Prime, or the one before (None). Raises BadRequest. Only while ready."""
        ...

    def schedule(self) -> Schedule:
        """The times for training. Only while ready."""
        ...

    def ask_for(self, name: str, cron: str | None) -> None:
        """Another time for training, or one less (None). Raises BadRequest. Only while ready."""
        ...

    def drain(self, why: str) -> str:
        """Take no new work, checkpoint what runs, and leave.

        Returns the id of the drain; asking again changes nothing.
        """
        ...
