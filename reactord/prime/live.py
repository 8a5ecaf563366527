"""Does Prime serve what we deployed?

    live               /health proves it
    awaiting_prime     Prime is not there, or still starting: the next start loads current.gguf
    restart_required   Prime serves something else, and only a restart changes that

Prime's reload route destroys the loaded model (contract/prime.md 5.1), so nothing is ever posted to try something out.
The one POST is `load`, and only while /health says that no model is loaded, where it works and is wanted.

A path in /health is what Prime was told at its start. If that is current.gguf, the link says nothing about what is in
memory: the link may have moved since. So it counts only for a Prime that started after the link was set. The new
file's own name is proof, since a version is never written twice; names are compared and not paths, because Prime may
see the directory under another path (a container).

Every call has a deadline and blocks until then: call from a thread.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Literal

from reactord.prime.asking import request
from reactord.prime.health import Health, ask
from reactord.prime.place import CURRENT, current

#: Prime reads the whole model before it answers
LOAD_DEADLINE_S = 120.0

State = Literal["live", "awaiting_prime", "restart_required"]


@dataclass(frozen=True, slots=True)
class Liveness:
    """Whether the deployed model is served, and how we know, in words for a person."""

    state: State
    reason: str


def judge(health: Health | str, placed: Path, prime_started_at: float | None) -> Liveness:  # noqa: PLR0911 - one per answer
    """Whether `placed` is what Prime serves. Sends nothing; looks at the link beside `placed`."""
    if isinstance(health, str):
        return Liveness("awaiting_prime", f"{health}; when Prime starts it loads {CURRENT}, which is {_link(placed)}")
    if health.model_loaded is None:
        return Liveness("awaiting_prime", "Prime answers and does not say whether a model is loaded")
    if not health.model_loaded:
        return Liveness("awaiting_prime", "Prime runs without a model")
    if health.model_path is None:
        return Liveness("restart_required", "Prime serves a model and does not say which one; restart it to be sure")
    name = Path(health.model_path).name
    if name == CURRENT:
        name = current(placed.parent) or CURRENT
        if name == placed.name and not _started_after_link(placed.parent / CURRENT, prime_started_at):
            return Liveness("restart_required", f"{CURRENT} was set while Prime was running; restart it to load {name}")
    if name != placed.name:
        return Liveness("restart_required", f"Prime serves {name}; restart it to load {placed.name}")
    if health.ready is False:
        return Liveness("awaiting_prime", f"Prime has loaded {name} and is not ready for inference yet")
    return Liveness("live", f"Prime has loaded {name}")


def check(base_url: str, placed: Path, prime_started_at: float | None) -> Liveness:
    """Ask Prime and judge; nothing but a GET. `prime_started_at` as in `PrimeSnapshot.started_at`."""
    return judge(ask(base_url), placed, prime_started_at)


def load(base_url: str, placed: Path, model_id: str, version: str, deadline_s: float = LOAD_DEADLINE_S) -> Liveness:
    """Ask a Prime that has no model to load `placed`. While a model is loaded, or nobody knows, nothing is sent."""
    health = ask(base_url)
    if isinstance(health, str) or health.model_loaded is not False:
        return judge(health, placed, None)
    wanted = {"model_path": str(placed), "model_version": version, "model_id": model_id}
    answer = request("POST", f"{base_url}/api/v1/models/reload", json.dumps(wanted).encode(), deadline_s)
    if isinstance(answer, str):
        return Liveness("awaiting_prime", f"Prime was asked to load {placed.name}: {answer}")
    status = answer[0]
    if status == HTTPStatus.OK:
        return judge(ask(base_url), placed, None)
    if status in (404, 405, 422, 501):
        return Liveness("awaiting_prime", f"Prime cannot be asked to load a model (status {status})")
    return Liveness(
        "restart_required", f"Prime could not load {placed.name} (status {status}); see its log, restart it"
    )


def _link(placed: Path) -> str:
    return current(placed.parent) or "not set"


def _started_after_link(link: Path, prime_started_at: float | None) -> bool:
    return prime_started_at is not None and prime_started_at > link.lstat().st_mtime
