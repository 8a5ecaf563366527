"""What hostile requests are made of, and what every refusal of one looks like."""

from __future__ import annotations

import contextlib

from support.http_daemon import served
from support.raw_http import health_beside

START = b"POST /api/training/start HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
MIB = 1024 * 1024


@contextlib.asynccontextmanager
async def under_attack(house):
    """A server whose health is asked all the while."""
    async with served(house) as at, health_beside(at.port):
        yield at


def is_refusal(said):
    document = said.document
    assert set(document) == {"error", "details", "hint"}
    assert document["error"].endswith(document["hint"])
    return said.status
