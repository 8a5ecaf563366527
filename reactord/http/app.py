"""What does the sidecar consist of? The table of routes, behind the guards."""

from __future__ import annotations

from aiohttp import web

from reactord.http.answers import ANSWERS, Answers
from reactord.http.connection import CROWD, Crowd
from reactord.http.facade import Facade
from reactord.http.guards import FACADE, LIMITS, Limits
from reactord.http.large import DESK, Desk
from reactord.http.routes.lifecycle import PROOFS
from reactord.http.routes.watching import MEASURED, Measured
from reactord.http.stream import STREAMS, Streams
from reactord.http.table import ROUTES
from reactord.managed import Proofs

#: of one body, after decompression: ten thousand experiences inline (contract/body.md 0.8)
MAX_BODY_BYTES = 16 * 1024 * 1024


def build(facade: Facade) -> web.Application:
    """The application. It answers /health before `facade` is ready, and everything else afterwards."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app[FACADE], app[LIMITS], app[STREAMS] = facade, Limits(), Streams(facade)
    app[ANSWERS], app[CROWD], app[DESK] = Answers(), Crowd(), Desk()
    app[PROOFS], app[MEASURED] = Proofs(), Measured()
    app.on_shutdown.append(_end_streams)
    app.on_cleanup.append(_close_desk)
    for route in ROUTES:
        route.mount(app)
    return app


async def _end_streams(app: web.Application) -> None:
    app[STREAMS].end()


async def _close_desk(app: web.Application) -> None:
    app[DESK].close()
