"""What does Prime say of itself when it is asked? GET /health, in the two forms that it has (contract/prime.md 5).

    run_server.py    whether a model is loaded, and which
    the engine       which models are resident, how many requests each answers now, and who has its lease

Anybody may listen on a port that was only guessed. What does not say that it is Prime is not taken for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from reactord.prime.asking import request, said

HEALTH_DEADLINE_S = 2.0
MAX_NAME = 128


@dataclass(frozen=True, slots=True)
class Engine:
    """What the engine says besides. None = it did not say."""

    lease: str | None  # serving, draining, released, restoring
    holder: str | None  # who has the lease
    resident: tuple[str, ...]  # models in memory
    answering: int  # requests that it answers now
    sees_gpu: bool  # it proves what it frees with nvidia-smi; without, it lends nothing (lease.py)


@dataclass(frozen=True, slots=True)
class Health:
    """What GET /health said. None = it did not say."""

    model_loaded: bool | None
    model_path: str | None
    ready: bool | None
    is_prime: bool = True
    engine: Engine | None = None


def ask(base_url: str, deadline_s: float = HEALTH_DEADLINE_S) -> Health | str:
    """Prime's health, or the reason in words why there is none."""
    answer = request("GET", f"{base_url}/health", None, deadline_s)
    if isinstance(answer, str):
        return answer
    status, body = answer
    found = said(body)
    if status != HTTPStatus.OK or found is None:
        return f"{base_url}/health answered {status} without a readable object"
    loaded, path, ready = found.get("model_loaded"), found.get("model_path"), found.get("ready_for_inference")
    engine = _engine(found)
    if engine and loaded is None:
        loaded = bool(engine.resident)
    return Health(
        model_loaded=loaded if isinstance(loaded, bool) else None,
        model_path=path if isinstance(path, str) and path else None,
        ready=ready if isinstance(ready, bool) else None,
        is_prime="model_loaded" in found or found.get("service") == "jarvis_prime",
        engine=engine,
    )


def _engine(found: Mapping[str, Any]) -> Engine | None:
    if found.get("service") != "jarvis_prime" or found.get("component") != "engine":
        return None
    lease = _object(found.get("lease"))
    models = [_object(model) for model in _list(found.get("resident"))]
    counts = [model.get("inflight") for model in models]
    return Engine(
        lease=_name(lease.get("state")),
        holder=_name(_object(lease.get("lease")).get("holder")),
        resident=tuple(name for model in models if (name := _name(model.get("name")))),
        answering=sum(n for n in counts if isinstance(n, int) and not isinstance(n, bool) and n > 0),
        sees_gpu=isinstance(found.get("gpu"), dict),
    )


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _name(value: object) -> str | None:
    return value[:MAX_NAME] if isinstance(value, str) and value else None
