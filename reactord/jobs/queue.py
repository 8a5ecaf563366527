"""Which job is next?"""

from __future__ import annotations

from collections.abc import Sequence

from reactord.jobs.states import State
from reactord.ledger.state import Job

#: Body's words and ours; the smaller number goes first
PRIORITIES = {"critical": 0, "urgent": 0, "high": 1, "normal": 2, "low": 3, "background": 4}


def next_job(live: Sequence[Job], now: float) -> Job | None:
    """An interrupted job goes before every other, then by priority, then by age; None if nothing may run yet."""
    ready = [job for job in live if job.state != State.QUEUED or job.facts.get("not_before", 0.0) <= now]
    return min(ready, key=_order, default=None)


def _order(job: Job) -> tuple[bool, int, float, str]:
    priority = PRIORITIES.get(str(job.request.get("priority", "normal")), PRIORITIES["normal"])
    return (job.state == State.QUEUED, priority, job.created_at, job.id)
