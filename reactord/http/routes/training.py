"""How does Body have a job trained and follow it? (contract/body.md 1.3 to 1.6, 1.9)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from reactord.http import intake
from reactord.http.answers import ANSWERS
from reactord.http.bodies import Body, Said
from reactord.http.facade import Facade
from reactord.http.guards import encoded
from reactord.http.large import DESK
from reactord.http.offering import offer, written_down
from reactord.http.refusals import Conflict, NotThere
from reactord.http.route import Ask, Route
from reactord.jobs.states import LIVE, State
from reactord.jobs.triggers import JobId, JobRequest
from reactord.ledger.state import Job

CAUSE = "asked for over HTTP"


class ScheduleBody(Body):
    """What the supervisor sends; its own times and states are its own."""

    id: JobId | None = None
    config: intake.Config | None = None
    priority: Annotated[str, Field(max_length=32)] | None = None


class Started(Said):
    """The job is there, and what came with it is durable."""

    job_id: str
    status: str
    state: str
    message: str
    started_at: float


class Status(Said):
    """A job as Body's coordinator reads it."""

    job_id: str
    status: str
    state: str
    stage: str
    epoch: int
    total_epochs: int
    loss: float
    accuracy: float
    metrics: dict[str, float]
    model_version: str | None
    error: str | None


class Cancelled(Said):
    """The job ends, or has ended, as cancelled."""

    job_id: str
    cancelled: bool
    state: str


async def start(ask: Ask) -> dict[str, Any]:
    """200 once the experiences are durable and the job is queued; idempotent by job_id."""
    facade = ask.facade
    order = intake.understand(ask.body, facade.clock())
    if known := facade.state.job(order.job.job_id):
        return _started(known, "this job is known already; nothing was taken again", order.ignored)
    documents = await ask.app[DESK].work(intake.documents, order, facade.home)
    named = [(f"{order.job.job_id}.{part}.json", raw) for part, raw in enumerate(documents.parts)]
    new = await offer(facade, intake.FORMAT, named)  # first the records: a retry after a crash in between doubles none
    job = queue(facade, order.job.model_copy(update={"experiences": documents.items}))
    message = f"{documents.items} experiences taken, {new} of them new; the job is {job.state}"
    return _started(job, message, order.ignored) | {"experiences": documents.items, "experiences_new": new}


def queue(facade: Facade, request: JobRequest, facts: Mapping[str, Any] | None = None) -> Job:
    """The job, new or known. Raises EnvironmentTrouble when it cannot be written down."""
    with written_down():
        return facade.submit(request, CAUSE, facts)[0]


def _started(job: Job, message: str, ignored: Mapping[str, str]) -> dict[str, Any]:
    reply = {
        "job_id": job.id,
        "status": "started",
        "state": job.state,
        "message": message,
        "started_at": job.created_at,
    }
    return reply | ({"ignored": dict(ignored)} if ignored else {})


def status(ask: Ask) -> web.Response:
    """The newest of it; what is queued is told as training (views.py)."""
    return encoded(ask.app[ANSWERS].status(ask.facade, ask["job_id"]))


async def cancel(ask: Ask) -> dict[str, Any]:
    """200 means that the job ends, or has ended, as cancelled."""
    job = end(ask)
    return {"job_id": job.id, "cancelled": True, "state": job.state, "message": "the job is being cancelled"}


def job_of(ask: Ask) -> Job:
    """The job that the path names. Raises NotThere."""
    job = ask.facade.state.job(ask["job_id"])
    if job is None:
        raise NotThere("there is no such job; see `reactord jobs`")
    return job


def end(ask: Ask) -> Job:
    """Cancel the job that the path names. Raises NotThere, Conflict when it is past that, and EnvironmentTrouble."""
    job = job_of(ask)
    if job.state in LIVE and job.state != State.DEPLOYING:
        with written_down():
            return ask.facade.cancel(job.id) or job
    if job.state != State.CANCELLED:
        raise Conflict(f"the job is {job.state}, past cancelling; see /api/training/status")
    return job


async def schedule(ask: Ask) -> dict[str, Any]:
    """Queue a job without experiences of its own, under the id that the supervisor chose."""
    body: ScheduleBody = ask.body
    known = intake.StartBody(job_id=body.id, config=body.config, priority=body.priority)
    order = intake.understand(known, ask.facade.clock(), delegated=False)
    job = queue(ask.facade, order.job)
    return _started(job, f"the job is {job.state}", order.ignored)


ROUTES = (
    Route("POST", "/api/training/start", start, "Train: the experiences are durable and the job is queued.",
          takes=intake.StartBody, gives=Started, costs=True),
    Route("POST", "/api/training/schedule", schedule, "Queue a job on what is there.",
          takes=ScheduleBody, gives=Started, costs=True),
    Route("GET", "/api/training/status/{job_id}", status, "How far a job is.", gives=Status, also={404: "no such job"}),
    Route("POST", "/api/training/cancel/{job_id}", cancel, "End a job that is not being placed before Prime.",
          gives=Cancelled, also={404: "no such job", 409: "past cancelling"}, leaving=True),
)  # fmt: skip
