"""How does Prime's bridge have a job trained over REST? (contract/prime.md 4 and 5.5)

It polls a job every 30 s and writes what it reads over its own file of it: see `bridged` in views_runs.py.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from reactord.http import intake
from reactord.http.bodies import Body, Said
from reactord.http.route import Ask, Route
from reactord.http.routes.runs import NONE, History, newest, seen_in_list, seen_of
from reactord.http.routes.training import job_of, queue
from reactord.http.views import encode
from reactord.http.views_runs import TOLD, bridged
from reactord.jobs.triggers import JobId
from reactord.ledger.state import Job

#: of a foreign `config`, so much is kept to be told again
MAX_CONFIG_BYTES = 4096


class Bridged(Body):
    """What the bridge sends: its own id, words that are told again, and numbers of which ours are used."""

    id: JobId | None = None
    job_id: JobId | None = None
    type: Annotated[str, Field(max_length=64)] | None = None
    base_model: Annotated[str, Field(max_length=256)] | None = None
    config: intake.Config | None = None


class Known(Said):
    """A job as Prime's bridge reads it: times are epoch seconds."""

    id: str
    job_id: str
    status: str
    state: str
    created_at: float
    completed_at: float | None
    current_step: int
    total_steps: int
    progress_percent: float
    metrics: dict[str, float]
    error_message: str | None


class Several(BaseModel):
    """Newest first."""

    jobs: list[Known]


async def submit(ask: Ask) -> dict[str, Any]:
    """Idempotent by its id."""
    body: Bridged = ask.body
    wanted = intake.StartBody(job_id=body.job_id or body.id, config=body.config)
    order = intake.understand(wanted, ask.facade.clock(), delegated=False)
    return _known(ask, queue(ask.facade, order.job, {TOLD: _told(body)}))


async def one(ask: Ask) -> dict[str, Any]:
    """The newest of it."""
    return _known(ask, job_of(ask))


async def several(ask: Ask) -> dict[str, Any]:
    """As an object."""
    return {"jobs": [bridged(job, seen_in_list(ask, job)) for job in newest(ask)]}


def _known(ask: Ask, job: Job) -> dict[str, Any]:
    return bridged(job, seen_of(ask, job))


def _told(body: Bridged) -> dict[str, Any]:
    """What it reads back of what it said."""
    said = {"type": body.type, "base_model": body.base_model, "config": body.config}
    if len(encode(body.config)) > MAX_CONFIG_BYTES:
        del said["config"]
    return {name: value for name, value in said.items() if value is not None}


ROUTES = (
    Route("GET", "/jobs", several, "The newest jobs, for Prime's bridge.", asks=History, gives=Several),
    Route("POST", "/jobs", submit, "Train, for Prime's bridge; idempotent by id.",
          takes=Bridged, or_nothing=True, gives=Known, costs=True),
    Route("GET", "/jobs/{job_id}", one, "One job, for Prime's bridge.", gives=Known, also=NONE),
)  # fmt: skip
