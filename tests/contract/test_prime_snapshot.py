"""Do we read what Prime says about itself without inventing what it does not say? (contract/prime.md 3.1, 5.4)"""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from reactord.home import Home
from reactord.prime.snapshot import PrimeSnapshot, look, parse_time, resident_bytes

NOW = 1_795_281_095.0


def iso(at: float) -> str:
    return datetime.fromtimestamp(at).isoformat()  # noqa: DTZ006 - Prime writes naive local time


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv("JARVIS_REGISTRY_DIR", raising=False)
    home = Home(tmp_path)
    home.create()
    return home


def component(**more: Any) -> dict[str, Any]:
    return {
        "instance_id": "prime-1",
        "component_type": "j_prime",
        "timestamp": NOW - 3,
        "uptime_seconds": 1000.0,
        "model_loaded": True,
        "model_path": "models/current.gguf",
        "port": 8001,
        "last_inference_time": NOW - 60,
        **more,
    }


def state(**more: Any) -> dict[str, Any]:
    return {
        "instance_id": "prime-1",
        "started_at": iso(NOW - 1003),
        "last_heartbeat": iso(NOW - 20),
        "status": "busy",
        "model_loaded": False,
        "port": 8002,
        "metrics": {"total_requests": 3},
        **more,
    }


def write(path: Path, said: object) -> None:
    path.write_text(json.dumps(said))


def seen(home: Home, **more: Any) -> PrimeSnapshot:
    return look(home, NOW, environ={}, sleep=lambda _: None, **more)


def test_a_prime_that_runs_is_described_by_both_files_and_the_fresher_one_wins(home: Home) -> None:
    write(home.prime_component, component())
    write(home.prime_state, state())

    prime = seen(home)

    assert (prime.status, prime.model_loaded, prime.model_path) == ("busy", True, "models/current.gguf")
    assert (prime.started_at, prime.last_inference_at, prime.heard_at) == (NOW - 1003, NOW - 60, NOW - 3)
    assert (prime.base_url, prime.base_url_from) == ("http://127.0.0.1:8001", "its heartbeat")


def test_a_prime_nobody_has_seen_is_unknown_and_not_zero(home: Home) -> None:
    prime = seen(home)

    unknown = (prime.heard_at, prime.status, prime.model_loaded, prime.pid, prime.rss_bytes, prime.last_inference_at)
    assert unknown == (None,) * 6
    assert (prime.base_url, prime.base_url_from) == ("http://127.0.0.1:8000", "the default")


def test_what_a_silent_prime_once_said_is_not_what_it_does(home: Home) -> None:
    write(home.prime_component, component(timestamp=NOW - 31))
    write(home.prime_state, state(last_heartbeat=iso(NOW - 121), status="ready"))

    prime = seen(home)

    assert (prime.status, prime.model_loaded, prime.model_path) == (None, None, None)
    assert prime.heard_at == NOW - 31
    assert prime.base_url == "http://127.0.0.1:8002"  # an old heartbeat's port is worth less than the state's


def test_zero_as_last_inference_means_never(home: Home) -> None:
    write(home.prime_component, component(last_inference_time=0))
    assert seen(home).last_inference_at is None


def test_a_file_caught_half_written_is_read_again(home: Home) -> None:
    whole = json.dumps(state())
    home.prime_state.write_text(whole[:40])
    pauses = []

    def writer_goes_on(pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) == 2:
            home.prime_state.write_text(whole)

    assert look(home, NOW, environ={}, sleep=writer_goes_on).status == "busy"
    assert pauses == [0.05, 0.05]


@pytest.mark.parametrize("torn", ["", '{"status": "re', "[]", "null", "\x00\x00", "[" * 50_000])
def test_a_file_that_stays_unreadable_leaves_the_last_good_value(home: Home, torn: str) -> None:
    write(home.prime_component, component())
    before = seen(home)
    home.prime_component.write_text(torn)

    assert seen(home, last=before).model_path == "models/current.gguf"
    assert seen(home).model_path is None


def test_a_file_that_is_gone_is_not_remembered(home: Home) -> None:
    write(home.prime_component, component())
    before = seen(home)
    home.prime_component.unlink()

    assert seen(home, last=before).model_path is None


def test_bodys_placeholder_is_not_prime(home: Home) -> None:
    write(home.cross_repo / "prime_state.json", {"repo_type": "jarvis_prime", "status": "offline"})
    assert seen(home).heard_at is None


def test_values_of_a_wrong_type_are_unknown(home: Home) -> None:
    write(
        home.prime_component,
        component(model_loaded="yes", model_path=7, port="8001", uptime_seconds=10**400, last_inference_time=[]),
    )
    write(home.prime_state, state(port=True, status=None, started_at="long ago"))

    prime = seen(home)

    assert (prime.model_loaded, prime.model_path, prime.status, prime.started_at) == (None, None, None, None)
    assert prime.base_url == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"JARVIS_PRIME_URL": "http://10.0.0.5:8001/", "JARVIS_PRIME_PORT": "9"}, "http://10.0.0.5:8001"),
        ({"JARVIS_PRIME_PORT": "8011"}, "http://127.0.0.1:8011"),
        ({"JARVIS_PRIME_PORT": "http"}, "http://127.0.0.1:8000"),
        ({"JARVIS_PRIME_URL": "file:///etc/passwd"}, "http://127.0.0.1:8000"),
    ],
)
def test_the_environment_says_where_prime_is_when_no_file_does(home: Home, environ: dict[str, str], url: str) -> None:
    assert look(home, NOW, environ=environ).base_url == url
    write(home.prime_state, state())
    assert look(home, NOW, environ=environ).base_url == "http://127.0.0.1:8002"


def test_memory_is_measured_on_the_process_that_the_registry_names(home: Home) -> None:
    me = psutil.Process()
    entry = {"pid": me.pid, "process_start_time": me.create_time() + 1.5, "port": 8000}
    write(home.registry / "services.json", {"jarvis-prime": entry})

    prime = seen(home)

    assert prime.pid == os.getpid()
    assert prime.rss_bytes is not None
    assert prime.rss_bytes > 1 << 20


def test_a_reused_pid_is_somebody_else(home: Home) -> None:
    entry = {"pid": os.getpid(), "process_start_time": psutil.Process().create_time() - 100}
    write(home.registry / "services.json", {"jarvis_prime": entry})

    assert seen(home).rss_bytes is None
    assert resident_bytes(2**22 + 1, None) is None
    assert resident_bytes(-5, None) is None
    assert resident_bytes(2**70, None) is None


def test_times_are_read_in_every_form_that_prime_and_body_write() -> None:
    assert parse_time(NOW) == parse_time(int(NOW)) == parse_time(NOW * 1000) == parse_time(iso(NOW)) == NOW
    assert parse_time("2026-11-21T17:11:35+00:00") == NOW
    nothings: list[object] = [None, "", "soon", True, 0, -1, float("nan"), float("inf"), 10**400, [], {}]
    for nothing in nothings:
        assert parse_time(nothing) is None
