"""What memory does Prime hold, and what may it grow to?

Its resident set from the operating system, its model file from what it says about itself. What it may reach is the
most of: what it holds, what it has ever held (Linux remembers), and what it holds plus the model it has still to load.
Where none of that can be told of a Prime that lives, the answer is None, and whoever asks must not take that for zero.

This does not ask for a lease: the Prime that is deployed today offers none (contract/prime.md 5.3).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from reactord.prime.snapshot import COMPONENT_FRESH_S, STATE_FRESH_S, PrimeSnapshot


@dataclass(frozen=True, slots=True)
class Holding:
    """In bytes; None = nobody could tell."""

    alive: bool
    held_bytes: int | None
    may_reach_bytes: int | None


def holding(prime: PrimeSnapshot, *, unified: bool) -> Holding:
    """What is known of the Prime that was looked at. `unified`: what it gave to the GPU is not in its resident set."""
    pid = prime.pid if prime.rss_bytes is not None else _listener(prime.base_url) if _heard(prime) else None
    held = prime.rss_bytes if prime.rss_bytes is not None else _resident(pid)
    if held is None and not _heard(prime):
        return Holding(alive=False, held_bytes=None, may_reach_bytes=None)
    model = _size(prime.model_path)
    if held is None:
        return Holding(alive=True, held_bytes=None, may_reach_bytes=None)
    reach = max(held, _most_ever(pid) or 0)
    if model is not None and (unified or prime.model_loaded is not True):
        return Holding(alive=True, held_bytes=held, may_reach_bytes=max(reach, held + model))
    if model is not None:
        return Holding(alive=True, held_bytes=held, may_reach_bytes=max(reach, model))
    # it says neither what it has loaded nor what it will load: what it ever held is all that is known
    return Holding(alive=True, held_bytes=held, may_reach_bytes=reach if prime.model_loaded else None)


def _heard(prime: PrimeSnapshot) -> bool:
    """Whether it spoke lately, and did not say goodbye."""
    within_s = max(COMPONENT_FRESH_S, STATE_FRESH_S)
    return prime.heard_at is not None and prime.at - prime.heard_at <= within_s and prime.status != "stopped"


def _listener(base_url: str) -> int | None:
    """The process that listens where Prime says it does, on this machine; a Mac tells that only to root."""
    parts = urlsplit(base_url)
    if parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        return None
    with contextlib.suppress(psutil.Error, OSError, ValueError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == parts.port:
                return connection.pid
    return None


def _resident(pid: int | None) -> int | None:
    try:
        return int(psutil.Process(pid).memory_info().rss) if pid is not None else None
    except psutil.Error:
        return None


def _most_ever(pid: int | None) -> int | None:
    """The most that a process has held, where the system remembers (Linux)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
    except (OSError, ValueError, IndexError):
        return None


def _size(model: str | None) -> int | None:
    try:
        return Path(model).stat().st_size if model else None
    except (OSError, ValueError):
        return None
