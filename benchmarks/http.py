"""How fast does the sidecar answer, how many may follow, and what does that cost those who do not?

The sidecar, an empty aiohttp handler, the clients and this program are processes of their own. Ratios are medians of
neighbouring rounds. (a) requests/s and p99 of /health and of a status query, to an empty handler at the same path;
(b) 1,000 clients follow one job at 10 steps/s, over SSE and over WebSockets: time from the step to the client, memory a
client, and the end with all of them connected; (c) /health while 10,000 experiences are sent inline; (d) the ingest
while 100 clients follow. Prints one JSON object; trust the ratios.

    python benchmarks/http.py [clients]
"""

from __future__ import annotations

import sys

# The directory of a script comes first where modules are looked for, and this file would hide the library's `http` from
# itself and from its neighbours. So it goes last, and whoever imports `http` gets what was meant.
sys.path.append(sys.path.pop(0))
if __name__ == "http":
    del sys.modules["http"]
    import http  # noqa: F401

import contextlib
import json
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ingest import fill
from support.disk import workplace

HERE = Path(__file__).parent
ROUNDS, ROUND_S, CONNECTIONS = 5, 2.0, 8
HZ, FOLLOW_S, SETTLE_S = 10, 15, 2.0
EXPERIENCES = 10_000
FILES, RECORDS, BYTES, FOLLOWERS = 3000, 10, 2000, 100


class Child:
    """A process that speaks JSON lines."""

    def __init__(self, program: str, *argv: str) -> None:
        command = [sys.executable, str(HERE / "support" / f"{program}.py"), *argv]
        self.process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.first = self.read()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args} ended with {self.process.wait()}")
        return json.loads(line)

    def ask(self, do: str, **what: Any) -> dict[str, Any]:
        assert self.process.stdin
        print(json.dumps({"do": do, **what}), file=self.process.stdin, flush=True)
        return self.read()

    def end(self) -> dict[str, Any]:
        """Close its stdin; what it says at last."""
        assert self.process.stdin
        self.process.stdin.close()
        found = self.read()
        self.process.wait()
        return found


@contextlib.contextmanager
def serving(what: str) -> Iterator[Child]:
    """The sidecar with this home, or the `empty` handler."""
    server = Child("http_server", what)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def load(server: Child, path: str) -> dict[str, float]:
    """A round; and what each request of it cost the server."""
    port = server.first["port"]
    before = server.ask("cpu")["cpu_s"]
    found = Child("http_clients", "load", str(port), path, str(ROUND_S), str(CONNECTIONS)).first
    return found | {"cpu_us": 1e6 * (server.ask("cpu")["cpu_s"] - before) / (found["per_s"] * ROUND_S)}


def answers(server: Child, empty: Child) -> dict[str, Any]:
    """To the empty handler, in neighbouring rounds."""
    paths = {"health": "/health", "status": f"/api/training/status/{server.first['job']}"}
    found: dict[str, list[tuple[dict[str, float], dict[str, float]]]] = {name: [] for name in paths}
    for _ in range(ROUNDS):
        for name, path in paths.items():
            found[name].append((load(empty, path), load(server, path)))
    middle = statistics.median
    said: dict[str, Any] = {
        name: {
            "per_s": round(middle(ours["per_s"] for _, ours in pairs)),
            "per_s_to_empty": round(middle(ours["per_s"] / floor["per_s"] for floor, ours in pairs), 2),
            "cpu_us": round(middle(ours["cpu_us"] for _, ours in pairs), 1),
            "empty_cpu_to_cpu": round(middle(floor["cpu_us"] / ours["cpu_us"] for floor, ours in pairs), 2),
            "p99_ms": round(middle(ours["p99_ms"] for _, ours in pairs), 2),
            "empty_p99_to_p99": round(middle(floor["p99_ms"] / ours["p99_ms"] for floor, ours in pairs), 2),
        }
        for name, pairs in found.items()
    }
    return {"empty_per_s": round(middle(floor["per_s"] for floor, _ in found["health"]))} | said


