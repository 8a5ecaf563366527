"""Who are we and how are we doing, in the words of everybody who looks?

One heartbeat document goes to every place where some reader of Body or Prime looks for it, one state document to
`cross_repo/reactor_state.json` (contract/body.md 4.1, 4.2 and 6.6; contract/prime.md section 7, rows 18 and 19).

Traps these documents avoid:

* Body's orphan detector kills the `pid` of any heartbeat whose `timestamp` is not a number: ours is always a float.
* A `null` number in the state makes Body assume that its memory is full: the numbers are required, and finite.
* `cross_repo/heartbeat.json` belongs to three writers and wants naive ISO times: changed under its lock, others' keys
  kept, no pid in it.
* After we are gone nothing of ours may carry the pid: the number can be somebody else's by then.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from reactord import access, durable
from reactord.home import Home
from reactord.ipc import dlm, umf

COMPONENT = "reactor_core"
#: Body's time to live for its own short locks around the shared JSON files
SHARED_LOCK_TTL_S = 20.0
#: a lock around a small file is held for milliseconds; the caller is an event loop and comes again in seconds
SHARED_WAIT_S = 0.2

Status = Literal["starting", "ready", "degraded", "stopping"]


@dataclass(frozen=True, slots=True)
class Presence:
    """What the daemon knows about itself. Whoever builds one has measured the numbers: none has a default."""

    status: Status
    phase: str
    port: int
    primary_port: int
    """The port that was asked for; differs from `port` when that one was taken."""
    version: str
    started_at: float
    memory_usage_gb: float
    """Daemon and workers together: Body subtracts it from the machine's memory before it asks for a training."""
    memory_percent: float
    cpu_percent: float
    active_training_jobs: int
    model_output_dir: str
    capabilities: tuple[str, ...] = ("training", "fine-tuning")
    metrics: Mapping[str, float] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    startup_progress_pct: float = 100.0
    pid: int = field(default_factory=os.getpid)


def local_iso(now: float) -> str:
    """Naive local ISO time, as `cross_repo/` and the bus speak it: with a zone their readers drop the event."""
    return datetime.fromtimestamp(now, tz=UTC).astimezone().replace(tzinfo=None).isoformat(timespec="microseconds")


