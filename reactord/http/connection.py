"""How long may a connection keep us waiting? HEAD_S for a whole head, TAKE_S to take an answer; then it makes room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from aiohttp import web

from reactord.http.guards import refuse, unrouted
from reactord.http.peers import is_one_of_us
from reactord.http.sockets import Door, door_of

#: for one whole request head, from the connection or its first byte on; aiohttp itself would wait for ever
HEAD_S = 10.0
#: an idle connection is closed after so long; aiohttp's clients give theirs up after 15 s
IDLE_S = 30.0
#: of a refused body that is still being sent: read on so long that the sender can see the refusal
LINGER_S = 2.0
#: who takes nothing of a long answer for so long has left
TAKE_S = 30.0
#: taken from the network at once, and kept until somebody reads it. asyncio takes eight times as much: of pings, or of
#: chunks of a byte, that are forty thousand
AHEAD_BYTES = 32 * 1024
#: connections in all: more than all streams together
MAX_CONNECTIONS = 1200
#: of them, or of a quarter where there are few, that are kept from all requests but those that only ask how we are
KEPT = 64
#: in a head; a field, and the line with the path and its query, have up to 8,190 bytes each
MAX_HEADERS = 64


class Alarm:
    """Calls once, after a while, unless it is put off."""

    __slots__ = ("_call", "_handle")

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._handle: asyncio.TimerHandle | None = None

    def set(self, after_s: float) -> None:
        """One that is set stays as it is."""
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(after_s, self._call)

    @property
    def is_set(self) -> bool:
        return self._handle is not None

    def put_off(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class Connection(web.RequestHandler):
    """One of aiohttp's connections, with an end to every wait, and words for what is no HTTP."""

    __slots__ = ("_crowd", "_head", "_take", "admitted", "door")

    def __init__(self, server: web.Server, crowd: Crowd) -> None:
        self._crowd = crowd
        self._head, self._take = Alarm(self._give_up), Alarm(self._give_up)
        self.door: Door = "foreign"  # until it is known
        self.admitted: object = None  # the headers with which it may read (guards.py)
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # aiohttp's own word for none
            keepalive_timeout=IDLE_S,
            lingering_time=LINGER_S,
            max_headers=MAX_HEADERS,
            read_bufsize=AHEAD_BYTES,
        )

    @property
    def is_busy(self) -> bool:
        """Whether a request of it is being answered; a stream is for as long as it is open."""
        return self._request_in_progress

    @property
    def waits(self) -> bool:
        """Whether it is the client for whom we wait: to send the rest of a body, or to take what we say."""
        request = self._current_request
        return self._take.is_set or (request is not None and not request.content.is_eof())

    def give_way(self, *, busy: bool = False) -> bool:
        """Close, unless it is closed already, or busy; `busy`: it must wait for its client, then."""
        if self.transport is None or self.transport.is_closing() or (self.is_busy and not (busy and self.waits)):
            return False
        self._give_up()
        return True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.max_size = AHEAD_BYTES  # type: ignore[attr-defined] # of selector_events
        super().connection_made(transport)
        self._crowd.here[self] = None
        ours, theirs = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        self.door = door_of(ours)
        if self.door == "loopback" and not is_one_of_us(ours, theirs):
            self.door = "foreign"
        self._head.set(HEAD_S)

    def data_received(self, data: bytes) -> None:
        heads = self._request_count
        super().data_received(data)
        if self._request_count > heads:
            self._head.put_off()
        elif self._waiter is not None:  # the first bytes of the next head, not of a body
            self._head.set(HEAD_S)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._take.set(TAKE_S)

    def resume_writing(self) -> None:
        self._take.put_off()
        super().resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._crowd.here.pop(self, None)
        self._head.put_off()
        self._take.put_off()
        super().connection_lost(exc)

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[None, None, tuple[web.StreamResponse, bool]]:
        """What has no route (a path, a method, an Expect that nobody knows) meets the guards here."""
        if request.body_exists and "Content-Encoding" in request.headers and not request.content.is_eof():
            self._lingering_time = 0.0  # a megabyte of it can be a gigabyte, and would be unpacked without a break
        if type(resp) is not web.Response and isinstance(resp, web.HTTPException):  # the latter costs a microsecond
            resp = unrouted(request, resp)
        return super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP is refused like everything else, and is nothing for the log: anybody can send it."""
        if status >= 500 or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        words = (message or "this is no request").partition("\n")[0].strip(" :")
        refusal = refuse(
            status, f"this is not HTTP as we know it ({words[:100]}); correct the request and send it again"
        )
        refusal.force_close()
        return refusal

    def _give_up(self) -> None:
        if self.transport is not None:
            self.transport.abort()  # close() would wait until all is taken


class Crowd:
    """All connections."""

    def __init__(self) -> None:
        self.here: dict[Connection, None] = {}  # the oldest first
        self.fit(MAX_CONNECTIONS)

    def fit(self, places: int) -> None:
        """There is room for so many, and for `most` requests that cost time."""
        self.places, self.most = places, places - min(KEPT, places // 4)

    def busy(self) -> int:
        return sum(one.is_busy for one in self.here)

    @property
    def is_full(self) -> bool:
        """Whether only those can be answered that cost no time; the one that asks is busy, too."""
        return len(self.here) > self.most and self.busy() > self.most

    def make_room(self) -> bool:
        """Whether there is a place for one more. The oldest that asks nothing goes, or that keeps us waiting."""
        if len(self.here) < self.places:
            return True
        return any(one.give_way() for one in self.here) or any(one.give_way(busy=True) for one in self.here)


CROWD: web.AppKey[Crowd] = web.AppKey("crowd", Crowd)


class Full(asyncio.Protocol):
    """Turns a connection away: every place is held by a request that is being answered."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
