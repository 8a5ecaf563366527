"""What memory does Prime hold, what may it grow to, and what of it would it lend?

Its resident set from the operating system, its model from what it says about itself: in its files, and at /health when
somebody asked there. What it may reach is the most of: what it holds, what it has ever held (Linux remembers), and
what it holds plus the model it has still to load. Where none of that can be told of a Prime that lives, the answer is
None, and whoever asks must not take that for zero.

The engine runs each model in a process of its own and loads whatever it is asked for, so what it may reach is unknown;
but it lends its memory (lease.py): then the models are gone, and it can load none. Of what it lends only private pages
are counted: a weight file that is merely mapped is free for everybody already.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from reactord.prime.asking import is_local
from reactord.prime.health import Engine, Health
from reactord.prime.snapshot import COMPONENT_FRESH_S, START_TOLERANCE_S, STATE_FRESH_S, PrimeSnapshot


@dataclass(frozen=True, slots=True)
class Holding:
    """In bytes; None = nobody could tell."""

    alive: bool
    held_bytes: int | None
    may_reach_bytes: int | None
    #: what it would give back of it for the time of a lease, and not grow either; None: it lends nothing now
    leasable_bytes: int | None = None


def holding(
    prime: PrimeSnapshot, *, unified: bool, health: Health | str | None = None, leased: bool = False
) -> Holding:
    """What is known of the Prime that was looked at.

    `unified`: what it gave to the GPU is not in its resident set. `health`: what it answered, if it was asked.
    `leased`: it has lent its memory to us.
    """
    said = health if isinstance(health, Health) and health.is_prime else None
    lives = said is not None or _heard(prime)
    pid = prime.pid if prime.rss_bytes is not None else _listener(prime.base_url) if lives else None
    held = prime.rss_bytes if prime.rss_bytes is not None else _resident(pid)
    if held is None:
        return Holding(alive=lives, held_bytes=None, may_reach_bytes=None)
    if said and said.engine:
        return _of_engine(said.engine, pid, held, leased=leased)
    loaded = said.model_loaded if said and said.model_loaded is not None else prime.model_loaded
    model = _size((said and said.model_path) or prime.model_path)
    reach = max(held, _most_ever(pid) or 0)
    if model is not None and (unified or loaded is not True):
        return Holding(alive=True, held_bytes=held, may_reach_bytes=max(reach, held + model))
    if model is not None:
        return Holding(alive=True, held_bytes=held, may_reach_bytes=max(reach, model))
    # it says neither what it has loaded nor what it will load: what it ever held is all that is known
    return Holding(alive=True, held_bytes=held, may_reach_bytes=reach if loaded else None)


def _of_engine(engine: Engine, pid: int | None, own: int, *, leased: bool) -> Holding:
    models = list(_children(pid))
    held = own + sum(resident for resident, _ in models)
    if leased:
        return Holding(alive=True, held_bytes=held, may_reach_bytes=held)
    idle = engine.lease == "serving" and engine.answering == 0
    lends = sum(private for _, private in models) if idle and engine.sees_gpu else None
    return Holding(alive=True, held_bytes=held, may_reach_bytes=None, leasable_bytes=lends)


def process_at(base_url: str) -> tuple[int, float] | None:
    """(pid, start in epoch seconds) of who listens there on this machine, where the system tells us."""
    with contextlib.suppress(psutil.Error):
        if (pid := _listener(base_url)) is not None:
            return pid, psutil.Process(pid).create_time()
    return None


def is_there(pid: int, started: float) -> bool:
    """Whether that very process still lives."""
    try:
        return abs(psutil.Process(pid).create_time() - started) <= START_TOLERANCE_S
    except (psutil.Error, ValueError, OverflowError, TypeError):
        return False


def _children(pid: int | None) -> Iterable[tuple[int, int]]:
    """(resident, private) bytes of every process that it started."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True) if pid is not None else ():
            with contextlib.suppress(psutil.Error):
                memory = child.memory_info()
                yield int(memory.rss), max(0, int(memory.rss - getattr(memory, "shared", 0)))


def _heard(prime: PrimeSnapshot) -> bool:
    """Whether it spoke lately, and did not say goodbye."""
    within_s = max(COMPONENT_FRESH_S, STATE_FRESH_S)
    return prime.heard_at is not None and prime.at - prime.heard_at <= within_s and prime.status != "stopped"


def _listener(base_url: str) -> int | None:
    """The process that listens where Prime says it does, on this machine; a Mac tells that only to root."""
    if not is_local(base_url):
        return None
    with contextlib.suppress(psutil.Error, OSError, ValueError):
        port = urlsplit(base_url).port
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
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
