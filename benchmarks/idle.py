"""What does the daemon cost while nothing happens, and what does a look at it cost?

A real daemon on an empty home, left alone: time to ready, resident memory, CPU over a minute; then the CPU of
`reactord status --json` beside a bare interpreter that imports the libraries it needs, interleaved. Prints one JSON
object. Trust the ratio; seconds and percents are this machine's.

    python benchmarks/idle.py [seconds]
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

COMMAND = [sys.executable, "-m", "reactord.cli"]
LIBRARIES = [sys.executable, "-c", "import argparse, orjson, pathlib, sqlite3"]
ROUNDS = 10
WARM_S = 3.0


def status(home: Path) -> list[str]:
    return [*COMMAND, "status", "--json", "--home", str(home)]


def wait_until_ready(home: Path, began: float) -> float:
    """Seconds until the published state says ready."""
    state = home / "cross_repo" / "reactor_state.json"
    while not state.exists() or json.loads(state.read_bytes()).get("phase") != "ready":
        if time.monotonic() - began > 30:
            raise SystemExit(f"the daemon is not ready; look at it with: {' '.join(status(home))}")
        time.sleep(0.005)
    return time.monotonic() - began


def cpu_s(argv: list[str]) -> float:
    """User and system time of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(watch_s: float = 60.0) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        home, began = Path(scratch) / "jarvis", time.monotonic()
        daemon = subprocess.Popen([*COMMAND, "run", "--home", str(home), "--port", "0"])
        try:
            ready_s = wait_until_ready(home, began)
            process = psutil.Process(daemon.pid)
            time.sleep(WARM_S)
            before = process.cpu_times()
            time.sleep(watch_s)
            after = process.cpu_times()
            rounds = [(cpu_s(status(home)), cpu_s(LIBRARIES)) for _ in range(ROUNDS)]
            found = {
                "ready_s": round(ready_s, 2),
                "rss_mb": round(process.memory_info().rss / 1024**2, 1),
                "cpu_percent": round(100 * (after.user + after.system - before.user - before.system) / watch_s, 2),
                "status_cpu_ms": round(1000 * min(look for look, _ in rounds), 1),
                "status_to_its_libraries": round(min(s for s, _ in rounds) / min(b for _, b in rounds), 2),
            }
        finally:
            daemon.terminate()
            daemon.wait(10)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
