"""How do we talk over a WebSocket? In lines of JSON, each an object with a `type`.

    > {"type": "subscribe", "channels": ["training:progress", "model:*"], "after": 17, "requestId": "r1"}
    < {"type": "subscribed", "channels": [...all of them now...], "id": 20, "requestId": "r1"}
    < {"type": "training:complete", "payload": {...}, "id": 21}
    > {"type": "unsubscribe", "channels": ["model:*"]}        < {"type": "unsubscribed", "channels": [...], "id": 21}
    > {"type": "ping"}                                        < {"type": "pong", "id": 21}
    < {"type": "gap", "payload": {"missed": 3, "after": 21, "upto": 24}, "id": 24}

`id` is a place in the journal of events: `after` brings back what it has behind that place. What is not understood gets
an `error`; what is no JSON at all ends the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Annotated, Any

from aiohttp import WSCloseCode, WSMsgType, web
from pydantic import Field

from reactord.errors import BadInput
from reactord.formats.records import load
from reactord.http.bodies import Body, checked
from reactord.http.channels import EVERYTHING, MAX_CHANNELS, PATTERN, Message
from reactord.http.guards import Limits, refuse
from reactord.http.outbox import Gap
from reactord.http.refusals import Forbidden
from reactord.http.route import Ask
from reactord.http.stream import STREAMS, Listener, Streams
from reactord.http.views import encode

log = logging.getLogger("reactord.http")

#: a ping after so much silence, and half as long for its pong
HEARTBEAT_S = 20.0
#: for the client's half of the goodbye
CLOSE_S = 0.5
MAX_MESSAGE_BYTES = 16 * 1024
PAGES = "web pages may not do this; use `reactord` or a program on this machine"

Channel = Annotated[str, Field(pattern=PATTERN)]


class Command(Body):
    """What a client says."""

    type: Annotated[str, Field(max_length=40)]
    channels: Annotated[list[Channel], Field(default_factory=list, max_length=MAX_CHANNELS)]
    after: Annotated[int | None, Field(ge=0)] = None
    requestId: Annotated[str, Field(max_length=200)] | int | None = None  # noqa: N815 - as it is sent


async def websocket(ask: Ask) -> web.StreamResponse:
    """For who says what to hear."""
    return await _talk(ask, frozenset())


async def trinity(ask: Ask) -> web.StreamResponse:
    """For who only listens: Prime's orchestrator connects and waits (contract/prime.md 3.7)."""
    return await _talk(ask, frozenset((EVERYTHING,)))


async def _talk(ask: Ask, channels: frozenset[str]) -> web.StreamResponse:
    request, streams = ask.request, ask.app[STREAMS]
    if "Origin" in request.headers:  # no browser asks first: a page that may connect may read
        raise Forbidden(PAGES)
    if request.headers.get("Upgrade", "").strip().lower() != "websocket":
        return refuse(426, "this is a WebSocket; connect with a client that speaks it", Upgrade="websocket")
    talk = Talk(streams, request.transport, channels, ask.facade.version)
    await talk.prepare(request)
    return talk


