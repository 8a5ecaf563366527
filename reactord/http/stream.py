"""How is a job followed? (contract/body.md 1.5)

A stream is progress.jsonl, read as it grows, between the job's changes of state. SSE ids are its line numbers, so
`Last-Event-ID` replays what a client missed, also across a restart of the daemon.

Body's own client reads bare JSON lines and is blind to SSE; a standard SSE parser ignores a line that starts with `{`.
So every update is sent twice, once for each, unless the client asks for `text/event-stream` alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from reactord.errors import EnvironmentTrouble
from reactord.http import views
from reactord.http.facade import Facade
from reactord.http.route import Ask
from reactord.jobs.states import LIVE
from reactord.workdir import WorkDir, parse_progress

log = logging.getLogger("reactord.http")

LOOK_EVERY_S = 0.25
#: a silence that both kinds of client skip over; proxies and Body give up on longer ones
PING_EVERY_S = 10.0
#: a client that takes nothing for so long is gone
WRITE_TIMEOUT_S = 20.0
MAX_STREAMS = 64
READ_BYTES = 256 * 1024
PING = b": ping\n\n"


class Streams:
    """The streams that are open now, and the word that ends them."""

    def __init__(self) -> None:
        self.open = 0
        self.leaving = asyncio.Event()

    def end(self) -> None:
        """Close every stream at its next breath: a client must not keep a stopping daemon waiting."""
        self.leaving.set()


STREAMS: web.AppKey[Streams] = web.AppKey("streams", Streams)


class Follower:
    """Reads the lines of progress.jsonl that are new, and numbers them from 1."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.line = 0
        self._offset = 0

    def read(self) -> list[tuple[int, dict[str, Any]]]:
        """New whole lines with their numbers; a line that a crash tore has a number, too, and is left out."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(READ_BYTES)
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        found = []
        for raw in whole.split(b"\n")[:-1]:
            self.line += 1
            if (value := parse_progress(raw)) is not None:
                found.append((self.line, value))
        return found


async def updates(facade: Facade, job_id: str, after: int | None) -> AsyncIterator[tuple[int, views.Status] | None]:
    """(line number, status object) of every update; None when there is nothing new at the moment.

    Begins with the lines behind `after` (None: with the current state) and ends behind the job's last state.
    """
    follower = Follower(WorkDir(facade.home.jobs / job_id).progress_path)
    seen, shown = views.Seen(), None
    while True:
        job = facade.state.job(job_id)
        if job is None:
            yield 0, views.unknown(job_id)
            return
        while lines := follower.read():
            for number, line in lines:
                seen = views.fold(seen, line, number)
                if after is not None and number > after:
                    yield number, views.status(views.as_it_was(job, seen), seen)
            await asyncio.sleep(0)  # a long file must not hold up the others
        if shown != (job.state, job.updated_at):
            shown = (job.state, job.updated_at)
            yield follower.line, views.status(job, seen)
        if job.state not in LIVE:
            return
        after = 0  # everything from here on is news
        yield None


def framed(number: int, status: views.Status, *, sse_only: bool) -> bytes:
    """One update on the wire."""
    line = views.encode(status)
    event = b"event: status\nid: %d\ndata: %s\n\n" % (number, line)
    return event if sse_only else line + b"\n" + event


async def stream(ask: Ask) -> web.StreamResponse:
    """GET /api/training/stream/{job_id}."""
    facade, request = ask.facade, ask.request
    streams = request.app[STREAMS]
    if streams.open >= MAX_STREAMS:
        raise EnvironmentTrouble(f"{MAX_STREAMS} streams are open; close one, or poll /api/training/status")
    response = web.StreamResponse(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    response.content_type = "text/event-stream"
    streams.open += 1
    try:
        await response.prepare(request)
        await _send(response, request, facade, streams)
    except (ConnectionError, TimeoutError):
        log.debug("a client left the stream of %s", request.match_info["job_id"])
        if request.transport is not None:
            request.transport.abort()
    except Exception:  # the boundary of a stream: its answer has begun, so all that is left is to end it
        log.exception("the stream of %s failed", request.match_info["job_id"])
    finally:
        streams.open -= 1
    return response


async def _send(response: web.StreamResponse, request: web.Request, facade: Facade, streams: Streams) -> None:
    sse_only = "text/event-stream" in request.headers.get("Accept", "")
    spoke_at = time.monotonic()
    async for update in updates(facade, request.match_info["job_id"], _last_event(request)):
        if update is not None:
            data = framed(*update, sse_only=sse_only)
        elif time.monotonic() - spoke_at >= PING_EVERY_S:
            data = PING
        else:
            data = b""
        if data:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await response.write(data)
            spoke_at = time.monotonic()
        if update is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await streams.leaving.wait()
        if streams.leaving.is_set():
            return


def _last_event(request: web.Request) -> int | None:
    value = request.headers.get("Last-Event-ID", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 16 else None
