"""Under which names and on which port can the others find us?

`registry/services.json` is one object for all services (contract/body.md 4.3). One entry that lacks a mandatory key
makes Body lose every service, so ours is complete; two locking regimes work on the file and can lose each other's
changes, so ours is asserted again on every beat and written only when it is missing, different or old.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

from reactord import durable
from reactord.home import Home
from reactord.ipc.dlm import flocked
from reactord.ipc.presence import Presence, read_shared

#: Body looks them up in this order
NAMES = ("reactor-core", "reactor_core", "reactor")
#: entries count as stale after 60 s
REFRESH_S = 15.0
WAIT_S = 0.5

_STATUS = {"starting": "starting", "ready": "healthy", "degraded": "degraded", "stopping": "degraded"}


def register(home: Home, presence: Presence, now: float) -> bool:
    """Make sure our entries are there and fresh. False when somebody else is writing: come again with the next beat."""
    services = _services(home)
    with flocked(services.with_name("services.json.lock"), WAIT_S) as locked:
        known = read_shared(services, now) if locked else None
        if known is None:
            return False
        wanted = {name: _entry(name, presence, now) for name in NAMES}
        if not all(_is_current(known.get(name), entry, now) for name, entry in wanted.items()):
            _write(services, known | wanted)
    _note_port(home, presence, now)
    return True


def withdraw(home: Home, presence: Presence, now: float) -> bool:
    """Remove our entries, if they carry our pid. False when the file could not be had: they then go stale."""
    services = _services(home)
    with flocked(services.with_name("services.json.lock"), WAIT_S) as locked:
        known = read_shared(services, now) if locked else None
        if known is None:
            return False
        kept = {name: entry for name, entry in known.items() if not _is_ours(name, entry, presence.pid)}
        if kept != known:
            _write(services, kept)
    _forget_port(home, now)
    return True


def _services(home: Home) -> Path:
    home.registry.mkdir(parents=True, exist_ok=True)
    return home.registry / "services.json"


def _entry(name: str, presence: Presence, now: float) -> dict[str, Any]:
    """One complete entry. Only keys that Body knows: some of its versions build a strict class from them."""
    started, process_name = _process(presence.pid)
    fallback = presence.port != presence.primary_port
    return {
        "service_name": name,
        "pid": presence.pid,
        "port": presence.port,
        "host": "localhost",
        "health_endpoint": "/health",
        "status": _STATUS[presence.status],
        "registered_at": presence.started_at,
        "last_heartbeat": now,
        "process_start_time": started,
        "process_name": process_name,
        "primary_port": presence.primary_port,
        "is_fallback_port": fallback,
        "fallback_reason": f"port {presence.primary_port} was taken" if fallback else "",
        "metadata": {"version": presence.version, "phase": presence.phase},
    }


@lru_cache(maxsize=2)
def _process(pid: int) -> tuple[float, str]:
    process = psutil.Process(pid)
    return process.create_time(), process.name()


def _is_current(found: object, wanted: dict[str, Any], now: float) -> bool:
    if not isinstance(found, dict):
        return False
    beat = found.get("last_heartbeat")
    fresh = isinstance(beat, int | float) and now - REFRESH_S < beat <= now
    return fresh and found | {"last_heartbeat": now} == wanted


def _is_ours(name: str, entry: object, pid: int) -> bool:
    return name in NAMES and isinstance(entry, dict) and entry.get("pid") == pid


def _write(path: Path, document: dict[str, Any]) -> None:
    # Others' entries go back as they were read, even a NaN that strict JSON forbids.
    durable.publish(path, json.dumps(document, indent=2).encode())


def _note_port(home: Home, presence: Presence, now: float) -> None:
    """`ports.json` is read when services.json has no entry, and says something only about a fallback port."""
    if presence.port == presence.primary_port:
        _forget_port(home, now)
        return
    path = home.registry / "ports.json"
    known = read_shared(path, now)
    if known is None:
        return
    ports = known.get("ports")
    ports = ports if isinstance(ports, dict) else {}
    wanted = {"port": presence.port, "original_port": presence.primary_port, "is_fallback": True}
    if ports.get(NAMES[0]) != wanted:
        _write(path, known | {"ports": ports | {NAMES[0]: wanted}})


def _forget_port(home: Home, now: float) -> None:
    path = home.registry / "ports.json"
    known = read_shared(path, now)
    ports = known.get("ports") if known else None
    if known and isinstance(ports, dict) and NAMES[0] in ports:
        _write(path, known | {"ports": {name: port for name, port in ports.items() if name != NAMES[0]}})
