"""Is the daemon there, and what did it last say about itself?

The daemon holds a lock on `reactor/daemon.lock` for its whole life: it lives exactly as long as nobody else can take
that lock. No process id is trusted and nothing is asked over the network.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from reactord.errors import EnvironmentTrouble
from reactord.home import Home

#: the state file is refreshed every 10 s; older than this, a daemon that lives does not answer for itself
SILENT_S = 25.0


class NotRunning(EnvironmentTrouble):
    """The daemon is not there."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """What can be known of the daemon from its files."""

    running: bool
    state: str  # its own word while it runs; stopped, lost (it ended without goodbye) or "never started" otherwise
    pid: int | None = None
    port: int | None = None
    socket: str | None = None  # a socket file that only this user may open
    started_at: float | None = None
    heard_at: float | None = None  # when it last wrote its state
    memory_bytes: int | None = None  # daemon and workers, as it measured them
    experience_threshold: int | None = None  # new experiences that start a job
    errors: list[str] = field(default_factory=list)


def is_alive(home: Home) -> bool:
    """True iff a daemon holds this home. Creates nothing."""
    try:
        descriptor = os.open(home.daemon_lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def look(home: Home) -> Daemon:
    """Read the lock, the daemon's note and its published state. Raises OSError when they may not be read."""
    running = is_alive(home)
    note, said = read_object(home.daemon_note), read_object(home.reactor_state)
    heard_at = _number(said.get("timestamp"))
    if not running:
        status = said.get("status")
        state = "never started" if not note and not said else "stopped" if status == "offline" else "lost"
        return Daemon(running=False, state=state, heard_at=heard_at)
    memory_gb, threshold = _number(said.get("memory_usage_gb")), _number(note.get("experience_threshold"))
    ours = said.get("pid") == note.get("pid")  # a state file left by a killed predecessor says nothing about this one
    errors = said.get("errors") if ours else None
    return Daemon(
        running=True,
        state=str(said.get("status") if ours else note.get("phase") or "starting"),
        pid=_whole(note.get("pid")),
        port=_whole(note.get("port")),
        socket=path if isinstance(path := note.get("socket"), str) else None,
        started_at=_number(note.get("started_at")),
        heard_at=heard_at if ours else None,
        memory_bytes=int(memory_gb * 1024**3) if ours and memory_gb else None,
        experience_threshold=int(threshold) if threshold is not None else None,
        errors=[str(e) for e in errors] if isinstance(errors, list) else [],
    )


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a small file; {} when there is none, or it is torn or no object."""
    try:
        value = orjson.loads(path.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return {}
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
