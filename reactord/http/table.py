"""Which routes are there? All of them, in the order in which the documents show them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from aiohttp import web

from reactord.http.guards import encoded
from reactord.http.openapi import document
from reactord.http.page import page
from reactord.http.route import Ask, Route
from reactord.http.routes import bridge, data, life, lifecycle, models, runs, schedules, streams, training, watching
from reactord.http.views import encode


async def describe(ask: Ask) -> web.Response:
    """For machines."""
    return encoded(_written(ask.facade.version))


async def show(ask: Ask) -> web.Response:
    """For people."""
    body = _page(ask.facade.version)
    return web.Response(body=body, content_type="text/html", charset="utf-8", headers=NOTHING_FROM_OUTSIDE)


@lru_cache(maxsize=1)
def _written(version: str) -> bytes:
    return encode(_document(version))


@lru_cache(maxsize=1)
def _page(version: str) -> bytes:
    return page(_document(version)).encode()


@lru_cache(maxsize=1)
def _document(version: str) -> dict[str, Any]:
    return document(ROUTES, version)


NOTHING_FROM_OUTSIDE = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}

ROUTES: tuple[Route, ...] = (
    *life.ROUTES,
    *lifecycle.ROUTES,
    *watching.ROUTES,
    *training.ROUTES,
    *streams.ROUTES,
    *runs.ROUTES,
    *bridge.ROUTES,
    *data.ROUTES,
    *models.ROUTES,
    *schedules.ROUTES,
    Route("GET", "/openapi.json", describe, "This table for machines.", gives={"type": "object"}, always=True),
    Route("GET", "/docs", show, "This table for people.", gives={"type": "string"}, media="text/html", always=True),
    Route("GET", "/redoc", show, "The same.", gives={"type": "string"}, media="text/html", always=True),
)
