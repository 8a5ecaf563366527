"""What is Prime doing?

Read from the files Prime writes about itself (contract/prime.md 3.1) and from the operating system. What nobody said
is None, never 0: a training that starts because "unknown" was read as "no memory used" takes the machine down.

Prime writes some of these files in place. A file that does not parse is read again after 50 ms, three times; then the
last good document counts, which the caller hands in with its previous snapshot.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from reactord import access
from reactord.home import Home

READ_TRIES = 3
READ_PAUSE_S = 0.05
#: components/jarvis_prime.json is written every 5 s, jarvis_prime_state.json every 30 s
COMPONENT_FRESH_S = 30.0
STATE_FRESH_S = 120.0
DEFAULT_PORT = 8000
#: where the registry files its process
REGISTRY_NAMES = ("jarvis-prime", "jarvis_prime")
#: +- of a stated process start (contract/body.md 4.3)
START_TOLERANCE_S = 2.0
#: larger numbers are milliseconds
_MILLISECONDS_FROM = 1e11
_NO_TIME_FROM = 1e14

#: (pid, stated start or None) -> resident bytes, None when there is no such process
Resident = Callable[[int, float | None], int | None]


@dataclass(frozen=True, slots=True)
class PrimeSnapshot:
    """What is known about Prime at `at`. None = unknown; times are epoch seconds."""

    at: float
    component: Mapping[str, Any]
    """components/jarvis_prime.json as it was last readable, however old."""
    state: Mapping[str, Any]
    """cross_repo/jarvis_prime_state.json, likewise."""
    heard_at: float | None
    """When Prime last wrote one of them."""
    status: str | None
    """initializing, ready, busy, shutting_down, stopped - if said within the last two minutes."""
    model_loaded: bool | None
    model_path: str | None
    started_at: float | None
    last_inference_at: float | None
    pid: int | None
    rss_bytes: int | None
    base_url: str
    """Where to ask; a guess until /health answers."""
    base_url_from: str


def look(  # noqa: PLR0913 - the last two are seams for tests
    home: Home,
    now: float,
    *,
    environ: Mapping[str, str] | None = None,
    last: PrimeSnapshot | None = None,
    resident: Resident | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> PrimeSnapshot:
    """Read what is known about Prime now. Sleeps (150 ms at most) only over a half-written file."""
    component = _document(home.prime_component, last.component if last else {}, sleep)
    state = _document(home.prime_state, last.state if last else {}, sleep)
    component_at, state_at = parse_time(component.get("timestamp")), parse_time(state.get("last_heartbeat"))
    # What a Prime said that has since fallen silent is not what it is doing.
    live = dict(state) if _fresh(state_at, now, STATE_FRESH_S) else {}
    if _fresh(component_at, now, COMPONENT_FRESH_S):
        live |= component
    pid, stated_start = _process(home, component, sleep)
    rss = (resident or resident_bytes)(pid, stated_start) if pid is not None else None
    base_url, source = base_url_of(component, state, environ if environ is not None else os.environ, now)
    return PrimeSnapshot(
        at=now,
        component=component,
        state=state,
        heard_at=max((at for at in (component_at, state_at) if at is not None), default=None),
        status=_text(live.get("status")),
        model_loaded=live["model_loaded"] if isinstance(live.get("model_loaded"), bool) else None,
        model_path=_text(live.get("model_path")),
        started_at=_started_at(component, component_at, state),
        last_inference_at=parse_time(live.get("last_inference_time")),
        pid=pid,
        rss_bytes=rss,
        base_url=base_url,
        base_url_from=source,
    )


def base_url_of(
    component: Mapping[str, Any], state: Mapping[str, Any], environ: Mapping[str, str], now: float
) -> tuple[str, str]:
    """Where Prime listens, and who says so: its fresh heartbeat, its state, the environment, or its default."""
    fresh = _fresh(parse_time(component.get("timestamp")), now, COMPONENT_FRESH_S)
    for document, name in ((component if fresh else {}, "its heartbeat"), (state, "its state file")):
        port = document.get("port")
        if isinstance(port, int) and not isinstance(port, bool) and 0 < port < 65536:
            return f"http://127.0.0.1:{port}", name
    if environ.get("JARVIS_PRIME_URL", "").startswith(("http://", "https://")):
        return environ["JARVIS_PRIME_URL"].rstrip("/"), "JARVIS_PRIME_URL"
    if environ.get("JARVIS_PRIME_PORT", "").isdecimal():
        return f"http://127.0.0.1:{environ['JARVIS_PRIME_PORT']}", "JARVIS_PRIME_PORT"
    return f"http://127.0.0.1:{DEFAULT_PORT}", "the default"


def parse_time(value: object) -> float | None:
    """Epoch seconds out of seconds, milliseconds or ISO text (naive = local); None for anything else, and for 0."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError, OSError):
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _NO_TIME_FROM:
        return None
    return value / 1000 if value > _MILLISECONDS_FROM else float(value)


def resident_bytes(pid: int, started: float | None) -> int | None:
    """Resident memory of the process, None when it is gone or is not the one that started then."""
    try:
        process = psutil.Process(pid)
        if started is not None and abs(process.create_time() - started) > START_TOLERANCE_S:
            return None
        return int(process.memory_info().rss)
    except (psutil.Error, ValueError, OverflowError):
        return None


def _document(path: Path, last_good: Mapping[str, Any], sleep: Callable[[float], None]) -> Mapping[str, Any]:
    for attempt in range(READ_TRIES):
        if attempt:
            sleep(READ_PAUSE_S)
        try:
            found = json.loads(access.read_shared(path))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            return found
    return last_good


def _process(
    home: Home, component: Mapping[str, Any], sleep: Callable[[float], None]
) -> tuple[int | None, float | None]:
    """Prime's pid and stated start: the registry knows both; the heartbeat of some versions knows the pid."""
    services = _document(home.registry / "services.json", {}, sleep)
    for entry in (*(services.get(name) for name in REGISTRY_NAMES), component):
        pid = entry.get("pid") if isinstance(entry, Mapping) else None
        if isinstance(entry, Mapping) and isinstance(pid, int) and not isinstance(pid, bool) and pid > 0:
            return pid, parse_time(entry.get("process_start_time"))
    return None, None


def _started_at(component: Mapping[str, Any], component_at: float | None, state: Mapping[str, Any]) -> float | None:
    uptime = component.get("uptime_seconds")
    if component_at is not None and isinstance(uptime, int | float) and 0 <= uptime < component_at:
        return component_at - uptime
    return parse_time(state.get("started_at"))


def _fresh(at: float | None, now: float, within_s: float) -> bool:
    return at is not None and now - at <= within_s


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
