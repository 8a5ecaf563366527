"""Where do we listen, and for how many?

On the loopback always; on a socket file, on aliases and on one more address where that is possible. What of the latter
is not possible yet is told, and tried again.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from aiohttp import web

from reactord import durable
from reactord.errors import EnvironmentTrouble
from reactord.http import sockets, token
from reactord.http.connection import CROWD, MAX_CONNECTIONS, Connection, Full
from reactord.http.guards import FACADE, TOKEN
from reactord.http.sockets import EVERY_IPV4, EVERY_IPV6, LOOPBACK, door_of
from reactord.settings import Settings

log = logging.getLogger("reactord.http")

#: descriptors that the rest of the daemon may need besides: the ingest alone holds 200 drop files at a time
OTHER_FILES = 512
#: of an answer that is being written when we leave; aiohttp waits twice
FINISH_S = 0.4
#: until an address that is taken, or not there yet, is tried again
RETRY_S = 5.0

Opening = Callable[[], list[socket.socket]]


class Listening:
    """A running server: `port`, `path` of the socket file, and `stop` to end it."""

    def __init__(self, app: web.Application, bound: Sequence[socket.socket]) -> None:
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=FINISH_S)
        self._servers: list[asyncio.Server] = []
        self._missing: dict[str, Opening] = {}  # where we should listen besides and do not, by its name
        self._troubles: dict[str, str] = {}
        self._bound, self._crowd = bound, app[CROWD]
        self._crowd.fit(_room())
        self.port = int(bound[0].getsockname()[1])
        self.path = sockets.socket_file(app[FACADE].home)

    async def start(self) -> None:
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        await self._answer(self._bound)

    async def also(self, name: str, opening: Opening) -> None:
        """Listen there, too. Where that is not possible, it is a trouble until `keep` has had more luck."""
        try:
            found = opening()
        except (OSError, EnvironmentTrouble) as trouble:
            words = str(trouble)
            if isinstance(trouble, OSError):
                words = f"{trouble.strerror}; free it, or take it out of the settings"
            if self._troubles.get(name) != words:
                log.warning("cannot listen on %s: %s", name, words)
            self._missing[name], self._troubles[name] = opening, words
        else:
            self._missing.pop(name, None)
            self._troubles.pop(name, None)
            await self._answer(found)

    async def keep(self) -> None:
        """Try again what was not possible, until cancelled."""
        while True:
            await asyncio.sleep(RETRY_S)
            for name, opening in list(self._missing.items()):
                await self.also(name, opening)

    def troubles(self) -> list[str]:
        """Where we should listen besides and do not, in words."""
        return [f"cannot listen on {name}: {words}" for name, words in self._troubles.items()]

    async def stop(self) -> None:
        """Take no more, end every stream, finish what is being answered. At most a second."""
        for server in self._servers:
            if any(door_of(one.getsockname()) == "file" for one in server.sockets):
                durable.remove(self.path)
            server.close()
        await self._runner.cleanup()

    async def _answer(self, bound: Sequence[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        for one in bound:
            create = loop.create_unix_server if one.family == socket.AF_UNIX else loop.create_server
            # as many are accepted at once, before one of them can be turned away
            backlog = min(sockets.BACKLOG, self._crowd.places // 4)
            self._servers.append(await create(self._accept, sock=one, backlog=backlog))

    def _accept(self) -> asyncio.Protocol:
        server = self._runner.server
        assert server is not None
        return Connection(server, self._crowd) if self._crowd.make_room() else Full()


async def serve(settings: Settings, app: web.Application, port: int | None = None) -> Listening:
    """Bind and answer; port 0 picks one. Raises PortInUse, and BadConfig for a token that others may read."""
    home, host = app[FACADE].home, settings.host
    if host not in LOOPBACK:
        app[TOKEN] = token.made(home.http_token)
    port = settings.port if port is None else port
    try:
        bound = sockets.loopback(port, host)
    except OSError as trouble:
        raise sockets.explained(trouble, port) from None
    listening = Listening(app, bound)
    await listening.start()
    for name, opening in _besides(settings, listening).items():
        await listening.also(name, opening)
    return listening


def _besides(settings: Settings, listening: Listening) -> dict[str, Opening]:
    """Where else we listen. That an alias is taken, or that an address is not there today, must not end us."""
    host, port, path = settings.host, listening.port, listening.path
    openings: dict[str, Opening] = {str(path): lambda: [sockets.listen_on_file(path)]}
    if host not in (*LOOPBACK, EVERY_IPV4, EVERY_IPV6):
        openings[f"{host}, port {port}"] = lambda: [sockets.listen_at(host, port)]
    for alias in settings.aliases:
        if alias != port:
            openings[f"port {alias}"] = partial(sockets.loopback, alias)
    return openings


def _room() -> int:
    """How many connections we may hold. Each is a descriptor; some systems give 256 of them, and more to who asks.

    Who gives few gives us a quarter of them: others of ours need theirs, too.
    """
    wanted = MAX_CONNECTIONS + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, max(soft // 4, soft - OTHER_FILES))
