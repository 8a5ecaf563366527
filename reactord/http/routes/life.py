"""Is the daemon there, and how is it? (contract/body.md 1.2)"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from reactord.http.answers import ANSWERS
from reactord.http.bodies import Said
from reactord.http.guards import RETRY_AFTER_S, encoded
from reactord.http.route import Ask, Reply, Route


class Health(Said):
    """What the supervisors read; no pid is in it."""

    status: str
    phase: str
    service: str
    version: str
    protocol_version: str
    contract_version: int
    training_ready: bool
    trinity_connected: bool
    healthy: bool
    capabilities: list[str]
    uptime_seconds: float
    active_jobs: int
    pending_experiences: int


class Ready(Said):
    """For those who look at nothing else."""

    ready: bool


def health(ask: Ask) -> web.Response:
    """200 in every phase."""
    return encoded(ask.app[ANSWERS].health(ask.facade))


async def ready(ask: Ask) -> dict[str, Any] | Reply:
    """200 or 503."""
    if ask.facade.pulse().told == "ready":
        return {"ready": True}
    return Reply({"ready": False}, 503, {"Retry-After": str(RETRY_AFTER_S)})


ROUTES = (
    Route("GET", "/health", health, "How the daemon is.", gives=Health, always=True),
    Route("GET", "/api/health", health, "The same, where older readers look.", gives=Health, always=True),
    Route("GET", "/health/ready", ready, "Whether it takes requests.", gives=Ready, also={503: "not yet"}, always=True),
)
