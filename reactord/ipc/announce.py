"""How does the ecosystem learn that a model is ready, or how a training goes?

No single route reaches everybody, because the readers of one place destroy each other's copies. So a finished model is
announced by every route, each with an identity that is the same when the announcement is repeated after a crash:

| Route | Reader | Must be |
|---|---|---|
| `reactor/events/<ms>_<id>.json`, MODEL_READY | Body's bridge adapter (inotify) | linked into place: renames within the directory and direct writes are not seen |
| `trinity/bus_sync/reactor_events.jsonl` | Body's bus, once a second | one line, one write; a wrong type in one line loses the good lines beside it |
| `trinity/inbox/{orchestrator,jarvis_body}`, `trinity/events`, model_ready | Prime's bus (polls) | renamed within the directory, so that Body's adapter does not eat it |
| `reactor/events/<ms>_<id>.json`, model_updated | Prime's bridge adapter (polls) | its payload unique: it drops equal ones |
| `reactor/events/pipeline_events.jsonl` | who reads the history | appended |
| UMF messages, when enabled (umf.py) | JARVIS | the copy of a line above, under its event id |

Not sent: `training_complete` on Prime's bus (it would announce the model a second time) and anything about health or
shutdown (those types restart and stop processes). What nobody fetched within 300 s is removed by `expire`.
"""  # noqa: E501 - a table

from __future__ import annotations

import math
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from reactord import access, durable
from reactord.errors import BadInput
from reactord.home import Home
from reactord.ipc import umf
from reactord.ipc.presence import encode, local_iso

#: readers of the Trinity bus delete older events unread
MAX_AGE_S = 300.0
#: Body's bus: 0 critical, 1 high, 2 normal, 3 low; anything but an int loses the whole file
_PRIORITY = {"training.progress": 3, "training.started": 2}
_NAMESPACE = uuid.UUID("6b1f0c5e-6d3c-5f0e-9a53-7265616374f2")
#: every event file of ours, and the temporary of one that a crash left behind
_OURS = re.compile(r"\A\.?(?:\d_)?(?P<ms>\d{15})_reactord-[0-9a-f]{32}\.json(?:\.\d+\.tmp)?\Z")

Progress = Literal["started", "progress", "completed", "failed"]


@dataclass(frozen=True, slots=True)
class ReadyModel:
    """A deployed model, as it is announced. Built from committed facts, so that repeating it says the same."""

    job_id: str
    model_id: str
    version: str
    path: Path
    """The GGUF file, absolute and in place."""
    sha256: str
    base_model: str
    metrics: Mapping[str, float]
    """At least `loss`, measured: Body and Prime refuse a model without one."""
    ready_at: float
    config: Mapping[str, Any] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ("text_generation", "chat")
    """Underscored words: Prime's router knows no others and drops them silently."""


def model_ready(home: Home, model: ReadyModel, now: float) -> None:
    """Announce `model` by every route. Raises BadInput when a reader would refuse it, OSError when a disk does."""
    metrics = {name: float(value) for name, value in model.metrics.items() if math.isfinite(value)}
    if "loss" not in metrics:
        raise BadInput(f"{model.model_id} {model.version} has no finite loss: put the measured loss into its metrics")
    if not model.path.is_file():
        raise BadInput(f"{model.path} is not there: place the model before announcing it")
    if any("-" in word for word in model.capabilities):
        raise BadInput(f"capabilities {model.capabilities}: write them with underscores")
    _to_body(home, model, metrics, now)
    line = {
        "job_id": model.job_id,
        "model_id": model.model_id,
        "model_version": model.version,
        "version": model.version,
        "model_path": str(model.path),
        "metrics": metrics,
    }
    bus_line(home, "model.ready", line, now, identity=f"{model.job_id} {model.version}")
    _to_prime(home, model, metrics, now)


def training(home: Home, progress: Progress, job_id: str, facts: Mapping[str, Any], now: float) -> None:
    """Say on the bus that a training started, moves, completed or failed; all but its moves also into the history."""
    topic = f"training.{progress}"
    payload = {"job_id": job_id, "status": progress, **facts}
    event_id = bus_line(home, topic, payload, now, identity=None if progress == "progress" else job_id)
    if progress != "progress":
        pipeline_line(home, topic, job_id, payload, now, event_id)


def gate_evaluated(home: Home, job_id: str, facts: Mapping[str, Any], now: float) -> None:
    """Record the judge's verdict in the history."""
    topic, payload = "gate.evaluated", {"job_id": job_id, **facts}
    event_id = _event_id(topic, job_id)
    pipeline_line(home, topic, job_id, payload, now, event_id)
    umf.sender.tell(event_id, topic, _finite(payload), job_id, now)


def bus_line(home: Home, topic: str, payload: Mapping[str, Any], now: float, *, identity: str | None) -> str:
    """Append one event to Body's bus file. Equal (topic, identity) is one event for its readers; None is always new.

    Not fsynced: Body truncates the file within a second, and what matters goes by another route too. Returns the id
    of the event, for its other copies.
    """
    event_id = _event_id(topic, identity or uuid.uuid4().hex)
    line = {
        "event_id": event_id,
        "topic": topic,
        "source": "reactor",
        "target": "broadcast",
        "priority": _PRIORITY.get(topic, 1),
        "payload": _finite(payload),
        "metadata": {},
        "correlation_id": str(payload.get("job_id") or event_id),
        "causation_id": "",
        "timestamp": local_iso(now),
        "expires_at": None,
        "retry_count": 0,
        "status": "pending",
    }
    _append_line(home.bus_lines, line, sync=False)
    umf.sender.tell(event_id, topic, line["payload"], line["correlation_id"], now)
    return event_id


