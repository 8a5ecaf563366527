"""What is a route, and how does a request become a call of its handler?

A route is a row of the table (table.py): what it does, what it reads, what it answers, who does it. The same row
validates the request, writes its part of the OpenAPI document and names the handler, so the three cannot disagree.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel

from reactord.http.bodies import Said, checked, received, understood
from reactord.http.connection import CROWD
from reactord.http.facade import Facade
from reactord.http.guards import FACADE, LIMITS, RETRY_AFTER_S, answer, in_words, refuse, refused
from reactord.http.large import DESK, may_be_large
from reactord.http.refusals import NotThere

#: what a part of a path may look like; everything we name looks so
NAME = r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}"
_NAME = re.compile(NAME)


@dataclass(slots=True)  # frozen would cost every request a microsecond
class Ask:
    """A request, understood."""

    facade: Facade
    app: web.Application
    request: web.Request
    body: Any = None  # of the type that the route takes
    query: Any = None  # of the type that the route asks with

    def __getitem__(self, name: str) -> str:
        """A part of the path. Raises NotThere for what nothing of ours is called."""
        part = self.request.match_info[name]
        if not _NAME.fullmatch(part):
            raise NotThere(f"there is no such {name.removesuffix('_id')}; look at the lists of what there is")
        return part


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is not a plain 200."""

    document: Mapping[str, Any] | Sequence[Any]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Answer = Mapping[str, Any] | Sequence[Any] | Reply | web.StreamResponse
#: what is asked again and again, and waits for nothing, answers at once: a coroutine costs as much as its answer
Handler = Callable[[Ask], Awaitable[Answer] | web.Response]


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table."""

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    does: str  # a sentence
    takes: type[BaseModel] | None = None  # the JSON body
    or_nothing: bool = False  # it may be left out
    asks: type[BaseModel] | None = None  # the query
    gives: Any = Said  # what a 200 says: a type that pydantic knows
    media: str = "application/json"  # of a 200
    also: Mapping[int, str] = field(default_factory=dict)  # other answers of its own
    always: bool = False  # answered in every phase
    leaving: bool = False  # answered while we leave, although it is a POST
    upgrades: bool = False  # to a WebSocket: it answers 101 and goes on
    costs: bool = False  # a submission: it counts against the rate

    def mount(self, app: web.Application) -> None:
        """Have the router call it."""
        handle = partial(_serve, self, app, app[FACADE])
        if self.method == "GET":
            app.router.add_get(self.path, handle, allow_head=self.media == "application/json" and not self.upgrades)
        else:
            app.router.add_post(self.path, handle)


async def _serve(route: Route, app: web.Application, facade: Facade, request: web.Request) -> web.StreamResponse:
    """Nobody gets in who may not, and whatever happens is answered. (A middleware of aiohttp's costs more.)"""
    try:
        if refusal := refused(request) or _not_now(route, app, facade):
            return refusal
        query = checked(route.asks, dict(request.query)) if route.asks else None
        if route.takes:
            said = await _heard(route, app, request, query)
        else:
            begun = route.handler(Ask(facade, app, request, None, query))
            if isinstance(begun, web.Response):
                return begun
            said = await begun
        if type(said) is web.Response or isinstance(said, web.StreamResponse):  # the latter costs a microsecond
            return said
        return answer(said.document, said.status, said.headers) if isinstance(said, Reply) else answer(said)
    except Exception as trouble:  # noqa: BLE001 - the boundary of a request: `in_words` logs what is a bug
        return in_words(trouble, request)


def _not_now(route: Route, app: web.Application, facade: Facade) -> web.Response | None:
    if not route.always:
        if app[CROWD].is_full:
            return refuse(503, f"too much is going on; ask again in {RETRY_AFTER_S} s")
        if (phase := facade.phase) != "ready":
            return refuse(503, f"reactord is {phase}; ask again in {RETRY_AFTER_S} s")
        if route.method == "POST" and facade.draining and not route.leaving:
            return refuse(503, "reactord is leaving and takes nothing more; send it again after its next start")
    if route.costs and (wait_s := app[LIMITS].wait_s()):
        return refuse(429, f"too many submissions; ask again in {wait_s} s", **{"Retry-After": str(wait_s)})
    return None


async def _heard(route: Route, app: web.Application, request: web.Request, query: BaseModel | None) -> Answer:
    """What the handler says to a body. A large one has its place until then, and is understood when it is its turn."""

    async def told(raw: bytes) -> Answer:
        assert route.takes
        body = await understood(route.takes, request, raw, or_nothing=route.or_nothing)
        begun = route.handler(Ask(app[FACADE], app, request, body, query))
        return begun if isinstance(begun, web.Response) else await begun

    if not may_be_large(request):
        return await told(await received(request))
    desk = app[DESK]
    async with desk.place():
        raw = await received(request)
        async with desk.turn:
            return await told(raw)
