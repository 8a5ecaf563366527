"""How is Prime asked something over HTTP, so that nobody ever waits for it longer than he said?

The peer is not trusted: one that drips, talks for ever or says nothing is cut off at the deadline, and of an answer no
more than MAX_REPLY_BYTES is read. Blocks until then: call from a thread.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

if TYPE_CHECKING:
    import http.client  # costs a start 20 ms of CPU: imported where somebody listens

MAX_REPLY_BYTES = 64 * 1024
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def is_local(url: str) -> bool:
    """Whether who listens there shares this machine's memory with us."""
    try:
        return urlsplit(url).hostname in LOOPBACK
    except ValueError:
        return False


def request(method: str, url: str, body: bytes | None, deadline_s: float) -> tuple[int, bytes] | str:
    """Status and body, or in words why there is none. The deadline is for the whole exchange."""
    try:
        parts = urlsplit(url)
        address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    except ValueError as wrong:
        return f"{url} is no address ({wrong}): correct JARVIS_PRIME_URL"
    began = time.monotonic()
    try:
        reached = socket.create_connection(address, deadline_s)
    except (OSError, UnicodeError) as trouble:
        return _silent(parts, trouble)
    return _exchange(reached, method, parts, body, max(0.01, deadline_s - (time.monotonic() - began)))


def said(body: bytes) -> dict[str, Any] | None:
    """The JSON object that an answer is, if it is one."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _exchange(
    reached: socket.socket, method: str, parts: SplitResult, body: bytes | None, deadline_s: float
) -> tuple[int, bytes] | str:
    import http.client  # noqa: PLC0415 - as above

    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=deadline_s)
    except http.client.HTTPException as wrong:
        reached.close()
        return f"{parts.geturl()} is no address ({wrong}): correct JARVIS_PRIME_URL"
    if parts.scheme == "https":
        reached.close()  # it makes its own, with its certificate
    else:
        connection.sock = reached
    # The socket's timeout starts anew with every byte; a peer that drips would keep us for ever.
    watchdog = threading.Timer(deadline_s, _cut, [connection])
    watchdog.daemon = True
    watchdog.start()
    try:
        connection.request(method, parts.path, body, {"Content-Type": "application/json"} if body else {})
        reply = connection.getresponse()
        return reply.status, reply.read(MAX_REPLY_BYTES)
    except (OSError, http.client.HTTPException) as trouble:
        return _silent(parts, trouble)
    finally:
        watchdog.cancel()
        connection.close()


def _silent(parts: SplitResult, trouble: Exception) -> str:
    return f"Prime does not answer at {parts.scheme}://{parts.netloc} ({type(trouble).__name__})"


def _cut(connection: http.client.HTTPConnection) -> None:
    if connection.sock is not None:
        with contextlib.suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
