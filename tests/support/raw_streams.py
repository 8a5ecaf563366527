"""Clients of streams as they are on the wire: plain sockets, nothing of the server's code and no client library."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from dataclasses import dataclass
from typing import Self

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def request(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


async def plain(port: int, path: str, *headers: str, buffer: int | None = None) -> socket.socket:
    """A socket that has asked; `buffer`: it takes so few bytes from the network, and nobody reads it."""
    loop = asyncio.get_running_loop()
    one = socket.socket()
    one.setblocking(False)
    if buffer:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    await loop.sock_connect(one, ("127.0.0.1", port))
    await loop.sock_sendall(one, request(path, *headers))
    return one


async def rest(one: socket.socket) -> bytes:
    """Everything until the other side closes."""
    loop, found = asyncio.get_running_loop(), []
    async with asyncio.timeout(20):
        while data := await loop.sock_recv(one, 1 << 20):
            found.append(data)
    return b"".join(found)


def unchunked(answer: bytes) -> tuple[bytes, bool]:
    """The body of a chunked answer, and whether it came to its end."""
    body, found = answer.partition(b"\r\n\r\n")[2], []
    while body:
        size, _, body = body.partition(b"\r\n")
        if int(size, 16) == 0:
            return b"".join(found), True
        found.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    return b"".join(found), False


@dataclass
class WebSocket:
    """RFC 6455 by hand: masked frames out, unmasked ones in; it answers nothing by itself."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes = b""

    @classmethod
    async def open(cls, port: int, path: str, *headers: str) -> Self:
        one = cls(*await asyncio.open_connection("127.0.0.1", port))
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", key)
        one.writer.write(request(path, *upgrade, *headers))
        one.head = await asyncio.wait_for(one.reader.readuntil(b"\r\n\r\n"), 5)
        return one

    def send(self, payload: bytes, opcode: int = TEXT, *, first: int | None = None) -> None:
        mask = os.urandom(4)
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + struct.pack(">H", size)
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        self.writer.write(bytes([0x80 | opcode if first is None else first]) + length + mask + masked)

    async def frame(self) -> tuple[int, bytes]:
        first, size = await asyncio.wait_for(self.reader.readexactly(2), 10)
        if size == 126:
            size = struct.unpack(">H", await self.reader.readexactly(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", await self.reader.readexactly(8))[0]
        return first & 15, await asyncio.wait_for(self.reader.readexactly(size), 10)

    async def closed(self) -> int:
        """The code of the server's goodbye; what it says before is skipped."""
        while True:
            opcode, payload = await self.frame()
            if opcode == CLOSE:
                return int(struct.unpack(">H", payload[:2])[0])

    async def leave(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()
