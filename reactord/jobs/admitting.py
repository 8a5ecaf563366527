"""May a queued job begin now?

Not before its data is there (needing.py), not when it waited too long, nor when the disk has no room for its files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from reactord.jobs import needing, preflight, reserving
from reactord.jobs.attempts import DAY_S, Cause
from reactord.jobs.stages import Next, Services
from reactord.jobs.states import State
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


def without_data(services: Services, jobs: Iterable[Job], now: float, fire: Callable[[Job, Next], object]) -> set[str]:
    """Which of these jobs wait for their data: they learn why, and are let go (by `fire`) when it never will be."""
    found: set[str] = set()
    inbox = services.inbox
    counted = inbox.intake.fresh_after >= inbox.looked_upto  # else the ingest thread is about to count anew
    for job in jobs:
        if job.state != State.QUEUED:
            continue
        lack = needing.lacks(job, services.settings, inbox.intake.fresh if counted else 0, services.store, now)
        if lack:
            found.add(job.id)
        if counted and lack and lack.final:
            fire(job, Next("skip", lack.words, {"lacks": None}))
        elif counted and needing.is_news(job, lack, now):
            words = lack and lack.words
            services.machine.learn(job, now, because=words or "its data is there", lacks=words)
    return found