def pipeline_line(  # noqa: PLR0913, PLR0917 - what a line consists of
    home: Home, topic: str, job_id: str, payload: Mapping[str, Any], now: float, event_id: str
) -> None:
    """Append one event to the pipeline's history."""
    directory = Path(os.environ.get("REACTOR_PIPELINE_EVENTS_DIR") or home.model_events)
    directory.mkdir(parents=True, exist_ok=True)
    line = {
        "event_id": event_id,
        "topic": topic,
        "source": "reactor",
        "timestamp": local_iso(now),
        "correlation_id": job_id,
        "causation_id": "",
        "payload": _finite(payload),
    }
    _append_line(directory / "pipeline_events.jsonl", line, sync=True)


def expire(home: Home, now: float) -> int:
    """Remove our own event files that nobody fetched within `MAX_AGE_S`; files of others are never touched."""
    removed = 0
    for directory in (home.events, *home.prime_inboxes, home.model_events, home.reactor):
        for path in directory.iterdir() if directory.is_dir() else ():
            found = _OURS.match(path.name)
            if found and now - int(found["ms"]) / 1000 > MAX_AGE_S:
                durable.remove(path)
                removed += 1
    return removed + umf.sender.expire(now)


def _to_body(home: Home, model: ReadyModel, metrics: Mapping[str, float], now: float) -> None:
    """The MODEL_READY document that satisfies every parser of Body: flat, nested and sequenced at once."""
    sequence = int(model.ready_at * 1000)
    identity = _event_id("MODEL_READY", f"{model.job_id} {model.version}")
    document = {
        "event_id": f"reactor_core:{sequence}:{identity[-8:]}",
        "event_type": "MODEL_READY",
        "type": "MODEL_READY",
        "source_repo": "reactor_core",
        "source": "reactor",
        "sequence_number": sequence,
        "vector_clock": {"reactor_core": sequence},
        "timestamp": float(now),
        "causally_depends_on": [],
        "model_id": model.model_id,
        "version": model.version,
        "capabilities": dict.fromkeys(model.capabilities, True),
        "metrics": metrics,
        "payload": {
            "model_id": model.model_id,
            "model_name": model.model_id,
            "model_version": model.version,
            "model_path": str(model.path),
            "gguf_path": str(model.path),
            "model_type": "gguf",
            "base_model": model.base_model,
            "training_id": model.job_id,
            "metrics": metrics,
            "config": _finite(model.config),
            "checksum": f"sha256:{model.sha256}",
        },
    }
    # Repeated within one millisecond (a crash cannot, a test can) the file is there already, and says the same.
    path = home.model_events / _file_name(identity, now)
    if not path.exists():
        durable.publish_by_link(path, encode(document), home.reactor)


def _to_prime(home: Home, model: ReadyModel, metrics: Mapping[str, float], now: float) -> None:
    """Three copies of one model_ready, since its broadcast goes to the first reader only, and one model_updated."""
    payload = {
        "model_name": model.model_id,
        "model_path": str(model.path),
        "model_type": "llm",
        "capabilities": list(model.capabilities),
        "ready_at": model.ready_at,
        # Equal payloads are one event for Prime's adapter, whatever the event id: these make it unique.
        "metadata": {"job_id": model.job_id, "version": model.version, "sha256": model.sha256, "metrics": metrics},
    }
    identity = _event_id("model_ready", f"{model.job_id} {model.version}")
    orchestrator, body = home.prime_inboxes
    targets = ((orchestrator, "orchestrator"), (body, "jarvis_body"), (home.events, "*"))
    for directory, target in targets:
        event = {
            "event_id": identity,
            "event_type": "model_ready",
            "source": "reactor_core",
            "target": target,
            "priority": 1,
            "payload": payload,
            "timestamp": float(now),
            "expires_at": None,
            "correlation_id": model.job_id,
            "causation_id": None,
            "sequence": 0,
            "metadata": {},
        }
        directory.mkdir(parents=True, exist_ok=True)
        durable.publish(directory / f"1_{_file_name(identity, now)}", encode(event))
    identity = _event_id("model_updated", f"{model.job_id} {model.version}")
    updated = {
        "event_id": identity,
        "event_type": "model_updated",
        "timestamp": float(now),
        "source": "reactor_core",
        "payload": payload,
        "metadata": {},
        "trace_id": identity[-16:],
    }
    durable.publish(home.model_events / _file_name(identity, now), encode(updated))


def _event_id(kind: str, identity: str) -> str:
    return f"reactord-{uuid.uuid5(_NAMESPACE, f'{kind} {identity}').hex}"


def _file_name(identity: str, now: float) -> str:
    return f"{int(now * 1000):015d}_{identity}.json"


def _append_line(path: Path, line: Mapping[str, Any], *, sync: bool) -> None:
    """One line in one write; a torn last line (a full disk left it) is ended first, so that it costs only itself."""
    durable.append(path, (b"" if _ends_with_newline(path) else b"\n") + encode(line) + b"\n", sync=sync)


def _ends_with_newline(path: Path) -> bool:
    try:
        with os.fdopen(access.opened(path), "rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return True
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
    except FileNotFoundError:
        return True


def _finite(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The same value with null for NaN and infinity: a diverged loss is no number for any reader."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
