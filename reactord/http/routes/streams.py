"""How is it followed what happens? A job, or everything, as it comes (contract/body.md 1.5, contract/prime.md 5.5)."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import Annotated, Any, TypeVar

from aiohttp import web
from pydantic import AfterValidator, Field

from reactord.http import stream as streaming
from reactord.http import views
from reactord.http.bodies import Query, Said
from reactord.http.channels import EVERYTHING, MAX_CHANNELS, PATTERN, Message
from reactord.http.following import Send, Update, missed
from reactord.http.outbox import Gap, Numbered, Outbox
from reactord.http.route import Ask, Route
from reactord.http.sockets import trinity, websocket
from reactord.http.stream import STREAMS, Listener, Streams

log = logging.getLogger("reactord.http")

PING = b": ping\n\n"
#: what a connection takes without making us wait: less than the high water mark of a transport
SMALL_BYTES = 60 * 1024
RECENT = 500

T = TypeVar("T", bound=Numbered)


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
    streams, job_id = ask.request.app[STREAMS], ask["job_id"]
    sse_only = "text/event-stream" in ask.request.headers.get("Accept", "")
    form = attrgetter("event" if sse_only else "both")

    async def follow(send: Send) -> None:
        outbox = await streams.follow(job_id, _last_event(ask), send, sse_only=sse_only)
        if outbox is None:
            await send(form(Update(0, views.unknown(job_id))))
            return
        try:
            await _deliver(streams, outbox, form, lambda gap, then: missed(gap, then, sse_only=sse_only), send)
        finally:
            streams.unfollow(job_id, outbox)

    return await _answer(ask, streams, follow)


async def events(ask: Ask) -> web.StreamResponse:
    """Everything."""
    streams, query = ask.request.app[STREAMS], ask.query
    last = _last_event(ask)

    async def follow(send: Send) -> None:
        async def tell(messages: list[Message]) -> None:
            await send(b"".join(map(form, messages)))

        form = attrgetter("event")
        listener = Listener()
        try:
            await send(PING)  # the headers go with it: whoever waits for them knows that it is connected
            await streams.listen(listener, query.channels.split(","), query.after if last is None else last, tell)
            await _deliver(streams, listener.outbox, form, _gap, send)
        finally:
            streams.unlisten(listener)

    return await _answer(ask, streams, follow)


def _gap(gap: Gap, _: Message) -> bytes:
    about = {"missed": gap.missed, "after": gap.after, "upto": gap.upto}
    return b"event: gap\ndata: %s\n\n" % views.encode({"type": "gap", "payload": about, "id": gap.upto})


async def _deliver(
    streams: Streams, outbox: Outbox[T], form: Callable[[T], bytes], lost: Callable[[Gap, T], bytes], send: Send
) -> None:
    """Until it is over: everything that waits in one piece, and a comment where nothing does."""
    while True:
        gap, items = await outbox.take()
        over = outbox.ended and not len(outbox)
        data = b"".join(map(form, items))
        if gap is not None:
            data = lost(gap, items[0]) + data
            streams.note(gap)
        if data or not over:
            await send(data or PING)
        if over:
            return


async def _answer(ask: Ask, streams: Streams, follow: Callable[[Send], Awaitable[None]]) -> web.StreamResponse:
    """An answer that goes on as long as `follow` does, at the pace of the client."""
    request = ask.request
    response = web.StreamResponse(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    response.content_type = "text/event-stream"

    async def send(data: bytes) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        if transport.get_write_buffer_size() + len(data) < SMALL_BYTES:
            await response.write(data)
            return
        async with asyncio.timeout(streaming.WRITE_TIMEOUT_S):
            await response.write(data)

    with streams.place():
        try:
            await response.prepare(request)
            await follow(send)
        except (ConnectionError, TimeoutError):
            log.debug("a client left %s", request.path)
            if request.transport is not None:
                request.transport.abort()
        except Exception:  # the boundary of a stream: its answer has begun, so all that is left is to end it
            log.exception("the stream %s failed", request.path)
    return response


async def status(ask: Ask) -> dict[str, Any]:
    """Counted now."""
    streams, state = ask.request.app[STREAMS], ask.facade.state
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
