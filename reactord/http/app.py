"""What does the sidecar consist of? The table of routes, behind the guards."""

from __future__ import annotations

import asyncio

from aiohttp import web

from reactord.http.answers import ANSWERS, Answers
from reactord.http.bodies import LARGE, MAX_LARGE
from reactord.http.connection import CROWD, Crowd
from reactord.http.facade import Facade
from reactord.http.guards import FACADE, LIMITS, Limits
from reactord.http.routes.lifecycle import PROOFS
from reactord.http.stream import STREAMS, Streams
from reactord.http.table import ROUTES
from reactord.managed import Proofs

#: of one body, after decompression: ten thousand experiences inline (contract/body.md 0.8)
MAX_BODY_BYTES = 16 * 1024 * 1024


def build(facade: Facade) -> web.Application:
    """The application. It answers /health before `facade` is ready, and everything else afterwards."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app[FACADE], app[LIMITS], app[STREAMS] = facade, Limits(), Streams(facade)
    app[ANSWERS], app[CROWD], app[LARGE] = Answers(), Crowd(), asyncio.Semaphore(MAX_LARGE)
    app[PROOFS] = Proofs()
    app.on_shutdown.append(_end_streams)
    for route in ROUTES:
        route.mount(app.router)
    return app


async def _end_streams(app: web.Application) -> None:
    app[STREAMS].end()
