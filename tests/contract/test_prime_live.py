"""Do we know whether Prime serves our model, and do we never break a Prime by asking?

The server is rebuilt from contract/prime.md 5.1: a reload while a model is loaded kills it for good.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from reactord.prime import live
from reactord.prime.live import Health, ask, check, judge, load

NOW = 1_795_281_095.0


class Prime(ThreadingHTTPServer):
    """run_server.py as it is; `routes` False for an entry point without the reload route."""

    daemon_threads = True

    def __init__(self, model_path: str | None, *, routes: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.model_path, self.routes = model_path, routes
        self.executor_shut = False
        self.posts: list[dict[str, Any]] = []
        self.health: bytes | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    server: Prime

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        prime = self.server
        said = {
            "status": "healthy",
            "model_loaded": prime.model_path is not None,
            "model_path": prime.model_path,
            "ready_for_inference": prime.model_path is not None,
        }
        self.answer(200, prime.health if prime.health is not None else json.dumps(said).encode())

    def do_POST(self) -> None:
        prime = self.server
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prime.posts.append(said)
        if not prime.routes:
            return self.answer(404, b"{}")
        if prime.model_path is not None:
            prime.model_path, prime.executor_shut = None, True
        if prime.executor_shut:
            return self.answer(500, b'{"detail": "cannot schedule new futures after shutdown"}')
        if not Path(said["model_path"]).exists():
            return self.answer(404, b"{}")
        prime.model_path = said["model_path"]
        return self.answer(200, b'{"status": "ok"}')


@contextmanager
def running(prime: Prime) -> Iterator[Prime]:
    thread = threading.Thread(target=prime.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield prime
    finally:
        prime.shutdown()
        thread.join(timeout=10)
        prime.server_close()


@pytest.fixture
def placed(tmp_path: Path) -> Path:
    """Our file, and current.gguf pointing at it since NOW."""
    path = tmp_path / "jarvis-openhermes-v1.1-auto-2026-11-21.gguf"
    path.write_bytes(b"GGUF")
    (tmp_path / "current.gguf").symlink_to(path.name)
    os.utime(tmp_path / "current.gguf", (NOW, NOW), follow_symlinks=False)
    return path


def test_a_prime_that_loaded_our_file_by_name_is_live(placed: Path) -> None:
    with running(Prime(str(placed))) as prime:
        assert check(prime.url, placed, None).state == "live"
        assert prime.posts == []


def test_a_prime_that_sees_the_directory_under_another_path_is_live_too(placed: Path) -> None:
    with running(Prime(f"/app/models/{placed.name}")) as prime:
        assert check(prime.url, placed, None).state == "live"


def test_a_link_proves_something_only_to_a_prime_that_started_after_it_was_set(placed: Path) -> None:
    with running(Prime("models/current.gguf")) as prime:
        assert check(prime.url, placed, NOW + 5).state == "live"
        for before in (NOW - 5, None):
            verdict = check(prime.url, placed, before)
            assert verdict.state == "restart_required"
            assert "restart" in verdict.reason


def test_a_prime_with_another_model_needs_a_restart_and_gets_no_post(placed: Path) -> None:
    with running(Prime("/models/old.gguf")) as prime:
        verdict = load(prime.url, placed, "jarvis", "v1.1")
        assert verdict.state == "restart_required"
        assert "old.gguf" in verdict.reason
        assert prime.posts == []
        assert prime.model_path == "/models/old.gguf"  # still serving


def test_a_link_that_points_elsewhere_is_somebody_elses_model(placed: Path) -> None:
    (placed.parent / "current.gguf").unlink()
    (placed.parent / "current.gguf").symlink_to("other.gguf")
    with running(Prime(str(placed.parent / "current.gguf"))) as prime:
        verdict = check(prime.url, placed, NOW + 5)
        assert (verdict.state, "other.gguf" in verdict.reason) == ("restart_required", True)


def test_an_empty_prime_is_asked_once_to_load_and_is_then_live(placed: Path) -> None:
    with running(Prime(None)) as prime:
        assert check(prime.url, placed, None).state == "awaiting_prime"
        assert load(prime.url, placed, "jarvis-openhermes", "v1.1-auto-2026-11-21").state == "live"
        assert load(prime.url, placed, "jarvis-openhermes", "v1.1-auto-2026-11-21").state == "live"
        assert prime.posts == [
            {
                "model_path": str(placed),
                "model_version": "v1.1-auto-2026-11-21",
                "model_id": "jarvis-openhermes",
            }
        ]


def test_a_prime_without_the_route_is_waited_for_and_a_broken_one_is_to_be_restarted(placed: Path) -> None:
    with running(Prime(None, routes=False)) as prime:
        assert load(prime.url, placed, "m", "v").state == "awaiting_prime"
    broken = Prime(None)
    broken.executor_shut = True
    with running(broken) as prime:
        assert load(prime.url, placed, "m", "v").state == "restart_required"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"[]",
        b"not json",
        b"{}",
        b'{"model_loaded": null}',
        b'{"model_loaded": "true"}',
        b'{"model_loaded": 0}',
        b"x" * 200_000,
        b"[" * 60_000,
    ],
)
def test_a_health_that_says_nothing_clear_is_never_followed_by_a_post(placed: Path, said: bytes) -> None:
    prime = Prime(None)
    prime.health = said
    with running(prime):
        assert load(prime.url, placed, "m", "v").state == "awaiting_prime"
        assert prime.posts == []


def test_nobody_there_is_awaited_with_the_reason_in_words(placed: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    verdict = check(f"http://127.0.0.1:{port}", placed, None)

    assert verdict.state == "awaiting_prime"
    assert f"does not answer at http://127.0.0.1:{port}" in verdict.reason
    assert placed.name in verdict.reason
    assert "JARVIS_PRIME_URL" in check("http://127.0.0.1:not-a-port", placed, None).reason


def test_a_prime_that_accepts_and_drips_is_left_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            peer, _ = server.accept()
            with peer:
                try:
                    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
                    for _ in range(100):
                        peer.sendall(b" ")
                        time.sleep(0.05)
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        before = time.monotonic()
        answer = ask(f"http://127.0.0.1:{server.getsockname()[1]}", deadline_s=0.4)
        assert time.monotonic() - before < 2
        assert isinstance(answer, str)
        thread.join(timeout=10)


def test_what_prime_does_not_say_is_not_taken_for_granted(placed: Path) -> None:
    assert judge(Health(True, None, True), placed, NOW + 5).state == "restart_required"
    assert judge(Health(True, str(placed), False), placed, NOW + 5).state == "awaiting_prime"
    assert judge(Health(True, str(placed), None), placed, NOW + 5).state == "live"


def test_the_only_method_that_posts_is_load() -> None:
    source = Path(live.__file__).read_text()
    assert source.count('"POST"') == 1
