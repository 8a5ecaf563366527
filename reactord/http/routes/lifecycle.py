"""How do supervisors agree with us, and have us leave? (contract/lifecycle.md 1 and 2, contract/body.md 1.9)

Who may drain us: with a secret in our environment only who proves that they know it. Without one there is nothing to
prove, and a program of our user that could ask could as well send a signal. A session that is not ours is refused
either way.
"""

from __future__ import annotations

import logging
import uuid
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from reactord import managed
from reactord.http.bodies import Body, Said
from reactord.http.refusals import Conflict, Forbidden
from reactord.http.route import Ask, Reply, Route
from reactord.http.views import API_VERSION, CAPABILITIES

log = logging.getLogger("reactord.http")

PROOFS: web.AppKey[managed.Proofs] = web.AppKey("proofs", managed.Proofs)
PROVIDER = "reactor-core"
SCHEMA = (0, 1, 0)
#: of this life of ours
INSTANCE = uuid.uuid4().hex


class Handshake(Body):
    """What the supervisor wants us to be."""

    expected_api_version_min: Annotated[str, Field(max_length=64)] | None = None
    expected_api_version_max: Annotated[str, Field(max_length=64)] | None = None
    required_capabilities: Annotated[list[str], Field(max_length=64)] = Field(default_factory=list)


class Shaken(Said):
    """Whether we are that."""

    accepted: bool
    component_instance_id: str
    api_version: str
    capabilities: list[str]
    health_schema_hash: str
    rejection_reason: str
    metadata: dict[str, Any]


class Drain(Body):
    """Whose session, and how long it may take; the documents' form has the first, another client the second."""

    session_id: Annotated[str, Field(max_length=256)] | None = None
    timeout_s: float | None = None


class Drained(Said):
    """We are leaving."""

    drain_id: str
    session_id: str
    status: str


class Capabilities(Said):
    """What we can do."""

    provider_id: str
    capabilities: list[str]
    schema_version: list[int]
    capability_hash: str
    etag: str


async def handshake(ask: Ask) -> dict[str, Any]:
    """Same major version, minor one up or down; every capability that is required."""
    body: Handshake = ask.body
    missing = sorted(set(body.required_capabilities) - set(CAPABILITIES))
    why = f"capabilities that are not here: {', '.join(missing)[:500]}" if missing else ""
    why = why or _outside(API_VERSION, body.expected_api_version_min, body.expected_api_version_max)
    return {
        "accepted": not why,
        "component_instance_id": INSTANCE,
        "api_version": API_VERSION,
        "capabilities": list(CAPABILITIES),
        "health_schema_hash": "",
        "rejection_reason": why,
        "metadata": {"service": "reactor_core", "phase": ask.facade.pulse().told},
    }


async def drain(ask: Ask) -> dict[str, Any]:
    """No new work, checkpoint, leave. Asking again changes nothing."""
    body: Drain = ask.body
    session, secret = managed.session_id(), managed.secret()
    if body.session_id is not None and session and body.session_id != session:
        raise Conflict("this is not the session that manages this reactord; ask with its own session_id")
    proof = ask.request.headers.get("X-Root-Auth", "")
    if secret and not ask.app[PROOFS].accept(proof, session, secret):
        raise Forbidden("X-Root-Auth does not prove that you manage this reactord; sign a new nonce with the secret")
    before = ask.facade.pulse().draining
    drain_id = ask.facade.drain("POST /lifecycle/drain")
    if not before:  # asking again is nothing for the log
        log.warning("drain %s was asked for", drain_id)
    return {
        "drain_id": drain_id,
        "session_id": session or (body.session_id or ""),
        "status": "already_draining" if before else "draining",
    }


async def capabilities(_: Ask) -> Reply:
    """With an ETag, as the registry reads it."""
    found = managed.capability_list_hash(CAPABILITIES)
    etag = f'"v{".".join(map(str, SCHEMA))}-{found.removeprefix("sha256:")}"'
    document = {
        "provider_id": PROVIDER,
        "capabilities": list(CAPABILITIES),
        "schema_version": list(SCHEMA),
        "capability_hash": found,
        "etag": etag,
    }
    return Reply(document, headers={"ETag": etag})


def _outside(version: str, least: str | None, most: str | None) -> str:
    """Why our version does not fit. What cannot be read asks for nothing."""
    ours = _numbers(version)
    lower, upper = _numbers(least or ""), _numbers(most or "")
    if ours < lower or (upper and ours[: len(upper)] > upper):
        return f"our version is {version}, outside {least or 'any'} to {most or 'any'}"
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.strip().removeprefix("v").split("-")[0].split(".")
    return tuple(int(part) for part in parts) if all(p.isascii() and p.isdigit() and len(p) < 9 for p in parts) else ()


ROUTES = (
    Route("POST", "/lifecycle/handshake", handshake, "Whether we are what a supervisor needs.",
          takes=Handshake, or_nothing=True, gives=Shaken, always=True),
    Route("POST", "/lifecycle/drain", drain, "Take no new work, checkpoint, and leave.",
          takes=Drain, or_nothing=True, gives=Drained, leaving=True, also={409: "another session", 403: "no proof"}),
    Route("GET", "/capabilities", capabilities, "What we can do.", gives=Capabilities, always=True),
)  # fmt: skip
