"""What do we say about a job to Body's RCC client (contract/body.md 1.7), and to Prime's bridge (contract/prime.md 4)?

Both build an object of ours by strict rules. For Body one stage or time that it does not know empties its whole list,
and times are local and without a zone. For Prime a job without its `id` is another job, and times are epoch seconds. A
job that ended without a new model has failed for either.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from reactord.http.views import Seen, cut, error_of, metrics_of, stage_of
from reactord.jobs.states import LIVE, State
from reactord.ledger.state import Job

#: the words it knows, and from which of ours they come
PRIORITIES = {"critical": "urgent", "background": "low"}
KNOWN_PRIORITIES = ("low", "normal", "high", "urgent")
#: the fact of a job that Prime's bridge asked for: what it said about it
TOLD = "told"


def run(job: Job, seen: Seen) -> dict[str, Any]:
    """One job."""
    ended = job.state not in LIVE
    return {
        "job_id": job.id,
        "status": status_of(job),
        "state": job.state,
        "stage": stage_of(job, seen),
        "progress": 100.0 if job.state == State.COMPLETED else progress_of(job, seen),
        "priority": _priority(job.request.get("priority")),
        "created_at": local_iso(job.created_at),
        "started_at": None if job.state == State.QUEUED and not job.attempt else local_iso(job.created_at),
        "completed_at": local_iso(job.updated_at) if ended else None,
        "experience_count": int(job.request.get("experiences") or 0),
        "error": error_of(job),
        "metrics": metrics_of(job, seen),
        "message": cut(job.cause),
    }


def bridged(job: Job, seen: Seen) -> dict[str, Any]:
    """One job for Prime, which writes it over its own: what we were told of it comes back as it was."""
    ended = job.state not in LIVE
    return {
        **job.facts.get(TOLD, {}),
        "id": job.id,
        "job_id": job.id,
        "status": status_of(job),
        "state": job.state,
        "created_at": job.created_at,
        "completed_at": job.updated_at if ended else None,
        "current_step": _count(seen, "step"),
        "total_steps": _count(seen, "total_steps"),
        "progress_percent": 100.0 if job.state == State.COMPLETED else progress_of(job, seen),
        "metrics": metrics_of(job, seen),
        "error_message": error_of(job),
        "message": cut(job.cause),
    }


def status_of(job: Job) -> str:
    """What it is for a client that knows four words."""
    if job.state == State.QUEUED:
        return "queued"
    if job.state in LIVE:
        return "running"
    return "completed" if job.state == State.COMPLETED else "failed"


def progress_of(job: Job, seen: Seen) -> float:
    """Percent of the steps of its training; what has no steps has no number of its own."""
    step, total = seen.step.get("step"), seen.step.get("total_steps")
    if job.state not in LIVE or not isinstance(step, int) or not isinstance(total, int) or total <= 0:
        return 0.0
    return round(100.0 * min(1.0, step / total), 1)


def _count(seen: Seen, name: str) -> int:
    number = seen.step.get(name)
    return number if isinstance(number, int) and not isinstance(number, bool) else 0


def local_iso(at: float) -> str:
    """Local and naive: that is what `fromisoformat` of an old Python and a comparison with `now()` take."""
    return datetime.fromtimestamp(at).isoformat()  # noqa: DTZ006 - see above


def _priority(word: object) -> str:
    said = PRIORITIES.get(str(word), str(word))
    return said if said in KNOWN_PRIORITIES else "normal"
