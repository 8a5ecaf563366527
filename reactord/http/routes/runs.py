"""How do Body's agentic runner and its night shift have a job trained? (contract/body.md 1.7, 1.9)

They ask for the same jobs as everybody else, in other words. One pool of experiences waits: who asks for a training
that would find nothing new is told of the job that has it, or had it.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from pydantic import Field

from reactord.http import intake, views
from reactord.http.bodies import Body, Query, Said
from reactord.http.route import Ask, Route
from reactord.http.routes.training import Cancelled, end, job_of, queue
from reactord.http.views_runs import local_iso, run, status_of
from reactord.jobs.states import LIVE
from reactord.jobs.triggers import JobId, busy
from reactord.ledger.state import Job
from reactord.workdir import WorkDir

MAX_JOBS = 100


class Trigger(Body):
    """What the runner sends, and what the documents promise: what we do not use of it is not used."""

    job_id: JobId | None = None
    priority: Annotated[str, Field(max_length=32)] | None = None
    triggered_by: Annotated[str, Field(max_length=256)] | None = None
    trigger_time: Annotated[str, Field(max_length=64)] | None = None
    mode: Annotated[str, Field(max_length=64)] | None = None
    config: intake.Config | None = None
    training_type: Annotated[str, Field(max_length=32)] | None = None


class History(Query):
    """How many, and of which status."""

    limit: Annotated[int, Field(ge=1, le=MAX_JOBS)] = 20
    status: Annotated[str, Field(max_length=32)] | None = None


class Run(Said):
    """A job as Body's RCC client reads it."""

    job_id: str
    status: str
    state: str
    stage: str
    progress: float
    priority: str
    created_at: str
    started_at: str | None
    completed_at: str | None
    experience_count: int
    error: str | None
    metrics: dict[str, float]


class Pipeline(Said):
    """How far the whole of it is."""

    experience_count: int
    last_training_time: str | None
    training_in_progress: bool
    stage: str


async def trigger(ask: Ask) -> dict[str, Any]:
    """A retry of one trigger is the same job."""
    body: Trigger = ask.body
    recipe = body.training_type if body.training_type in ("sft", "dpo") else None
    wanted = intake.StartBody(
        job_id=body.job_id or _named(body), config=body.config, priority=body.priority, recipe=recipe
    )
    known = ask.facade.state.job(wanted.job_id) if wanted.job_id else None
    job = known or _waiting(ask)
    job = job or queue(ask.facade, intake.understand(wanted, ask.facade.clock(), delegated=False).job)
    return _run(ask, job) | {"mode": body.mode or "unified"}


async def night(ask: Ask) -> dict[str, Any]:
    """One at a time: the monitor asks again and again, and names no time."""
    return await trigger(ask)


async def one(ask: Ask) -> dict[str, Any]:
    """The newest of it."""
    return _run(ask, job_of(ask))


async def history(ask: Ask) -> list[dict[str, Any]]:
    """A bare list, newest first: the client ignores anything else."""
    return [run(job, seen_in_list(ask, job)) for job in newest(ask)]


def newest(ask: Ask) -> list[Job]:
    """The jobs that the query asks for."""
    asked: History = ask.query
    jobs = [job for job in ask.facade.state.jobs(limit=MAX_JOBS) if asked.status in (None, status_of(job), job.state)]
    return jobs[: asked.limit]


async def cancel(ask: Ask) -> dict[str, Any]:
    """200 means that the job ends, or has ended, as cancelled."""
    job = end(ask)
    return {"job_id": job.id, "cancelled": True, "state": job.state}


async def pipeline(ask: Ask) -> dict[str, Any]:
    """What the night shift decides by."""
    facade = ask.facade
    jobs, pulse = facade.state.jobs(limit=MAX_JOBS), facade.pulse()
    live = [job for job in jobs if job.state in LIVE]
    ended = max((job.updated_at for job in jobs if job.state not in LIVE), default=None)
    return {
        "experience_count": pulse.pending_experiences,
        "last_training_time": None if ended is None else local_iso(ended),
        "training_in_progress": bool(live),
        "stage": _run(ask, live[0])["stage"] if live else "idle",
        "active_jobs": pulse.active_jobs,
        "queued_jobs": pulse.queued_jobs,
    }


def _run(ask: Ask, job: Job) -> dict[str, Any]:
    return run(job, seen_of(ask, job))


def seen_of(ask: Ask, job: Job) -> views.Seen:
    """How far its worker says it is."""
    return views.fold_all(WorkDir(ask.facade.home.jobs / job.id).recent_progress())


def seen_in_list(ask: Ask, job: Job) -> views.Seen:
    """The same in a list: of what is over, its facts tell enough, and a hundred files are not read for it."""
    return seen_of(ask, job) if job.state in LIVE else views.Seen()


def _named(body: Trigger) -> str | None:
    """The id of a trigger that says who and when: asked up to six times, it is one job."""
    if not body.trigger_time:
        return None
    said = f"{body.triggered_by}\n{body.trigger_time}".encode("utf-8", "surrogateescape")
    return f"trigger-{hashlib.blake2b(said, digest_size=12).hexdigest()}"


def _waiting(ask: Ask) -> Job | None:
    """The job that will look at what waits, or that looked at all there was."""
    jobs = ask.facade.state.jobs(limit=MAX_JOBS)
    if busy(jobs):
        return next(job for job in jobs if busy([job]))
    if jobs and not ask.facade.pulse().pending_experiences:
        return next((job for job in jobs if job.state in LIVE), jobs[0])
    return None


NONE = {404: "no such job"}
ROUTES = (
    Route("POST", "/api/v1/training/trigger", trigger, "Train on what waits; a retry is the same job.",
          takes=Trigger, or_nothing=True, gives=Run, costs=True),
    Route("POST", "/api/v1/train", trigger, "The same, where older runners ask.",
          takes=Trigger, or_nothing=True, gives=Run, costs=True),
    Route("POST", "/training/trigger", trigger, "The same, as the README had it.",
          takes=Trigger, or_nothing=True, gives=Run, costs=True),
    Route("POST", "/api/v1/pipeline/run", night, "The same, for the night shift.",
          takes=Trigger, or_nothing=True, gives=Run, costs=True),
    Route("GET", "/api/v1/training/job/{job_id}", one, "One job, for the runner.", gives=Run, also=NONE),
    Route("GET", "/api/v1/training/status/{job_id}", one, "The same.", gives=Run, also=NONE),
    Route("GET", "/api/v1/training/history", history, "The newest jobs, a bare list.", asks=History, gives=list[Run]),
    Route("POST", "/api/v1/training/cancel/{job_id}", cancel, "End a job that is not being placed before Prime.",
          gives=Cancelled, also=NONE | {409: "past cancelling"}, leaving=True),
    Route("GET", "/api/v1/pipeline/status", pipeline, "What waits, and whether it is being learned.", gives=Pipeline),
    Route("GET", "/api/v1/pipeline/state", pipeline, "The same.", gives=Pipeline),
)  # fmt: skip
