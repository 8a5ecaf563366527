"""When is a job born? Because enough is new, or because somebody asked (HTTP, the command line, a command file).

Nights have their own rules (nights.py), and so have the reasons to train before enough is new (signals.py); births.py
looks at all of them.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from reactord.jobs.needing import in_the_way
from reactord.jobs.states import State
from reactord.jobspec import Recipe
from reactord.ledger.state import Job, Store
from reactord.settings import Settings

#: a clock that is corrected by less than this needs no special care
CLOCK_SET_S = 3600.0
LANGUAGE = ("llm", "language", "nlu")


JobId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}$")]


class JobRequest(BaseModel):
    """What a job is asked to do. Unknown keys are kept out: `config` of a foreign client is filtered by its reader."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    job_id: JobId
    born_of: Literal["threshold", "schedule", "drift", "curriculum", "http", "cli", "command", "runner"]
    model_type: Annotated[str, Field(max_length=64)] = "llm"
    recipe: Recipe | None = None
    #: None: what the model type suggests (queue.py)
    priority: Annotated[str, Field(max_length=32)] | None = None
    hyper: dict[str, float] = {}
    experiences: int = 0  # how many came with the request
    #: what must be there before it begins (needing.py); None: what the settings say, and nothing
    needs_experiences: Annotated[int, Field(ge=0, le=10**9)] | None = None
    needs_dataset: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}$")] | None = None


@dataclass(frozen=True, slots=True)
class Growth:
    """What the trigger needs to know of the ingest."""

    fresh: int  # pending records that no job has looked at
    last_arrival_at: float
    score: float | None = None  # of them, as far as it is known
    words: str = ""  # what the score is made of


def due(settings: Settings, growth: Growth, jobs: Sequence[Job], now: float) -> str | None:
    """Why a job should be born now because enough is new, or None. Pure."""
    if growth.fresh == 0 or not settled(settings, growth, now) or busy(jobs) or too_soon(settings, jobs, now):
        return None
    most = settings.experience_threshold
    if most and growth.fresh >= most:
        return f"{growth.fresh} new experiences (threshold {most})"
    heavy = score_threshold(settings)
    if heavy and growth.score is not None and growth.score >= heavy:
        return f"new experiences with a score of {growth.score:g} (threshold {heavy:g}): {growth.words}"
    return None


def score_threshold(settings: Settings) -> float:
    """The score that starts a job; unless it has a number of its own, that of the experiences: a plain one scores 1."""
    own = settings.score_threshold
    return float(settings.experience_threshold) if own is None else own


def wanted(settings: Settings, growth: Growth, jobs: Sequence[Job], now: float) -> bool:
    """Whether a job may be born now for a reason of its own, before enough is new. Pure."""
    enough = 0 < settings.signal_threshold <= growth.fresh
    return enough and settled(settings, growth, now) and not busy(jobs) and not too_soon(settings, jobs, now)


def settled(settings: Settings, growth: Growth, now: float) -> bool:
    """Whether a burst is over; what arrived in a far time to come arrived before the clock was set back."""
    quiet_s = now - growth.last_arrival_at
    return quiet_s >= settings.settle_s or quiet_s < -CLOCK_SET_S


def busy(jobs: Iterable[Job]) -> bool:
    """Whether a job is there that will look at what is new."""
    return any(job.state in (State.QUEUED, State.RESERVING, State.TRAINING) for job in in_the_way(jobs))


def too_soon(settings: Settings, jobs: Iterable[Job], now: float) -> bool:
    """Whether the newest job is younger than the minimum interval.

    One from a time to come is not, unless it is near: then the clock was set back a little, and nothing is known.
    """
    return any(abs(now - job.created_at) < settings.min_training_interval_s for job in in_the_way(jobs))


def new_job_id(now: float) -> str:
    """Sortable by time, unique."""
    return f"job-{int(now)}-{uuid.uuid4().hex[:8]}"


def submit(
    store: Store, request: JobRequest, now: float, cause: str, facts: Mapping[str, Any] | None = None
) -> tuple[Job, bool]:
    """Queue a job; asking again with the same id changes nothing. Returns (the job, whether it is new)."""
    with store.transaction():
        if known := store.job(request.job_id):
            return known, False
        job = Job(
            id=request.job_id, state=State.QUEUED, cause=cause, attempt=0, fence=0, created_at=now, updated_at=now,
            request=request.model_dump(), facts=dict(facts or {}),
        )  # fmt: skip
        store.insert_job(job)
        store.note("job.queued", job.id, now, trigger="submit", cause=cause)
    return job, True
