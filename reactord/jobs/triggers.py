"""When is a job born? Because enough new experiences arrived, or because somebody asked (HTTP, the command line)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from reactord.jobs.states import State
from reactord.jobspec import Recipe
from reactord.ledger.state import Job, Store
from reactord.settings import Settings

LANGUAGE = ("llm", "language", "nlu")


class JobRequest(BaseModel):
    """What a job is asked to do. Unknown keys are kept out: `config` of a foreign client is filtered by its reader."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    job_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}$")]
    born_of: Literal["threshold", "http", "cli", "command"]
    model_type: Annotated[str, Field(max_length=64)] = "llm"
    recipe: Recipe | None = None
    #: None: what the model type suggests (queue.py)
    priority: Annotated[str, Field(max_length=32)] | None = None
    hyper: dict[str, float] = {}
    experiences: int = 0  # how many came with the request


@dataclass(frozen=True, slots=True)
class Growth:
    """What the trigger needs to know of the ingest."""

    fresh: int  # pending records that no job has looked at
    last_arrival_at: float


def due(settings: Settings, growth: Growth, jobs: list[Job], now: float) -> str | None:
    """Why a job should be born now, or None. Pure."""
    if settings.experience_threshold == 0 or growth.fresh < settings.experience_threshold:
        return None
    if now - growth.last_arrival_at < settings.settle_s:
        return None
    if any(job.state in (State.QUEUED, State.RESERVING, State.TRAINING) for job in jobs):
        return None
    newest = max((job.created_at for job in jobs), default=None)
    if newest is not None and now - newest < settings.min_training_interval_s:
        return None
    return f"{growth.fresh} new experiences (threshold {settings.experience_threshold})"


def new_job_id(now: float) -> str:
    """Sortable by time, unique."""
    return f"job-{int(now)}-{uuid.uuid4().hex[:8]}"


def submit(store: Store, request: JobRequest, now: float, cause: str) -> tuple[Job, bool]:
    """Queue a job; asking again with the same id changes nothing. Returns (the job, whether it is new)."""
    with store.transaction():
        if known := store.job(request.job_id):
            return known, False
        facts: dict[str, Any] = {}
        job = Job(
            id=request.job_id, state=State.QUEUED, cause=cause, attempt=0, fence=0, created_at=now, updated_at=now,
            request=request.model_dump(), facts=facts,
        )  # fmt: skip
        store.insert_job(job)
        store.note("job.queued", job.id, now, trigger="submit", cause=cause)
    return job, True
