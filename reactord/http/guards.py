"""Who may ask, and what does a refusal look like?

A port on the loopback is open to every web page in the user's browser: the Host header stops DNS rebinding, the Origin
header and the content type stop forged forms. Other programs of our user are welcome, with or without a Bearer token:
nine of ten Body clients cannot send one (contract/body.md 0.6). Who comes to another address, or is another user of
this machine, must know ours.
"""

from __future__ import annotations

import hmac
import logging
import math
import re
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from aiohttp import web

from reactord.errors import BadInput, EnvironmentTrouble
from reactord.http.facade import Facade
from reactord.http.refusals import Conflict, Forbidden, NotThere, TooLarge
from reactord.http.views import encode
from reactord.jobs.machine import IllegalTransition

if TYPE_CHECKING:
    from reactord.http.connection import Connection
    from reactord.http.sockets import Door

log = logging.getLogger("reactord.http")

FACADE: web.AppKey[Facade] = web.AppKey("facade", Facade)

RETRY_AFTER_S = 2
#: Body's loading server sends a bare `localhost`; without a port a name is no less ours (a rebound page sends its own)
LOOPBACK = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::(?P<port>[0-9]+))?", re.IGNORECASE)
ABSOLUTE = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
READING = ("GET", "HEAD")
ENCODINGS = ("", "identity", "gzip", "deflate")
#: submissions of work: so many at once, and then so many a second. Body retries three times, and then gives a job up
BURST, PER_S = 60, 5.0
#: what browsers say of a request that no other page has caused; other programs say nothing
FROM_NO_OTHER_PAGE = ("none", "same-origin")
WHO_NEEDS_IT = "only the user who runs reactord comes in without the token, and only on this machine"
HOW_TO_SEND_IT = "send `Authorization: Bearer` and what is in reactor/http.token of the daemon's home"
#: what aiohttp refuses by itself
WORDS_OF = {
    404: "there is nothing at this path; see the README for the paths there are",
    405: "this method does not work here; use one that the Allow header names",
    408: "the body came too slowly; send it again",
    413: "the body is too large; put the experiences into the drop-box and send `dataset_path`",
}
STATUS_OF: tuple[tuple[type[Exception], int], ...] = (
    (NotThere, 404),
    (Conflict, 409),
    (Forbidden, 403),
    (TooLarge, 413),
    (BadInput, 400),
    (IllegalTransition, 409),
    (EnvironmentTrouble, 503),
)


class Limits:
    """How often work may be submitted: a bucket of BURST that fills at PER_S."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left, self._at = float(BURST), clock()

    def wait_s(self) -> int:
        """Seconds until the next submission may come; 0: this one may, and counts."""
        now = self._clock()
        self._left, self._at = min(float(BURST), self._left + (now - self._at) * PER_S), now
        if self._left < 1:
            return math.ceil((1 - self._left) / PER_S)
        self._left -= 1
        return 0


LIMITS: web.AppKey[Limits] = web.AppKey("limits", Limits)
#: of those who come through the foreign door
TOKEN: web.AppKey[str] = web.AppKey("token", str)


def answer(document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer with a Content-Length."""
    return encoded(encode(document), status, headers)


