"""J-Prime's engine as far as we talk to it, over real sockets: /health and the lease, rebuilt from its public source.

    serving --acquire--> released --release, or its time runs out--> serving

`manner` makes it hostile: slow, endless, garbage, failing. `forget` is what a restart does to a lease.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODELS = ["qwen3-coder:30b", "embed:small"]


class Engine(ThreadingHTTPServer):
    """One engine; `manner` maps what is asked (health, acquire, renew, release, lease) to how it answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.resident, self.answering, self.gpu = list(MODELS), 0, True
        self.lease: dict[str, Any] | None = None
        self.renewed_at = 0.0
        self.manner: dict[str, str] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.let_go = threading.Event()  # ends what hangs
        self.lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked has left: that is what the tests are about."""

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def posts(self, what: str | None = None) -> list[dict[str, Any]]:
        return [body for name, body in self.asked if what in (None, name) and name not in ("health", "lease")]

    def forget(self) -> None:
        """It was started again: no lease, and it loads what it wants."""
        with self.lock:
            self.lease, self.resident = None, list(MODELS)

    def status(self) -> dict[str, Any]:
        self._run_out()
        public = self.lease and {key: value for key, value in self.lease.items() if key != "token"}
        return {"state": "released" if self.lease else "serving", "lease": public, "last_error": ""}

    def _run_out(self) -> None:
        if self.lease and time.time() >= self.renewed_at + self.lease["ttl_s"]:
            self.lease, self.resident = None, self.lease["restore_models"]

    def health(self) -> dict[str, Any]:
        models = [{"name": name, "ctx": 4096, "size_vram": 1 << 30, "inflight": 0} for name in self.resident]
        if models:
            models[0]["inflight"] = self.answering
        gpu = {"name": "RTX", "total_mib": 32000, "free_mib": 9000} if self.gpu else None
        return {"service": "jarvis_prime", "component": "engine", "status": "healthy", "lease": self.status(),
                "resident": models, "gpu": gpu}  # fmt: skip

    def acquire(self, wanted: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self._run_out()
        if self.lease:
            return 409, {"error": "lease busy: state=released", "lease": self.status()}
        if not self.gpu:
            return 500, {"detail": "Internal Server Error"}  # it unloaded, and loaded again
        self.lease = {"holder": wanted["holder"], "token": f"t{len(self.asked)}", "ttl_s": max(30.0, wanted["ttl_s"]),
                      "restore_models": self.resident}  # fmt: skip
        self.renewed_at, self.resident = time.time(), []
        return 200, {"token": self.lease["token"], "freed_mib": 20000, "gpu_free_mib": 30000,
                     "lease": self.status()["lease"]}  # fmt: skip

    def renew(self, wanted: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if not self._knows(wanted):
            return 409, {"error": "no such lease"}
        self.renewed_at = time.time()
        return 200, {"ttl_s": wanted["ttl_s"]}

    def release(self, wanted: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if not self._knows(wanted):
            return 409, {"error": "no such lease"}
        named = wanted.get("restore_models")
        self.resident, self.lease = named if named is not None else self.lease["restore_models"], None  # type: ignore[index]
        return 200, {"state": "serving", "reloaded": self.resident, "failed": {}}

    def _knows(self, wanted: dict[str, Any]) -> bool:
        self._run_out()
        return self.lease is not None and self.lease["token"] == wanted.get("token")


class Answers(BaseHTTPRequestHandler):
    server: Engine

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def do_GET(self) -> None:
        what = {"/health": "health", "/v1/lease": "lease"}.get(self.path, "")
        engine = self.server
        engine.asked.append((what, {}))
        if not what:
            return self._say(404, b"{}")
        said = engine.health() if what == "health" else engine.status()
        return self._in_manner(what, 200, said)

    def do_POST(self) -> None:
        engine, what = self.server, self.path.removeprefix("/v1/lease/")
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        engine.asked.append((what, wanted))
        if engine.manner.get(what) == "missing" or what not in ("acquire", "renew", "release"):
            return self._say(404, b'{"detail": "Not Found"}')
        if engine.manner.get(what) == "deaf":  # it never heard it
            engine.let_go.wait(30)
            return None
        with engine.lock:
            status, said = getattr(engine, what)(wanted)
        return self._in_manner(what, status, said)

    def _in_manner(self, what: str, status: int, said: dict[str, Any]) -> None:
        manner = self.server.manner.get(what)
        if manner == "mute":  # it did what was asked, and does not say so
            self.server.let_go.wait(30)
        elif manner == "endless":
            self._endless()
        elif manner == "garbage":
            self._say(200, b'{"token": \xff\xfe' + b"[" * 50_000)
        elif manner == "fails":
            self._say(500, b"Internal Server Error")
        elif manner == "no token":
            self._say(200, b'{"lease": {"restore_models": [1, 2]}}')
        else:
            self._say(status, json.dumps(said).encode())

    def _endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while not self.server.let_go.is_set():
                self.wfile.write(b'{"a": "' + b"x" * 65536)
        except OSError:
            pass

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def running() -> Iterator[Engine]:
    engine = Engine()
    thread = threading.Thread(target=engine.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield engine
    finally:
        engine.let_go.set()
        engine.shutdown()
        thread.join(timeout=10)
        engine.server_close()
