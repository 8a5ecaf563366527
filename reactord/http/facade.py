"""What do the routes need of the daemon?"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from reactord.home import Home
from reactord.jobs.triggers import JobRequest
from reactord.ledger.state import Job


@dataclass(frozen=True, slots=True)
class Pulse:
    """How the daemon is doing now."""

    phase: str  # "starting", "ready" or "stopping"
    troubles: tuple[str, ...] = ()  # what keeps it from working as it should, in words
    active_jobs: int = 0
    queued_jobs: int = 0
    pending_experiences: int = 0  # records that no dataset has looked at


class Facade(Protocol):
    """The daemon as the routes see it. All but `pulse` and the constants may be asked only while it is ready."""

    @property
    def home(self) -> Home: ...
    @property
    def version(self) -> str: ...
    @property
    def started_at(self) -> float: ...

    def clock(self) -> float:
        """Epoch seconds."""
        ...

    def pulse(self) -> Pulse: ...

    def job(self, job_id: str) -> Job | None: ...

    def submit(self, request: JobRequest, cause: str) -> tuple[Job, bool]:
        """Queue a job, idempotent by its id; (the job, whether it is new)."""
        ...

    def cancel(self, job_id: str) -> Job | None:
        """Cancel a live job; a finished one stays as it is. None: there is no such job."""
        ...

    def offer(self, format_name: str, name: str, raw: bytes) -> Future[int]:
        """Take bytes in; the result, how many records are new, comes once they are durable."""
        ...
