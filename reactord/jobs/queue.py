"""Which job is next?

A job's place is the time when it was asked for plus a handicap for its priority: the classic way to let the urgent go
first and nobody starve. The bound: a job of level L is overtaken only by jobs asked for within L x AGE_STEP_S after it,
however many come later. Once that time is over, nothing new starts beside the jobs at work either until it has had its
try, so that small jobs cannot for ever hold the memory that a large one waits for.

Beside each other run at most `at_once` jobs. One at a time chooses examples: two would choose the same records. One at
a time is judged and deployed: the second would be judged against a model that is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from reactord.jobs.states import State
from reactord.ledger.state import Job

#: Body's words and ours, and their levels; the smaller goes first
PRIORITIES = {"critical": 0, "urgent": 0, "high": 1, "normal": 2, "low": 3, "background": 4}
#: what a model type suggests where the request names no priority: who speaks waits least
SUGGESTED = {"voice": "critical", "nlu": "high", "vision": "normal", "embedding": "low"}
AGE_STEP_S = 1800.0

#: an interrupted job goes before a queued one, the one that is nearest to its end first
_NEARNESS = (State.DEPLOYING, State.EXPORTING, State.TRAINING, State.RESERVING, State.QUEUED)
#: from here on a job is measured against the model that is deployed, and may become it
PLACING = (State.EXPORTING, State.DEPLOYING)


def level_of(request: Mapping[str, Any]) -> int:
    """How urgent a request is, 0 the most. A word that nobody knows is normal."""
    word = request.get("priority") or SUGGESTED.get(str(request.get("model_type")), "normal")
    return PRIORITIES.get(str(word), PRIORITIES["normal"])


def overdue_at(job: Job) -> float:
    """From when on nobody who asks later goes before this job."""
    return job.created_at + level_of(job.request) * AGE_STEP_S


def next_job(live: Sequence[Job], now: float, *, driven: Collection[str] = (), at_once: int = 1) -> Job | None:
    """The job to take up now beside those that are driven already; None if none may be. Pure."""
    at_work = [job for job in live if job.id in driven]
    others = [job for job in live if job.id not in driven]
    if len(at_work) >= at_once:
        return None
    placing = any(job.state in PLACING for job in at_work)
    choosing = any(_chooses(job) for job in live) or any(job.state == State.QUEUED for job in at_work)
    held = bool(at_work) and any(_waits(job, now) and overdue_at(job) <= now for job in others)

    def may_go_on(job: Job) -> bool:
        if job.state == State.QUEUED:
            return not (choosing or held or _waits(job, now))
        return not (placing and job.state in PLACING)

    return min(filter(may_go_on, others), key=_order, default=None)


def _waits(job: Job, now: float) -> bool:
    return job.state == State.QUEUED and float(job.facts.get("not_before", 0.0)) > now


def _chooses(job: Job) -> bool:
    """Whether it may still decide on records: a dataset that is taken is remembered in the facts."""
    return job.state == State.RESERVING or (job.state == State.TRAINING and "dataset" not in job.facts)


def _order(job: Job) -> tuple[int, float, str]:
    return (_NEARNESS.index(State(job.state)), overdue_at(job), job.id)
