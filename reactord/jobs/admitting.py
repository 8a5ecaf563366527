"""May a queued job begin now? Not when it waited too long, nor when it would write more than the disk can take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reactord.jobs import preflight, reserving
from reactord.jobs.attempts import DAY_S, Cause
from reactord.jobs.stages import Next, Services
from reactord.ledger.state import Job

#: a job for which the disk has no room is looked at again so often
ROOM_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Later:
    """It stays in the queue: why, and what it learns."""

    why: str
    facts: Mapping[str, Any]


async def look(services: Services, job: Job, now: float) -> Next | Later:
    """How the job leaves the queue, or why it does not."""
    settings = services.settings
    if now - job.created_at > settings.queue_deadline_s and not job.facts.get("nights"):
        days = settings.queue_deadline_s / DAY_S
        words = f"it waited in the queue for {days:.1f} days ({job.cause}); mend that and ask again: reactord train"
        return Next("fail", words, {"end_reason": Cause.DEADLINE})
    if "restores" in job.facts:
        return Next("restore", f"{job.facts['restores']} again", {"fence": await reserving.next_fence(services)})
    if lacking := preflight.lacks_room(services, job):
        return Later(lacking, {"end_reason": Cause.DISK_FULL, "not_before": now + ROOM_EVERY_S})
    return Next("admit", "its turn")
