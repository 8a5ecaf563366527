"""How fast do drop files become durable records, beside the bare system calls that this needs?

The same files, in turn: (a) the limit: read, parse, append, one fdatasync per 200 files, unlink, nothing else; (b) the
same with what a claim needs that loses nothing: a lease, a rename, a second look; (c) the ingest as the daemon runs it:
claim, validation, journal, identity index, unlink. Single process, CPU and wall time. Then the latency from a drop to
its record at 100 files/s through the real ingest thread. Prints one JSON object; trust the ratios.

    python benchmarks/ingest.py [files]
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import orjson
from support.disk import workplace

from reactord.home import Home
from reactord.ipc.inbox import Inbox
from reactord.ledger.counts import count

BATCH = 200
ROUNDS = 3
LATENCY_FILES, LATENCY_PAUSE_S = 600, 0.01


def content(file: int, records: int, size: int) -> bytes:
    """A packet as Body's forwarder writes it; about `size` bytes a record."""
    items = [
        {
            "id": f"{file:07d}-{n:03d}", "type": "interaction", "timestamp": 1795281245.1, "success": True,
            "input": {"user_input": f"question {file} {n}"}, "output": {"response": "x" * (size - 220)},
            "quality_score": 0.9, "confidence": 0.8, "component": "agent", "metadata": {"model_id": "jarvis"},
        }
        for n in range(records)
    ]  # fmt: skip
    payload = {"packet_id": f"p{file}", "experiences": items, "batch_size": records, "source_repo": "jarvis"}
    return orjson.dumps({"event_type": "learning_signal", "event_id": f"p{file}", "payload": payload})


def fill(directory: Path, files: int, records: int, size: int, first: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for n in range(first, first + files):
        (directory / f"5_{1795281245000 + n}_p{n}.json").write_bytes(content(n, records, size))
    os.sync()  # the writing belongs to nobody's time


def limit(directory: Path, log: Path, claimed: str | None = None) -> None:
    """What no ingest can do without; with `claimed`, what none can that shares its directories with others."""
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    waiting: list[str] = []

    def flush() -> None:
        os.fdatasync(out)
        for path in waiting:
            os.unlink(path)  # noqa: PTH108 - the bare call
        waiting.clear()

    for name in sorted(os.listdir(directory)):  # noqa: PTH208 - the bare call
        path = f"{directory}/{name}"
        source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        size = os.fstat(source).st_size
        if claimed:
            fcntl.fcntl(source, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        raw = os.read(source, size)
        orjson.loads(raw)
        if claimed:
            path, original = f"{claimed}/{name}", path
            os.rename(original, path)  # noqa: PTH104 - the bare call
            os.lstat(path)
            fcntl.fcntl(source, fcntl.F_GETLEASE)
        os.close(source)
        os.write(out, raw)
        waiting.append(path)
        if len(waiting) == BATCH:
            flush()
    flush()
    os.close(out)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """(wall, CPU) seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def throughput(place: Path, files: int, records: int, size: int) -> dict[str, float]:
    """Medians over rounds of two neighbouring runs."""
    home = Home(place / f"home-{records}")
    home.create()
    inbox = Inbox(home)
    inbox.turn()
    found = []
    taken = place / "taken"
    taken.mkdir(exist_ok=True)
    for turn in range(ROUNDS):
        bare = place / "bare"
        fill(bare, files, records, size, turn * files)
        floor = timed(partial(limit, bare, place / "bare.log"))
        fill(bare, files, records, size, turn * files)
        safe = timed(partial(limit, bare, place / "bare.log", str(taken)))
        (place / "bare.log").unlink()
        fill(home.events, files, records, size, turn * files)
        ours = timed(inbox.turn)
        found.append((floor, safe, ours))
    inbox.close()
    assert count(home).received == ROUNDS * files * records
    assert not list(home.events.iterdir())
    wall = statistics.median(ours[0] for _, _, ours in found)
    return {
        "files_per_s": round(files / wall),
        "records_per_s": round(files * records / wall),
        "mb_per_s": round(files * len(content(0, records, size)) / wall / 1e6),
        "files_per_cpu_s": round(files / statistics.median(ours[1] for _, _, ours in found)),
        "to_limit_wall": round(statistics.median(floor[0] / ours[0] for floor, _, ours in found), 2),
        "to_limit_cpu": round(statistics.median(floor[1] / ours[1] for floor, _, ours in found), 2),
        "to_limit_with_claim_wall": round(statistics.median(safe[0] / ours[0] for _, safe, ours in found), 2),
        "to_limit_with_claim_cpu": round(statistics.median(safe[1] / ours[1] for _, safe, ours in found), 2),
    }


def latency(place: Path) -> dict[str, float]:
    """Milliseconds from the rename of a drop file to its record being durable, at 100 files/s."""
    home = Home(place / "latency")
    home.create()
    inbox = Inbox(home)
    thread = threading.Thread(target=inbox.run)
    thread.start()
    while not inbox.intake.ready:
        time.sleep(0.01)
    waits = []
    for n in range(LATENCY_FILES):
        next_at = time.perf_counter() + LATENCY_PAUSE_S
        temporary = home.events / f".{n}.tmp"
        temporary.write_bytes(content(n, 1, 2000))
        dropped = time.perf_counter()
        temporary.rename(home.events / f"5_{n}_p{n}.json")
        waits.append((n + 1, dropped))
        time.sleep(max(0.0, next_at - time.perf_counter()))
        _note(inbox, waits, done := [])
        LATENCIES.extend(done)
    deadline = time.monotonic() + 10
    while waits and time.monotonic() < deadline:
        _note(inbox, waits, done := [])
        LATENCIES.extend(done)
    inbox.stop()
    thread.join()
    assert not waits, f"{len(waits)} files were not taken in"
    ordered = sorted(LATENCIES)
    return {"p50_ms": _at(ordered, 0.5), "p99_ms": _at(ordered, 0.99), "max_ms": _at(ordered, 1.0)}


LATENCIES: list[float] = []


def _note(inbox: Inbox, waits: list[tuple[int, float]], done: list[float]) -> None:
    while waits and inbox.intake.last_seq >= waits[0][0]:
        done.append(time.perf_counter() - waits.pop(0)[1])


def _at(ordered: list[float], share: float) -> float:
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)


def main(files: int = 10_000) -> None:
    with workplace() as (place, disk):
        found = {
            "disk": disk,
            "ten_records_of_2_kB": throughput(place, files, 10, 2000),
            "one_record_of_2_kB": throughput(place, files, 1, 2000),
            "drop_to_durable": latency(place),
            "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