def encode(document: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """ASCII JSON in one line. Raises ValueError for NaN and infinity: the peers' parsers differ about them."""
    return json.dumps(document, allow_nan=False, separators=(",", ":")).encode()


def heartbeat(presence: Presence, now: float) -> dict[str, Any]:
    """The superset of what the readers of the heartbeat files ask for."""
    return {
        "component_type": COMPONENT,
        "component_id": COMPONENT,
        "component": COMPONENT,
        "repo_type": COMPONENT,
        "timestamp": float(now),
        "pid": presence.pid,
        "host": "localhost",
        "port": presence.port,
        "status": presence.status,
        "state": presence.status,
        "healthy": presence.status == "ready",
        "version": presence.version,
        "uptime_seconds": now - presence.started_at,
        "registered_at": presence.started_at,
        "cpu_percent": presence.cpu_percent,
        "memory_percent": presence.memory_percent,
        "load": presence.cpu_percent / 100,
        "active_training_jobs": presence.active_training_jobs,
        "dependencies_ready": {},
        "startup_phase": presence.phase,
        "startup_step": presence.phase,
        "startup_progress_pct": presence.startup_progress_pct,
        # Prime asks every component for these two; we serve no model.
        "model_loaded": False,
        "last_inference_time": 0,
        "metrics": dict(presence.metrics),
    }


def reactor_state(presence: Presence, now: float) -> dict[str, Any]:
    """The state document. Readers accept `ready` and `active` as "there"; the latter says that a training runs."""
    status = "active" if presence.status == "ready" and presence.active_training_jobs else presence.status
    iso = local_iso(now)
    return {
        "repo_type": COMPONENT,
        "status": status,
        "phase": presence.phase,
        "pid": presence.pid,
        "port": presence.port,
        "version": presence.version,
        "timestamp": float(now),
        "last_update": iso,
        "last_heartbeat": iso,
        "updated_at": iso,
        "uptime_seconds": now - presence.started_at,
        "memory_usage_gb": presence.memory_usage_gb,
        "cpu_percent": presence.cpu_percent,
        "active_training_jobs": presence.active_training_jobs,
        "model_output_dir": presence.model_output_dir,
        "capabilities": dict.fromkeys(presence.capabilities, True),
        "metrics": dict(presence.metrics),
        "errors": list(presence.errors),
    }


def write_heartbeats(home: Home, presence: Presence, now: float) -> None:
    """Write every heartbeat file; call it every 5 s. Not fsynced: the next one follows.

    A place that cannot be written does not keep the others from being fresh; its OSError is raised at the end.
    """
    data = encode(heartbeat(presence, now))
    failures = [failure for path in home.heartbeats if (failure := _attempt(path, data)) is not None]
    if lost := umf.sender.beat(presence, now):
        failures.append(lost)
    if failures:
        raise failures[0]


def _attempt(path: Path, data: bytes) -> OSError | None:
    try:
        durable.publish(path, data, sync=False)
    except OSError as failure:
        return failure
    return None


def share_heartbeat(home: Home, presence: Presence, now: float) -> bool:
    """Refresh our key in the heartbeat file of all three repositories; every 10 s is enough (stale after 30 s).

    False when somebody else is writing it: the next beat will do.
    """
    return _change_shared_heartbeat(
        home,
        now,
        {
            "repo_type": COMPONENT,
            "status": presence.status,
            "timestamp": local_iso(now),
            "uptime_seconds": now - presence.started_at,
            "active_sessions": presence.active_training_jobs,
        },
    )


def write_state(home: Home, presence: Presence, now: float) -> None:
    """Publish the state: at every change of a job, and every 10 s (stale after 60 s)."""
    _publish_state(home, encode(reactor_state(presence, now)), now)


def withdraw(home: Home, presence: Presence, now: float) -> None:
    """Say goodbye: our heartbeats disappear, the state says offline and carries no pid any more."""
    for path in home.heartbeats:
        if _pid_in(path) == presence.pid:
            durable.remove(path)
    _change_shared_heartbeat(home, now, None)
    state = reactor_state(presence, now)
    del state["pid"]
    state |= {"status": "offline", "phase": "offline", "active_training_jobs": 0, "memory_usage_gb": 0.0}
    state |= {"cpu_percent": 0.0}
    _publish_state(home, encode(state), now)
    if lost := umf.sender.beat(presence, now, gone=True):
        raise lost


def read_shared(path: Path, now: float) -> dict[str, Any] | None:
    """The object in a JSON file that several programs rewrite; {} when there is none, None while somebody writes it.

    Some of them write in place. So bytes that are no object are left alone while they are young; after that they are
    moved aside as `<name>.broken-<time>` and the file starts anew.
    """
    try:
        found = json.loads(access.read_shared(path))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    if abs(now - path.stat().st_mtime) < dlm.TORN_S:
        return None
    durable.claim(path, path.with_name(f"{path.name}.broken-{int(now)}"))
    return {}


def _change_shared_heartbeat(home: Home, now: float, entry: dict[str, Any] | None) -> bool:
    with _locked(home, "heartbeat", now) as locked:
        shared = read_shared(home.shared_heartbeat, now) if locked else None
        if shared is None:
            return False
        if entry is None:
            if shared.pop(COMPONENT, None) is None:
                return True
        else:
            shared[COMPONENT] = entry
        # json.loads accepts NaN where encode does not: a peer's broken number must not cost us our heartbeat.
        durable.publish(home.shared_heartbeat, json.dumps(shared).encode(), sync=False)
    return True


def _publish_state(home: Home, data: bytes, now: float) -> None:
    # Body rewrites this file too, to flip its status. The lock keeps its older copy from landing on ours; but whoever
    # sits on the lock must not be able to make us look dead, so without it we write all the same.
    with _locked(home, "reactor_state", now):
        durable.publish(home.reactor_state, data)


@contextlib.contextmanager
def _locked(home: Home, name: str, now: float) -> Iterator[bool]:
    lease = dlm.claim(home.locks, name, SHARED_LOCK_TTL_S, now, wait_s=SHARED_WAIT_S)
    try:
        yield isinstance(lease, dlm.Lease)
    finally:
        if isinstance(lease, dlm.Lease):
            lease.release()


def _pid_in(path: Path) -> int | None:
    try:
        found = json.loads(access.read_shared(path))
    except (OSError, ValueError, RecursionError):
        return None
    pid = found.get("pid") if isinstance(found, dict) else None
    return pid if isinstance(pid, int) else None