def encoded(document: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """The same of a document that is JSON already."""
    return web.Response(body=document, status=status, headers=headers, content_type="application/json")


def refuse(status: int, words: str, details: Sequence[str] = (), **headers: str) -> web.Response:
    """An error; the words end with what to do next, and that is the hint."""
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return answer({"error": words, "details": list(details), "hint": hint_of(words)}, status, headers)


def hint_of(words: str) -> str:
    """What to do next: behind the last semicolon of the words, or their last sentence."""
    return re.split(r"; |(?<=[.)]) (?=[A-Z])", words)[-1]


def in_words(trouble: Exception, request: web.Request) -> web.Response:
    """Every refusal is a JSON object; a bug is logged, and nothing of it is shown."""
    if isinstance(trouble, web.HTTPException):
        return _in_our_words(trouble)
    for kind, status in STATUS_OF:
        if isinstance(trouble, kind):
            return refuse(status, str(trouble), getattr(trouble, "details", ()))
    if isinstance(trouble, sqlite3.Error):
        return refuse(503, f"the ledger cannot be read ({trouble}); ask again in a moment")
    log.error("%s %s failed", request.method, request.path, exc_info=trouble)
    return refuse(500, "this is a bug in reactord; see `reactord logs`")


def unrouted(request: web.BaseRequest, refusal: web.HTTPException) -> web.Response:
    """What is said of a request that no route has seen: first that it may not come in, if so."""
    return (isinstance(request, web.Request) and refused(request)) or _in_our_words(refusal)


def _in_our_words(refusal: web.HTTPException) -> web.Response:
    words = WORDS_OF.get(refusal.status, f"{refusal.reason}; correct the request and send it again")
    allowed = {"Allow": refusal.headers["Allow"]} if "Allow" in refusal.headers else {}
    return refuse(refusal.status, words, **allowed)


def refused(request: web.Request) -> web.Response | None:
    """The refusal of what a web page could have sent, and of what comes from elsewhere without the token."""
    connection: Connection = request.protocol  # type: ignore[assignment] # listen.py makes no other
    reads = request.method in READING and request.raw_path.startswith("/")
    if reads and connection.admitted == request.raw_headers:  # who polls says the same again and again
        return None
    refusal = _look_at(request, connection.door)
    if reads and refusal is None:
        connection.admitted = request.raw_headers
    return refusal


def _look_at(request: web.Request, door: Door) -> web.Response | None:
    if door == "foreign" and not _knows_the_token(request):
        return refuse(401, f"{WHO_NEEDS_IT}; {HOW_TO_SEND_IT}", **{"WWW-Authenticate": "Bearer"})
    if door == "loopback" and (refusal := _misdirected(request)):
        return refusal
    if _is_of_a_page(request):
        return refuse(403, "web pages may not do this; use `reactord` or a program on this machine")
    if request.method not in READING:
        if request.body_exists and request.content_type != "application/json":
            return refuse(415, "the body must be JSON; send it with Content-Type: application/json")
        if request.headers.get("Content-Encoding", "").lower() not in ENCODINGS:
            return refuse(415, "this Content-Encoding is not read; send gzip, or no encoding")
    return None


def _is_of_a_page(request: web.Request) -> bool:
    """Whether a web page has caused it: its script, its form, its picture. A link that somebody clicked is nothing."""
    if "Origin" in request.headers:
        return True
    if request.headers.get("Sec-Fetch-Site", "none") in FROM_NO_OTHER_PAGE:
        return False
    return request.method not in READING or request.headers.get("Sec-Fetch-Dest") != "document"


def _knows_the_token(request: web.Request) -> bool:
    kind, _, sent = request.headers.get("Authorization", "").partition(" ")
    token = request.app.get(TOKEN)
    if token is None or kind.lower() != "bearer":
        return False
    return hmac.compare_digest(sent.strip().encode("utf-8", "surrogateescape"), token.encode())


def _misdirected(request: web.Request) -> web.Response | None:
    """The refusal of a request that was meant for another host: a rebound name looks like that."""
    port = request.get_extra_info("sockname")[1]  # an alias has its own
    named = request.headers.get("Host", "")
    if not request.raw_path.startswith(("/", "*")):  # the absolute form, which counts more (RFC 9112, 3.2.2)
        absolute = ABSOLUTE.match(request.raw_path)
        named = absolute[1] if absolute else ""
    return None if _is_ours(named, port) else refuse(421, f"this Host is not ours; ask 127.0.0.1:{port}")


@lru_cache(maxsize=64)
def _is_ours(named: str, port: int) -> bool:
    host = LOOPBACK.fullmatch(named)
    return host is not None and host["port"] in (None, str(port))
