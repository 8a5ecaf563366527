"""How do we ask the daemon to do something? A small HTTP client for our own port on this machine."""

from __future__ import annotations

import http.client
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
    # 127.0.0.1 and no proxy: what we ask for concerns this machine only
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=TIMEOUT_S)
    try:
        connection.request("POST", path, orjson.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        raw = response.read(MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as trouble:
        words = f"{type(trouble).__name__} {trouble}".strip()
        raise EnvironmentTrouble(
            f"the daemon (process {daemon.pid}, port {daemon.port}) does not answer: {safe(words)}. See: reactord logs"
        ) from None
    finally:
        connection.close()
    return _answer(response.status, raw)


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
