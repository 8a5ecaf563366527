"""Who may ask, and what does a refusal look like?

A port on the loopback is open to every web page in the user's browser: the Host header stops DNS rebinding, the Origin
header and the content type stop forged forms. Other programs of this machine are welcome, with or without a Bearer
token: nine of ten Body clients cannot send one (contract/body.md 0.6).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from reactord.errors import BadInput, EnvironmentTrouble
from reactord.http.facade import Facade
from reactord.http.intake import TooLarge
from reactord.http.views import encode
from reactord.jobs.machine import IllegalTransition

log = logging.getLogger("reactord.http")

FACADE: web.AppKey[Facade] = web.AppKey("facade", Facade)

RETRY_AFTER_S = 2
#: Body's loading server sends a bare `localhost`; without a port a name is no less ours (a rebound page sends its own)
LOOPBACK = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::(?P<port>[0-9]+))?", re.IGNORECASE)
READING = ("GET", "HEAD")
ENCODINGS = ("", "identity", "gzip", "deflate")
#: answered in every phase
ALWAYS = ("/health", "/api/health", "/health/ready")
#: what aiohttp refuses by itself
WORDS_OF = {
    404: "there is nothing at this path; see the README for the paths there are",
    405: "this method does not work here; use one that the Allow header names",
    408: "the body came too slowly; send it again",
    413: "the body is too large; put the experiences into the drop-box and send `dataset_path`",
}
STATUS_OF: tuple[tuple[type[Exception], int], ...] = (
    (TooLarge, 413),
    (BadInput, 400),
    (IllegalTransition, 409),
    (EnvironmentTrouble, 503),
)


def answer(document: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer with a Content-Length."""
    return web.Response(body=encode(document), status=status, headers=headers, content_type="application/json")


def refuse(status: int, words: str, **headers: str) -> web.Response:
    """An error; the words end with what to do next."""
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return answer({"error": words}, status, headers)


@web.middleware
async def errors_are_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal is a JSON object; a bug is logged, and nothing of it is shown."""
    try:
        return await handler(request)
    except web.HTTPException as refusal:
        words = WORDS_OF.get(refusal.status, f"{refusal.reason}; correct the request and send it again")
        allowed = {"Allow": refusal.headers["Allow"]} if "Allow" in refusal.headers else {}
        return refuse(refusal.status, words, **allowed)
    except tuple(kind for kind, _ in STATUS_OF) as trouble:
        return refuse(next(status for kind, status in STATUS_OF if isinstance(trouble, kind)), str(trouble))
    except Exception:  # the boundary of a request
        log.exception("%s %s failed", request.method, request.path)
        return refuse(500, "this is a bug in reactord; see `reactord logs`")


@web.middleware
async def from_this_machine(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what a web page could have sent."""
    assert request.transport is not None
    port = str(request.transport.get_extra_info("sockname")[1])
    host = LOOPBACK.fullmatch(request.headers.get("Host", ""))
    if host is None or host["port"] not in (None, port):
        return refuse(421, f"this Host is not ours; ask 127.0.0.1:{port}")
    if request.method not in READING:
        if "Origin" in request.headers:
            return refuse(403, "web pages may not do this; use `reactord` or a program on this machine")
        if request.body_exists and request.content_type != "application/json":
            return refuse(415, "the body must be JSON; send it with Content-Type: application/json")
        if request.headers.get("Content-Encoding", "").lower() not in ENCODINGS:
            return refuse(415, "this Content-Encoding is not read; send gzip, or no encoding")
    return await handler(request)


@web.middleware
async def only_when_ready(request: web.Request, handler: Handler) -> web.StreamResponse:
    """While the ledger is being recovered, and while we leave, only the health is known; wrong paths stay wrong."""
    phase = request.app[FACADE].pulse().phase
    if phase != "ready" and request.path not in ALWAYS and request.match_info.http_exception is None:
        return refuse(503, f"reactord is {phase}; ask again in {RETRY_AFTER_S} s")
    return await handler(request)
