"""How is it followed what happens? A job, or everything, as it comes (contract/body.md 1.5, contract/prime.md 5.5)."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Any

from aiohttp import web
from pydantic import AfterValidator, Field

from reactord.http.bodies import Query, Said
from reactord.http.channels import EVERYTHING, MAX_CHANNELS, PATTERN
from reactord.http.route import Ask, Route
from reactord.http.stream import STREAMS
from reactord.http.talking import trinity, websocket
from reactord.http.telling import OfEvents, OfJob

#: events that are counted by topic
RECENT = 500


def _names(text: str) -> str:
    names = text.split(",")
    if len(names) > MAX_CHANNELS or not all(re.match(PATTERN, name) for name in names):
        raise ValueError(f"at most {MAX_CHANNELS} names like training:complete, model:* or *")
    return text


class EventsQuery(Query):
    """What of the events, and from where on."""

    channels: Annotated[
        str, Field(max_length=4096, description="names, with commas between them"), AfterValidator(_names)
    ] = EVERYTHING
    after: Annotated[int | None, Field(ge=0, description="like Last-Event-ID, for those who cannot send it")] = None


class EventsStatus(Said):
    """How much is told, to how many."""

    newest: int = Field(description="id of the newest event in the journal")
    recent: dict[str, int] = Field(description=f"the newest {RECENT} events by topic")
    streams: int = Field(description="open now")
    following: int = Field(description="of them follow one job")
    listening: int = Field(description="of them listen to channels")
    jobs: int = Field(description="jobs that are followed")
    queued: int = Field(description="what waits for slow clients")
    gaps: int = Field(description="that clients were told of since the start")
    missed: int = Field(description="what was in those gaps")


async def stream(ask: Ask) -> web.StreamResponse:
    """One job."""
    sse_only = "text/event-stream" in ask.request.headers.get("Accept", "")
    streams, transport = ask.app[STREAMS], ask.request.transport
    return OfJob(streams, transport, ask["job_id"], _last_event(ask), sse_only=sse_only)


async def events(ask: Ask) -> web.StreamResponse:
    """Everything."""
    query: EventsQuery = ask.query
    last = _last_event(ask)
    channels = frozenset(query.channels.split(","))
    return OfEvents(ask.app[STREAMS], ask.request.transport, channels, query.after if last is None else last)


async def status(ask: Ask) -> dict[str, Any]:
    """Counted now."""
    streams, state = ask.app[STREAMS], ask.facade.state
    newest = state.last_event()
    recent = Counter(event.topic for event in state.events(after=max(0, newest - RECENT)))
    return {
        "newest": newest,
        "recent": dict(sorted(recent.items())),
        "streams": streams.open,
        "following": sum(len(feed.members) for feed in streams.feeds.values()),
        "listening": len(streams.listeners),
        "jobs": len(streams.feeds),
        "queued": sum(map(len, streams.outboxes())),
        "gaps": streams.gaps,
        "missed": streams.missed,
    }


def _last_event(ask: Ask) -> int | None:
    value = ask.request.headers.get("Last-Event-ID", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 16 else None


ROUTES = (
    Route("GET", "/api/training/stream/{job_id}", stream, "Follow a job: every update twice, as a bare JSON line and as"
          " a server-sent event; only the latter for who accepts text/event-stream.", media="text/event-stream"),
    Route("GET", "/api/v1/events/stream", events, "Listen to what happens: server-sent events, and what of them the"
          " journal has behind Last-Event-ID.", asks=EventsQuery, media="text/event-stream"),
    Route("GET", "/api/v1/events/status", status, "How much is told, to how many.", gives=EventsStatus),
    Route("GET", "/ws", websocket, "The same over a WebSocket: subscribe to channels.", upgrades=True),
    Route("GET", "/ws/trinity", trinity, "A WebSocket that is subscribed to everything.", upgrades=True),
)  # fmt: skip
