"""Which model versions are there, and which stands before Prime? (both documents in seeds/; no client calls these yet)

What is served is what was judged: a version comes before Prime by its own job, or again because somebody wants it back.
Steps of traffic and A/B tests are not among it: Prime serves one model.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from reactord.http.bodies import Body, Said
from reactord.http.offering import written_down
from reactord.http.refusals import Conflict, NotThere
from reactord.http.route import Ask, Route
from reactord.http.views_runs import local_iso
from reactord.ledger.state import Model

Name = Annotated[str, Field(min_length=1, max_length=128)]


class Deploy(Body):
    """Which version; a strategy of the documents is heard and not followed."""

    model_version: Name


class Rollback(Body):
    """To which version; the one before, unless it is named, in whatever words."""

    model_version: Name | None = None
    version: Name | None = None
    previous_version: Name | None = None


class Register(Body):
    """A model that somebody else made."""

    model_id: Name


class Version(Said):
    """One version and what became of it."""

    version: str
    model_id: str
    fate: str
    job_id: str
    created_at: str
    metrics: dict[str, float]


class Versions(BaseModel):
    """All of them, newest first."""

    models: list[Version]
    deployed: str | None


class Placing(Said):
    """It is on its way before Prime; the job says how it went."""

    job_id: str
    status: str
    state: str
    model_version: str


async def versions(ask: Ask) -> dict[str, Any]:
    """Newest first."""
    state = ask.facade.state
    deployed = state.deployed()
    return {"models": [_version(model) for model in state.models()], "deployed": deployed and deployed.version}


async def one(ask: Ask) -> dict[str, Any]:
    """By its version, or the newest of a model's id."""
    named = ask["model_id"]
    found = [model for model in ask.facade.state.models() if named in (model.version, model.model_id)]
    if not found:
        raise NotThere("there is no such model; see /api/v1/models")
    return _version(found[0])


async def deploy(ask: Ask) -> dict[str, Any]:
    """A job of its own: 200 means that it is queued."""
    body: Deploy = ask.body
    return _placing(ask, body.model_version)


async def rollback(ask: Ask) -> dict[str, Any]:
    """The version before again, or the one that is named."""
    body: Rollback = ask.body
    return _placing(ask, body.model_version or body.version or body.previous_version)


async def register(ask: Ask) -> dict[str, Any]:
    """A version of ours is known already; what nobody here judged is not served, so it is not taken either."""
    body: Register = ask.body
    for model in ask.facade.state.models():
        if body.model_id in (model.version, model.model_id):
            return _version(model)
    raise Conflict("only what was trained and judged here is served; send experiences to /api/training/start instead")


def _placing(ask: Ask, version: str | None) -> dict[str, Any]:
    with written_down():
        job = ask.facade.restore(version)
    return {"job_id": job.id, "status": "started", "state": job.state, "model_version": job.facts["restores"]}


def _version(model: Model) -> dict[str, Any]:
    measured = model.facts.get("candidate")
    numbers = measured if isinstance(measured, dict) else {}
    return {
        "version": model.version,
        "model_id": model.model_id,
        "fate": model.fate,
        "job_id": model.job_id,
        "created_at": local_iso(model.created_at),
        "restores": model.facts.get("restores"),
        "metrics": {
            str(name): float(value)
            for name, value in numbers.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        },
    }


ROUTES = (
    Route("GET", "/api/v1/models", versions, "Every version and what became of it.", gives=Versions),
    Route("GET", "/api/v1/models/{model_id}", one, "One version, or the newest of a model.", gives=Version,
          also={404: "no such model"}),
    Route("POST", "/api/v1/models/register", register, "A version of ours is known; others are not taken.",
          takes=Register, gives=Version, also={409: "not judged here"}),
    Route("POST", "/api/models/deploy", deploy, "Put a kept version before Prime again.",
          takes=Deploy, gives=Placing, costs=True),
    Route("POST", "/api/models/rollback", rollback, "Go back to the version before, or to the one that is named.",
          takes=Rollback, or_nothing=True, gives=Placing, costs=True),
)  # fmt: skip
