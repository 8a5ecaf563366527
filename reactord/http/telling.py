"""How does an answer go on? As server-sent events, at the pace of its client.

A stream is told after its handler has returned it: a thousand of them hold no frames of the handler and the guards.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Callable
from operator import attrgetter
from typing import Generic, TypeVar

from aiohttp import web

from reactord.http import stream, views
from reactord.http.channels import Message
from reactord.http.following import Unknown, Update, missed
from reactord.http.outbox import Gap, Numbered, Outbox
from reactord.http.stream import Listener, Streams

log = logging.getLogger("reactord.http")

PING = b": ping\n\n"
#: what a connection takes without making us wait: less than the high water mark of a transport
SMALL_BYTES = 60 * 1024
EVENT: Callable[[Update | Message], bytes] = attrgetter("event")
BOTH: Callable[[Update], bytes] = attrgetter("both")

T = TypeVar("T", bound=Numbered)


class Stream(web.StreamResponse, Generic[T]):
    """One client that is told something."""

    def __init__(self, streams: Streams, transport: asyncio.Transport | None) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self.content_type = "text/event-stream"
        self._streams, self._transport = streams, transport
        streams.check()

    @abstractmethod
    async def join(self) -> Outbox[T] | None:
        """Tell what the client asks for of the past, and queue for what comes. None: that was all."""

    @abstractmethod
    def leave(self) -> None:
        """Whatever happened: queue no more."""

    @abstractmethod
    def form(self, items: list[T]) -> bytes:
        """Several updates, as this client reads them."""

    @abstractmethod
    def lost(self, gap: Gap, then: T) -> bytes:
        """That some were lost, before the next one is told."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Tell until it is over; then end the answer."""
        self._streams.enter()
        try:
            outbox = await self.join()
            while outbox is not None and not outbox.over:
                await outbox.filled()
                await self.send(self._next(outbox))
        except (ConnectionError, TimeoutError):
            log.debug("a client left its stream")
            if self._transport is not None:
                self._transport.abort()
            raise ConnectionResetError from None
        except Exception:  # the boundary of a stream: its answer has begun, so all that is left is to end it
            log.exception("a stream failed")
        finally:
            self.leave()
            self._streams.leave()
        await super().write_eof(data)

    def _next(self, outbox: Outbox[T]) -> bytes:
        """Everything that waits, in one piece; a comment where nothing does."""
        gap, items = outbox.take()
        if gap is None:
            return self.form(items) or (b"" if outbox.ended else PING)
        self._streams.note(gap)
        return self.lost(gap, items[0]) + self.form(items)

    async def send(self, data: bytes) -> None:
        """Raises TimeoutError when the client takes nothing."""
        if self._transport is None:
            raise ConnectionResetError
        if not data:
            return
        if self._transport.get_write_buffer_size() + len(data) < SMALL_BYTES:
            await self.write(data)
            return
        async with asyncio.timeout(stream.WRITE_TIMEOUT_S):
            await self.write(data)


class OfJob(Stream[Update]):
    """Somebody follows a job."""

    def __init__(
        self, streams: Streams, transport: asyncio.Transport | None, job_id: str, after: int | None, *, sse_only: bool
    ) -> None:
        super().__init__(streams, transport)
        self._job_id, self._after, self._sse_only = job_id, after, sse_only
        self._outbox: Outbox[Update] | None = None

    async def join(self) -> Outbox[Update] | None:
        self._outbox = await self._streams.follow(self._job_id, self._after, self._again)
        if self._outbox is None:
            await self.send(self.form([Unknown(self._job_id)]))
        return self._outbox

    def leave(self) -> None:
        if self._outbox is not None:
            self._streams.unfollow(self._job_id, self._outbox)

    async def _again(self, updates: list[Update]) -> None:
        await self.send(self.form(updates))

    def form(self, items: list[Update]) -> bytes:
        return b"".join(map(EVENT if self._sse_only else BOTH, items))

    def lost(self, gap: Gap, then: Update) -> bytes:
        return missed(gap, then, sse_only=self._sse_only)


class OfEvents(Stream[Message]):
    """Somebody listens to channels."""

    def __init__(
        self, streams: Streams, transport: asyncio.Transport | None, channels: frozenset[str], after: int | None
    ) -> None:
        super().__init__(streams, transport)
        self._channels, self._after, self._listener = channels, after, Listener()

    async def join(self) -> Outbox[Message]:
        await self.send(PING)  # the headers go with it: whoever waits for them knows that it is connected
        await self._streams.listen(self._listener, self._channels, self._after, self._again)
        return self._listener.outbox

    def leave(self) -> None:
        self._streams.unlisten(self._listener)

    async def _again(self, messages: list[Message]) -> None:
        await self.send(self.form(messages))

    def form(self, items: list[Message]) -> bytes:
        return b"".join(map(EVENT, items))

    def lost(self, gap: Gap, then: Message) -> bytes:  # noqa: ARG002 - it says nothing that a gap could be filled with
        about = {"missed": gap.missed, "after": gap.after, "upto": gap.upto}
        return b"event: gap\ndata: %s\n\n" % views.encode({"type": "gap", "payload": about, "id": gap.upto})
