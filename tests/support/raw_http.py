"""A client that knows no rules: it sends what it is told and reads what comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

DEADLINE_S = 20.0


@dataclass
class Said:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        assert self.headers["content-type"].startswith("application/json"), self.headers
        return json.loads(self.body)


@dataclass
class Line:
    """A connection to the port."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    rest: bytes = field(default=b"")

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with contextlib.suppress(ConnectionError):  # they may have hung up already; what they said counts
            await self.writer.drain()

    async def everything(self) -> bytes:
        """All that comes until they hang up."""
        parts = []
        with contextlib.suppress(ConnectionError):
            while part := await asyncio.wait_for(self.reader.read(65536), DEADLINE_S):
                parts.append(part)
        return b"".join(parts)

    async def answer(self) -> Said:
        """The next answer, by its Content-Length."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), DEADLINE_S)
        said = _headed(head[:-4])
        length = int(said.headers.get("content-length", 0))
        said.body = await asyncio.wait_for(self.reader.readexactly(length), DEADLINE_S)
        return said


def _headed(head: bytes) -> Said:
    first, *lines = head.decode("latin-1").split("\r\n")
    assert first.startswith("HTTP/"), first
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Said(int(first.split()[1]), headers, b"")


def answers(data: bytes) -> list[Said]:
    """All answers in what came."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        said = _headed(head)
        length = int(said.headers.get("content-length", 0))
        said.body, data = data[:length], data[length:]
        found.append(said)
    return found


@contextlib.asynccontextmanager
async def line_to(port: int) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def exchange(port: int, data: bytes) -> list[Said]:
    """Send it, and what comes until they hang up."""
    async with line_to(port) as line:
        await line.send(data)
        return answers(await line.everything())


@contextlib.asynccontextmanager
async def health_beside(port: int) -> AsyncIterator[None]:
    """Ask /health on new connections all the while; it must always be answered."""
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    done, heard = asyncio.Event(), []

    async def probe() -> None:
        while not (heard and done.is_set()):
            [said] = await exchange(port, request)
            heard.append((said.status, said.document["service"]))
            await asyncio.sleep(0.02)

    task = asyncio.create_task(probe())
    try:
        yield
    finally:
        done.set()
        await asyncio.wait_for(task, DEADLINE_S)
    assert set(heard) == {(200, "reactor_core")}
