"""How does Prime lend its memory to a training, and take it back? The engine's lease (contract/prime.md 5.3).

    acquire   it lets running answers end, unloads every model, proves with nvidia-smi that the memory is free, and
              answers 503 to everybody else from then on
    renew     or the lease runs out
    release   it loads what it had loaded, and serves again

There is one lease at a time. Its token is all that renews or releases it; a Prime that was started again knows of no
lease, and says 409. Where there is no nvidia-smi the engine unloads everything, fails, and loads it again: so nobody
asks for a lease unless /health showed a GPU (health.py).

Blocks until the deadline of each call: call from a thread.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

from reactord.prime.asking import request, said

#: the engine's own least is 30; a daemon that dies is back long before this
TTL_S = 300.0
#: so long may running answers take to end, then so long the memory to come free, then the answer to come
DRAIN_S, FREE_S, ANSWER_S = 60.0, 60.0, 10.0
RENEW_DEADLINE_S = 5.0
#: loading its models again is part of the engine's answer
RELEASE_DEADLINE_S = 120.0
MAX_TOKEN = 256
MAX_MODELS = 32
MAX_WORDS = 200
#: of an engine without such a lease
UNKNOWN = (404, 405)


@dataclass(frozen=True, slots=True)
class Lease:
    """Prime's memory is lent to a job of ours. Times are epoch seconds of our clock."""

    base_url: str
    token: str
    job_id: str
    renewed_at: float  # when we asked for it, before Prime answered
    ttl_s: float
    restore_models: tuple[str, ...] | None  # what it had loaded, by its own words; None: it did not say
    pid: int | None = None  # the process that lent it: another one knows nothing of it
    started: float | None = None

    def dumps(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def read(cls, path: Path) -> Lease | None:
        """The lease that was written down; None where there is none, or nothing that can be read."""
        try:
            values = json.loads(path.read_bytes())
            models = values["restore_models"]
            lease = cls(**{**values, "restore_models": None if models is None else tuple(models)})
            texts, times = (lease.base_url, lease.token, lease.job_id), (lease.renewed_at, lease.ttl_s)
            known = all(isinstance(text, str) for text in texts) and all(isinstance(at, int | float) for at in times)
            return lease if known else None
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None


def acquire(base_url: str, job_id: str, now: float) -> Lease | str:
    """Ask for the lease; the reason in words when it is not given."""
    wanted = {"holder": holder_of(job_id), "purpose": "training", "ttl_s": TTL_S}
    wanted |= {"drain_timeout_s": DRAIN_S, "release_timeout_s": FREE_S}
    answer = _post(base_url, "acquire", wanted, DRAIN_S + FREE_S + ANSWER_S)
    if isinstance(answer, str):
        return answer
    status, found = answer
    if status == HTTPStatus.CONFLICT:
        return f"Prime has lent its memory already: {_error(found)}"
    if status != HTTPStatus.OK:
        return f"Prime did not lend its memory (status {status}: {_error(found)})"
    token, lease = found.get("token"), found.get("lease")
    if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN:
        return "Prime lent its memory and named no token; the lease runs out by itself"
    models = lease.get("restore_models") if isinstance(lease, dict) else None
    known = isinstance(models, list) and all(isinstance(name, str) for name in models)
    return Lease(base_url, token, job_id, now, TTL_S, tuple(models[:MAX_MODELS]) if models and known else None)


def renew(lease: Lease, now: float) -> Lease | Literal["lost", "unanswered"]:
    """Ask for more time. `lost`: Prime knows of no such lease. `unanswered`: nobody can tell; ask again soon."""
    answer = _post(lease.base_url, "renew", {"token": lease.token, "ttl_s": lease.ttl_s}, RENEW_DEADLINE_S)
    if isinstance(answer, str):
        return "unanswered"
    status, _ = answer
    if status == HTTPStatus.OK:
        return replace(lease, renewed_at=now)
    return "lost" if status in (HTTPStatus.CONFLICT, *UNKNOWN) else "unanswered"


def release(lease: Lease, deadline_s: float = RELEASE_DEADLINE_S) -> bool:
    """Give the memory back; what was loaded is loaded again. False: nobody can tell whether Prime has heard it."""
    wanted = {"token": lease.token, "restore_models": lease.restore_models and list(lease.restore_models)}
    answer = _post(lease.base_url, "release", wanted, deadline_s)
    if not isinstance(answer, str) and answer[0] in (HTTPStatus.OK, HTTPStatus.CONFLICT, *UNKNOWN):
        return True
    return _serves(lease.base_url, min(deadline_s, RENEW_DEADLINE_S))


def holder_of(job_id: str) -> str:
    """Our name in Prime's books."""
    return f"reactord:{job_id}"


def _serves(base_url: str, deadline_s: float) -> bool:
    """Whether Prime says that its memory is its own again; loading it takes longer than anybody waits."""
    answer = request("GET", f"{base_url}/v1/lease", None, deadline_s)
    found = None if isinstance(answer, str) else said(answer[1])
    return found is not None and found.get("state") in ("serving", "restoring")


def _post(base_url: str, what: str, wanted: dict[str, Any], deadline_s: float) -> tuple[int, dict[str, Any]] | str:
    answer = request("POST", f"{base_url}/v1/lease/{what}", json.dumps(wanted).encode(), deadline_s)
    if isinstance(answer, str):
        return answer
    status, body = answer
    found = said(body)
    if found is None and status == HTTPStatus.OK:
        return f"Prime answered {base_url}/v1/lease/{what} with something that cannot be read"
    return status, found or {}


def _error(found: dict[str, Any]) -> str:
    """Its own words, and who has the lease if it says so."""
    words = found.get("error") or found.get("detail") or "it does not say why"
    status = found.get("lease")
    lease = status.get("lease") if isinstance(status, dict) else None
    holder = lease.get("holder") if isinstance(lease, dict) else None
    named = f"{words}, held by {holder}" if holder else str(words)
    return named[:MAX_WORDS]
