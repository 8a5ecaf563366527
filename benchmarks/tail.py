"""How fast does a telemetry file become durable records, beside the least that this needs?

One file of canonical 1 kB lines, in turn: (a) the limit: read, split, parse each line, append, one fdatasync per 2 MiB;
(b) the ingest as the daemon runs it: whole lines by offset, validation, journal, identity index, position. Then the
start of a daemon whose index has not seen 64 MiB of the journal. Prints one JSON object; trust the ratios.

    python benchmarks/tail.py [lines]
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import orjson
from support.disk import workplace

from reactord.home import Home
from reactord.ipc.inbox import Inbox
from reactord.ledger.counts import count

ROUNDS = 3
CHUNK_BYTES = 2 * 1024 * 1024
UNSEEN_BYTES = 64 * 1024 * 1024


def line(n: int) -> bytes:
    """A canonical telemetry line of 1 kB."""
    body = {
        "event_id": f"{n:032x}", "schema_version": "1.0", "event_type": "interaction", "source": "jarvis_body",
        "timestamp": "2026-11-21T10:00:00+00:00", "user_input": f"What is {n} + {n}?", "assistant_output": "x" * 460,
        "system_context": None, "outcome": "success", "confidence": 0.9, "model_id": "jarvis", "latency_ms": 12.5,
        "tokens_used": 7, "session_id": "s", "task_type": "math", "complexity_level": "simple",
        "original_response": None, "corrected_response": None, "user_rating": None, "feedback_text": None,
        "metadata": {}, "retry_count": 0,
    }  # fmt: skip
    return orjson.dumps(body) + b"\n"


def limit(path: Path, log: Path) -> None:
    """What no ingest can do without."""
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with path.open("rb") as file:
        rest = b""
        while block := file.read(CHUNK_BYTES):
            *lines, rest = (rest + block).split(b"\n")
            for one in lines:
                orjson.loads(one)
            os.write(out, block)
            os.fdatasync(out)
    os.close(out)
    log.unlink()


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """(wall, CPU) seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def throughput(place: Path, lines: int) -> dict[str, float]:
    """Medians over rounds of two neighbouring runs."""
    home = Home(place / "home")
    home.create()
    inbox = Inbox(home)
    inbox.turn()
    found = []
    for turn in range(ROUNDS):
        path = home.telemetry / f"interactions_2026112{turn}.jsonl"
        path.with_suffix(".writing").write_bytes(b"".join(line(turn * lines + n) for n in range(lines)))
        os.sync()
        floor = timed(partial(limit, path.with_suffix(".writing"), place / "bare.log"))
        path.with_suffix(".writing").rename(path)
        found.append((floor, timed(inbox.turn)))
    inbox.close()
    assert count(home).pending == ROUNDS * lines
    return {
        "lines_per_s": round(lines / statistics.median(ours[0] for _, ours in found)),
        "lines_per_cpu_s": round(lines / statistics.median(ours[1] for _, ours in found)),
        "to_limit_wall": round(statistics.median(floor[0] / ours[0] for floor, ours in found), 2),
        "to_limit_cpu": round(statistics.median(floor[1] / ours[1] for floor, ours in found), 2),
    }


def restart(place: Path) -> float:
    """Seconds until an ingest is ready whose index has never seen 64 MiB of journal."""
    home = Home(place / "restart")
    home.create()
    path = home.telemetry / "interactions_20261121.jsonl"
    path.write_bytes(b"".join(line(n) for n in range(UNSEEN_BYTES // len(line(0)))))
    inbox = Inbox(home)
    inbox.turn()
    inbox.close()
    for name in ("index.db", "index.db-wal", "index.db-shm"):
        (home.ledger / name).unlink(missing_ok=True)
    again = Inbox(home)
    began = time.perf_counter()
    again.open()
    took = time.perf_counter() - began
    again.close()
    assert count(home).pending == UNSEEN_BYTES // len(line(0))
    return took


def main(lines: int = 100_000) -> None:
    with workplace() as (place, disk):
        found = {
            "disk": disk,
            "lines_of_1_kB": throughput(place, lines),
            "restart_with_64_MiB_unseen_s": round(restart(place), 2),
            "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
