"""Where do we listen, and for whom? On 127.0.0.1 and, if the machine has it, ::1; on one port."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from contextlib import suppress

import psutil
from aiohttp import web

from reactord.errors import BadConfig, EnvironmentTrouble
from reactord.settings import Settings

IPV4, IPV6 = "127.0.0.1", "::1"
LOOPBACK = (IPV4, IPV6, "localhost")
#: more than all streams together (stream.py), so that /health always finds a place; bursts may exceed it by the backlog
MAX_CONNECTIONS = 1024 + 128
#: that the rest of the daemon keeps open: databases, segments, pipes
OTHER_FILES = 256
BACKLOG = 64
#: an idle connection, or one that sends half a header, is closed after so long; aiohttp's clients give up after 15 s
IDLE_S = 30.0
#: of an answer that is being written when we leave; aiohttp waits twice
FINISH_S = 0.4
#: of a refused body that is still being sent: read on so long that the sender can see the refusal
LINGER_S = 2.0
#: tries to find a port that is free on both addresses
TRIES = 20
_IPV6_MISSING = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)


class PortInUse(EnvironmentTrouble):
    """Somebody else listens on our port."""


class Listening:
    """A running server: `port`, and `stop` to end it."""

    def __init__(self, runner: web.AppRunner, sockets: list[socket.socket]) -> None:
        self._runner, self._sockets = runner, sockets
        self._servers: list[asyncio.Server] = []
        self._room = _room()
        self.port = int(sockets[0].getsockname()[1])

    async def start(self) -> None:
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._servers = [await loop.create_server(self._accept, sock=s, backlog=BACKLOG) for s in self._sockets]

    async def stop(self) -> None:
        """Take no more, end every stream, finish what is being answered. At most a second."""
        for server in self._servers:
            server.close()
        await self._runner.cleanup()

    def _accept(self) -> asyncio.Protocol:
        server = self._runner.server
        assert server is not None
        return _Full() if len(server.connections) >= self._room else server()


class _Full(asyncio.Protocol):
    """Turns a connection away: someone holds all of them, and memory must not be next."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def serve(settings: Settings, app: web.Application, port: int | None = None) -> Listening:
    """Bind and answer; port 0 picks one. Raises PortInUse, or BadConfig for an address that others could reach."""
    if settings.host not in LOOPBACK:
        raise BadConfig(
            f"host {settings.host}: reactord asks nobody for a password, so it listens on the loopback only."
            f" Set REACTOR_HOST={IPV4}, and reach it from elsewhere through a tunnel (ssh -L)."
        )
    sockets = _bind(settings.port if port is None else port)
    runner = web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        keepalive_timeout=IDLE_S,
        lingering_time=LINGER_S,
        shutdown_timeout=FINISH_S,
    )
    listening = Listening(runner, sockets)
    await listening.start()
    return listening


def _room() -> int:
    """How many connections we may hold; systems start programs with 256 or 1024 files, and allow more to who asks."""
    wanted = MAX_CONNECTIONS + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else max(1, min(MAX_CONNECTIONS, soft - OTHER_FILES))


def _bind(port: int) -> list[socket.socket]:
    """Listening sockets on one port of both loopback addresses."""
    for _ in range(TRIES):
        first = _listen(socket.AF_INET, IPV4, port)
        try:
            return [first, _listen(socket.AF_INET6, IPV6, first.getsockname()[1])]
        except PortInUse:
            first.close()
            if port:
                raise
        except OSError as trouble:
            if trouble.errno in _IPV6_MISSING:
                return [first]
            first.close()
            raise EnvironmentTrouble(f"cannot listen on {IPV6}: {trouble.strerror}; see `reactord doctor`") from None
    raise PortInUse(f"no port is free on both {IPV4} and {IPV6}; choose one: `reactord run --port 8091`")


def _listen(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    """Bind *and* listen: two sockets may bind one port, only one may listen."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as trouble:
        listener.close()
        if trouble.errno == errno.EADDRINUSE:
            raise PortInUse(_in_use(address, port)) from None
        if trouble.errno == errno.EACCES:
            raise EnvironmentTrouble(
                f"port {port} is not for us; choose one above 1023: `reactord run --port 8090`"
            ) from None
        raise
    return listener


def _in_use(address: str, port: int) -> str:
    return (
        f"{address}:{port} is taken by {_holder(port)}. If that is another reactord, look at it with `reactord status`;"
        f" else stop it, or choose another port: `reactord run --port {port + 1 if port < 65535 else 8090}`"
    )


def _holder(port: int) -> str:
    """Who listens there, as far as this user may know."""
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.pid and connection.laddr[1:2] == (port,):
                return f"process {connection.pid} ({' '.join(psutil.Process(connection.pid).cmdline())[:120]})"
    return f"another program (`lsof -i :{port}` tells which)"
