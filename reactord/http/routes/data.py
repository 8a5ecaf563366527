"""How do experiences, corrections and telemetry come in one by one? (contract/body.md 1.7 to 1.9, prime.md 4)

Every one is durable before it is answered, and the same event by another door counts once. What cannot be learned from
is kept all the same: the dataset says why.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Annotated, Any

import orjson
from pydantic import Field

from reactord.errors import BadRequest
from reactord.formats.records import content_identity
from reactord.formats.telemetry import accepts
from reactord.home import Home
from reactord.http.bodies import Body, Query, Said
from reactord.http.large import by_size
from reactord.http.offering import offer
from reactord.http.refusals import TooLarge
from reactord.http.route import Ask, Route
from reactord.http.views_runs import local_iso
from reactord.ledger.sqlite import open_readonly
from reactord.ledger.state import State

#: the format of one free experience, of one canonical event, of a batch, and of corrections
FREE, CANONICAL, BATCH, CORRECTIONS = "experience_lines", "telemetry", "experiences", "corrections"
MAX_BYTES = 4 * 1024 * 1024
MAX_BATCH = 10_000
#: of a day of telemetry, so many hours are told at most
MAX_HOURS = 24 * 31


class Streamed(Body):
    """One event in its envelope."""

    experience: dict[str, Any]
    timestamp: Any = None
    source: Any = None


class Batch(Body):
    """Several experiences."""

    experiences: Annotated[list[Any], Field(max_length=MAX_BATCH)]
    source: Any = None


class CorrectionsBody(Body):
    """Prime sends several, Body's emitter one event in its envelope."""

    corrections: Annotated[list[Any], Field(max_length=MAX_BATCH)] | None = None
    experience: dict[str, Any] | None = None


class Free(Body):
    """Any object."""


class Topic(Body):
    """Something that the scout wants looked at: kept as a record, nobody crawls."""

    topic: Annotated[str, Field(min_length=1, max_length=4096)]


class Between(Query):
    """Epoch seconds."""

    start_time: Annotated[float, Field(ge=0, le=1e11)] | None = None
    end_time: Annotated[float, Field(ge=0, le=1e11)] | None = None


class Accepted(Said):
    """It is durable."""

    accepted: bool
    new: int


class AcceptedMany(Said):
    """They are durable."""

    accepted: int
    new: int


class Added(Said):
    """It is durable."""

    added: bool


class Count(Said):
    """What waits."""

    count: int


class Metrics(Said):
    """What happened, counted from the event journal."""

    start_time: float
    end_time: float
    events: dict[str, int]


class TrinityState(Said):
    """What we are to the others."""

    component: str
    status: str
    timestamp: float
    updated_at: str


async def streamed(ask: Ask) -> dict[str, Any]:
    """One event, of any shape."""
    body: Streamed = ask.body
    return {"accepted": True, "new": await _take_one(ask, body.experience)}


async def batch(ask: Ask) -> dict[str, Any]:
    """All of them, or none."""
    body: Batch = ask.body
    return {"accepted": len(body.experiences), "new": await _take(ask, BATCH, {"experiences": body.experiences})}


async def corrections(ask: Ask) -> dict[str, Any]:
    """Either form; exactly 200, or Prime sends it again."""
    body: CorrectionsBody = ask.body
    if body.corrections is not None:
        new = await _take(ask, CORRECTIONS, {"corrections": body.corrections})
        return {"accepted": len(body.corrections), "new": new}
    if body.experience is None:
        raise BadRequest("these are no corrections; send `corrections`, a list, or one `experience`")
    return {"accepted": 1, "new": await _take_one(ask, body.experience)}


async def free(ask: Ask) -> dict[str, Any]:
    """Any object, kept as it is."""
    body: Free = ask.body
    return {"accepted": True, "new": await _take_one(ask, body.model_extra or {})}


async def topic(ask: Ask) -> dict[str, Any]:
    """Kept as a record of its own kind."""
    body: Topic = ask.body
    await _take(ask, FREE, {"event_type": "scout_topic", "topic": body.topic, **(body.model_extra or {})})
    return {"added": True}


async def count(ask: Ask) -> dict[str, Any]:
    """Experiences that no dataset has looked at."""
    return {"count": ask.facade.pulse().pending_experiences}


async def metrics(ask: Ask) -> dict[str, Any]:
    """Counts of our own events by topic."""
    asked: Between = ask.query
    now = ask.facade.clock()
    end = now if asked.end_time is None else asked.end_time
    start = max(end - MAX_HOURS * 3600, 0.0) if asked.start_time is None else asked.start_time
    events = await asyncio.to_thread(_counted, ask.facade.home, start, end)
    return {"start_time": start, "end_time": end, "events": events}


def _counted(home: Home, start: float, end: float) -> dict[str, int]:
    """All events that there ever were are looked at: not on the loop."""
    with closing(open_readonly(home.state_db)) as db:
        return State(db).topics(start, end)


async def trinity_state(ask: Ask) -> dict[str, Any]:
    """As the heartbeats say it."""
    now = time.time()
    pulse = ask.facade.pulse()
    return {
        "component": "reactor_core",
        "status": pulse.told,
        "timestamp": now,
        "updated_at": local_iso(now),
        "active_jobs": pulse.active_jobs,
        "pending_experiences": pulse.pending_experiences,
    }


async def _take_one(ask: Ask, event: dict[str, Any]) -> int:
    """A canonical event is known by its id whichever way it comes."""
    return await _take(ask, CANONICAL if accepts(event) else FREE, event)


async def _take(ask: Ask, format_name: str, document: Mapping[str, Any]) -> int:
    name, raw = await by_size(ask.request, _written, document)
    return await offer(ask.facade, format_name, [(name, raw)])


def _written(document: Mapping[str, Any]) -> tuple[str, bytes]:
    """As it goes to the ledger: its name, and its bytes."""
    raw = orjson.dumps(document)
    if len(raw) > MAX_BYTES:
        raise TooLarge(f"{len(raw)} bytes are too many for one request; send at most {MAX_BYTES}")
    return f"http-{content_identity(raw)}.json", raw


ROUTES = (
    Route("POST", "/api/v1/experiences/stream", streamed, "Take one event in.", takes=Streamed, gives=Accepted),
    Route("POST", "/api/v1/experiences/batch", batch, "Take several in.", takes=Batch, gives=AcceptedMany),
    Route("POST", "/api/experiences/batch", batch, "The same, for the supervisor.", takes=Batch, gives=AcceptedMany),
    Route("GET", "/api/v1/experiences/count", count, "How many wait.", gives=Count),
    Route("POST", "/api/v1/corrections/stream", corrections, "Take corrections in.",
          takes=CorrectionsBody, gives=AcceptedMany),
    Route("POST", "/api/v1/telemetry/submit", free, "Take an event in.", takes=Free, gives=Accepted),
    Route("GET", "/api/v1/telemetry/metrics", metrics, "Our own events, counted.", asks=Between, gives=Metrics),
    Route("POST", "/v1/telemetry/events", free, "Take an event in.", takes=Free, gives=Accepted),
    Route("POST", "/api/voice/sync_features", free, "Take features in; they are kept.", takes=Free, gives=Accepted),
    Route("POST", "/api/v1/scout/topics", topic, "Keep a topic; nobody crawls.", takes=Topic, gives=Added),
    Route("POST", "/api/trinity/receive", free, "Take an event in.", takes=Free, gives=Accepted),
    Route("GET", "/api/trinity/state", trinity_state, "What we are to the others.", gives=TrinityState),
)  # fmt: skip