def following(place: Path, clients: int, kind: str) -> dict[str, Any]:
    """Everybody follows one job."""
    with serving(str(place / f"home-{kind}")) as server:
        port, job = str(server.first["port"]), server.first["job"]
        path = "/ws/trinity" if kind == "websocket" else f"/api/training/stream/{job}"
        warm = Child("http_clients", "follow", port, path, "20", kind)  # imports and first buffers are no client's
        server.ask("publish", hz=HZ, seconds=1)
        warm.end()
        time.sleep(SETTLE_S)
        before = server.ask("memory")
        crowd = Child("http_clients", "follow", port, path, str(clients), kind)
        time.sleep(SETTLE_S)
        idle = server.ask("memory")
        told = server.ask("publish", hz=HZ, seconds=FOLLOW_S)["told"]
        time.sleep(SETTLE_S)
        after = server.ask("memory")
        stop_s = server.ask("stop")["stop_s"]
        heard = crowd.end()
    return {
        **heard,
        "expected": told * clients * (2 if kind == "naive" else 1),  # each update twice, once for each kind of parser
        "kib_a_client": round((after["uss_kib"] - before["uss_kib"]) / clients, 1),
        "kib_a_client_before_it_was_told": round((idle["uss_kib"] - before["uss_kib"]) / clients, 1),
        "cpu_us_a_delivery": round(1e6 * (after["cpu_s"] - idle["cpu_s"]) / (told * clients), 1),
        "stop_s": round(stop_s, 2),
    }


def inline_start(server: Child) -> dict[str, Any]:
    """/health, asked every 10 ms, while a job is started with 10,000 experiences."""
    port = server.first["port"]
    items = [
        {"id": f"inline-{n}", "query": f"question {n}", "response": "x" * 300, "quality_score": 0.9}
        for n in range(EXPERIENCES)
    ]
    body = json.dumps({"job_id": "inline", "experiences": items}).encode()
    watch = Child("http_clients", "watch", str(port), "/health")
    time.sleep(SETTLE_S)
    calm = watch.ask("so far")
    url = f"http://127.0.0.1:{port}/api/training/start"
    began = time.perf_counter()
    ask = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(ask, timeout=60) as answer:
        said = json.load(answer)
    took_s = time.perf_counter() - began
    assert said["experiences"] == EXPERIENCES, said
    return {"mb": round(len(body) / 1e6, 1), "answered_s": round(took_s, 2), "health_calm": calm, "health": watch.end()}


def ingest(server: Child, place: Path) -> dict[str, Any]:
    """Files taken a second, alone and while 100 clients are told 10 steps a second, in turn."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    path = f"/api/training/stream/{server.first['job']}"
    for turn in range(2 * ROUNDS):
        followed, staged = bool(turn % 2), place / f"staged-{turn}"
        fill(staged, FILES, RECORDS, BYTES, turn * FILES)
        crowd = None
        if followed:
            crowd = Child("http_clients", "follow", str(server.first["port"]), path, str(FOLLOWERS), "sse")
        took = server.ask("take", staged=str(staged), records=FILES * RECORDS, hz=HZ if followed else 0)
        rates[followed].append(FILES / took["took_s"])
        if crowd:
            crowd.end()
    alone, beside = (round(statistics.median(rates[followed])) for followed in (False, True))
    to_alone = statistics.median(b / a for a, b in zip(rates[False], rates[True], strict=True))
    return {"files_per_s": alone, "files_per_s_followed": beside, "to_alone": round(to_alone, 2)}


def main(clients: int = 1000) -> None:
    with workplace() as (place, disk):
        found: dict[str, Any] = {"disk": disk, "clients": clients}
        with serving(str(place / "home")) as server:
            with serving("empty") as empty:
                found["answers"] = answers(server, empty)
            found["inline_start"] = inline_start(server)
            found["ingest"] = ingest(server, place)
        for kind in ("sse", "naive", "websocket"):
            found[kind] = following(place, clients, kind)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