class Talk(web.WebSocketResponse):
    """One client: what it says, and what it is told. It goes on after the handler has returned it (telling.py)."""

    def __init__(
        self, streams: Streams, transport: asyncio.Transport | None, channels: frozenset[str], version: str
    ) -> None:
        super().__init__(
            timeout=CLOSE_S, heartbeat=HEARTBEAT_S, compress=False, max_msg_size=MAX_MESSAGE_BYTES,
            autoping=False,  # it answers a thousand pings before anybody else has a turn
        )  # fmt: skip
        streams.check()
        self._streams, self._transport, self._listener = streams, transport, Listener()
        self._channels, self._version = channels, version
        self._limits = Limits()
        self._turn = asyncio.Lock()  # what is told again comes before what is new

    async def write_eof(self) -> None:  # type: ignore[override]  # as in aiohttp
        """Talk until one of us leaves; then say goodbye."""
        self._streams.enter()
        telling = asyncio.create_task(self._tell())
        try:
            await self._listen()
        except ConnectionError:
            log.debug("a client left its WebSocket")
        finally:
            telling.cancel()
            self._streams.unlisten(self._listener)
            self._streams.leave()
        await super().write_eof()
        if self.close_code == WSCloseCode.ABNORMAL_CLOSURE and self._transport is not None:
            self._transport.abort()  # what it did not read must not be kept

    async def _listen(self) -> None:
        """Do what the client says."""
        await self._streams.listen(self._listener, self._channels, None, self._again)
        about = {"service": "reactor_core", "version": self._version, "channels": sorted(self._channels)}
        await self._say("connected", payload=about)
        async for message in self:
            if wait_s := self._limits.wait_s():
                await self._part(WSCloseCode.POLICY_VIOLATION, f"too many messages; come back in {wait_s} s")
            elif message.type == WSMsgType.BINARY:
                await self._part(WSCloseCode.UNSUPPORTED_DATA, "send text")
            elif message.type == WSMsgType.PING:
                await self.pong(message.data)
            elif message.type == WSMsgType.TEXT:
                await self._hear(message.data)

    async def _tell(self) -> None:
        """Say what happens."""
        outbox = self._listener.outbox
        with contextlib.suppress(ConnectionError):
            while not outbox.over:
                await outbox.filled()
                async with self._turn:
                    gap, messages = outbox.take()
                    if gap is not None:
                        await self._gap(gap)
                    await self._again(messages)
                    del messages
            await self._part(WSCloseCode.GOING_AWAY, "reactord is stopping; connect again in a moment")

    async def _again(self, messages: list[Message]) -> None:
        for message in messages:
            await self.send_frame(message.text, WSMsgType.TEXT)

    async def _gap(self, gap: Gap) -> None:
        self._streams.note(gap)
        about = {"missed": gap.missed, "after": gap.after, "upto": gap.upto}
        await self._send({"type": "gap", "payload": about, "id": gap.upto})

    async def _hear(self, text: str) -> None:
        request_id = None
        try:
            said = load(text.encode())
        except (BadInput, UnicodeEncodeError):
            await self._part(WSCloseCode.INVALID_TEXT, "send JSON")
            return
        try:
            if not isinstance(said, dict):
                raise BadInput('this is no object; send {"type": "subscribe", "channels": ["*"]}')
            request_id = said.get("requestId")
            await self._obey(checked(Command, said))
        except BadInput as wrong:
            known = isinstance(request_id, str | int) and len(str(request_id)) <= 200
            await self._say("error", request_id if known else None, error=str(wrong))

    async def _obey(self, command: Command) -> None:
        if command.type == "subscribe":
            await self._subscribe(command)
        elif command.type == "unsubscribe":
            self._listener.channels -= set(command.channels)
            await self._say("unsubscribed", command.requestId, channels=sorted(self._listener.channels))
        elif command.type == "ping":
            await self._say("pong", command.requestId)
        else:
            raise BadInput("this type is not known; send subscribe, unsubscribe or ping")

    async def _subscribe(self, command: Command) -> None:
        channels = self._listener.channels | set(command.channels)
        if not command.channels or len(channels) > MAX_CHANNELS:
            raise BadInput(f"`channels`: send 1 to {MAX_CHANNELS} names, like training:complete, model:* or *")
        async with self._turn:
            await self._say("subscribed", command.requestId, channels=sorted(channels))
            await self._streams.listen(self._listener, command.channels, command.after, self._again)

    async def _say(self, kind: str, request_id: str | int | None = None, **what: Any) -> None:  # noqa: ANN401
        echo = {} if request_id is None else {"requestId": request_id}
        await self._send({"type": kind, **what, "id": self._streams.newest, **echo})

    async def _send(self, document: dict[str, Any]) -> None:
        await self.send_frame(encode(document), WSMsgType.TEXT)

    async def _part(self, code: WSCloseCode, why: str) -> None:
        await self.close(code=code, message=why.encode())
