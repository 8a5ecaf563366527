"""How do we ask the daemon to do something? A small HTTP client for its socket file, or else its port on this machine.

The file is only ours to open, so who answers there is our daemon; a port could be anybody's.
"""

from __future__ import annotations

import http.client
import socket
from typing import Any

import orjson

from reactord.cli.presence import NotRunning, look
from reactord.cli.text import path_text, safe
from reactord.errors import BadRequest, EnvironmentTrouble
from reactord.home import Home

TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 1024 * 1024


def ask(home: Home, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """POST `body` to the daemon of this home; the JSON object it answers with.

    Raises NotRunning when there is no daemon, BadRequest when it refuses, EnvironmentTrouble when it does not answer.
    """
    daemon = look(home)
    if not daemon.running:
        raise NotRunning(f"the daemon of {path_text(home.root)} is not running. Start it: reactord run")
    if daemon.port is None:
        raise EnvironmentTrouble("the daemon has not opened its port yet. Try again in a second; see: reactord logs")
    connection: http.client.HTTPConnection | None = None
    try:
        connection = _connected(daemon.socket, daemon.port)
        connection.request("POST", path, orjson.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        raw = response.read(MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as trouble:
        words = f"{type(trouble).__name__} {trouble}".strip()
        raise EnvironmentTrouble(
            f"the daemon (process {daemon.pid}, port {daemon.port}) does not answer: {safe(words)}. See: reactord logs"
        ) from None
    finally:
        if connection is not None:
            connection.close()
    return _answer(response.status, raw)


class _File(http.client.HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _connected(path: str | None, port: int) -> http.client.HTTPConnection:
    """By the file, if the daemon has one. Only who could not connect tries the port: nothing is asked for twice."""
    if path is not None:
        by_file = _File(path)
        try:
            by_file.connect()
            return by_file
        except OSError:
            by_file.close()
    # 127.0.0.1 and no proxy: what we ask for concerns this machine only
    by_port = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    by_port.connect()
    return by_port


def _answer(status: int, raw: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(raw)
    except orjson.JSONDecodeError:
        answer = None
    if status == http.client.OK and isinstance(answer, dict):
        return answer
    said = answer.get("error") or answer.get("message") if isinstance(answer, dict) else None
    words = safe(said or raw[:200].decode("utf-8", "replace") or "no reason given")
    raise BadRequest(f"the daemon refused ({status}): {words}. See: reactord jobs")
