"""Can the readers of the registry, rebuilt from contract/body.md 4.3, find us - and does everybody else stay in it?"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from reactord.home import Home
from reactord.ipc import registry
from reactord.ipc.presence import Presence, Status

NOW = 1_795_281_095.0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("JARVIS_REGISTRY_DIR", "JARVIS_LOCK_DIR"):
        monkeypatch.delenv(name, raising=False)
    home = Home(tmp_path)
    home.create()
    return home


@pytest.fixture
def ours() -> Presence:
    return Presence(
        status="ready",
        phase="ready",
        port=8090,
        primary_port=8090,
        version="1.0.0",
        started_at=NOW - 100,
        memory_usage_gb=0.07,
        memory_percent=0.4,
        cpu_percent=0.2,
        active_training_jobs=0,
        model_output_dir="/srv/models",
    )


@dataclass
class ServiceInfo:
    """Body's class, in its strict form: an unknown key or a missing first three raises, for the whole file."""

    service_name: str
    pid: int
    port: int
    host: str = "localhost"
    health_endpoint: str = "/health"
    status: str = "starting"
    registered_at: float = 0.0
    last_heartbeat: float = 0.0
    metadata: dict[str, Any] | None = None
    process_start_time: float = 0.0
    process_name: str = ""
    primary_port: int = 0
    is_fallback_port: bool = False
    fallback_reason: str = ""


def services(home: Home) -> dict[str, Any]:
    found = json.loads((home.registry / "services.json").read_bytes())
    assert isinstance(found, dict)
    return found


def body_reads(home: Home) -> dict[str, ServiceInfo]:
    return {name: ServiceInfo(**entry) for name, entry in services(home).items()}


def body_believes(info: ServiceInfo, now: float) -> bool:
    process = psutil.Process(info.pid)
    same = abs(process.create_time() - info.process_start_time) <= 1 and process.name() == info.process_name
    return same and now - info.last_heartbeat <= 60 and info.status == "healthy"


def set_services(home: Home, content: dict[str, Any]) -> None:
    (home.registry / "services.json").write_text(json.dumps(content))


def test_body_finds_us_under_each_of_our_names(home: Home, ours: Presence) -> None:
    assert registry.register(home, ours, NOW)

    known = body_reads(home)
    assert list(known) == ["reactor-core", "reactor_core", "reactor"]
    assert all(body_believes(info, NOW + 59) for info in known.values())
    assert all(info.service_name == name for name, info in known.items())
    assert not any(info.is_fallback_port for info in known.values())


def test_a_starting_or_troubled_daemon_says_so_in_bodys_words(home: Home, ours: Presence) -> None:
    words: dict[Status, str] = {"starting": "starting", "degraded": "degraded", "stopping": "degraded"}
    for status, word in words.items():
        registry.register(home, replace(ours, status=status), NOW)
        assert body_reads(home)["reactor-core"].status == word


def test_the_entries_of_others_survive_unchanged(home: Home, ours: Presence) -> None:
    theirs = {"jarvis-prime": {"service_name": "jarvis-prime", "pid": 1, "port": 8000, "x": [None, {"y": 1e300}]}}
    set_services(home, theirs)

    registry.register(home, ours, NOW)
    assert services(home)["jarvis-prime"] == theirs["jarvis-prime"]
    registry.withdraw(home, ours, NOW + 1)
    assert services(home) == theirs


def test_an_entry_that_the_other_locking_regime_lost_is_back_with_the_next_beat(home: Home, ours: Presence) -> None:
    registry.register(home, ours, NOW)
    kept = services(home)
    del kept["reactor_core"]
    set_services(home, kept)

    registry.register(home, ours, NOW + 5)

    assert body_believes(body_reads(home)["reactor_core"], NOW + 5)


def test_a_fresh_entry_is_not_written_again_and_an_old_one_is(home: Home, ours: Presence) -> None:
    registry.register(home, ours, NOW)
    inode = (home.registry / "services.json").stat().st_ino

    registry.register(home, ours, NOW + 5)
    assert (home.registry / "services.json").stat().st_ino == inode
    registry.register(home, ours, NOW + 16)
    assert body_reads(home)["reactor"].last_heartbeat == NOW + 16


def test_the_file_is_left_alone_while_a_peer_holds_its_lock(
    home: Home, ours: Presence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "WAIT_S", 0.05)
    with (home.registry / "services.json.lock").open("w") as peer:
        fcntl.flock(peer, fcntl.LOCK_EX)
        assert not registry.register(home, ours, NOW)
        assert not registry.withdraw(home, ours, NOW)
    assert not (home.registry / "services.json").exists()
    assert registry.register(home, ours, NOW)


@pytest.mark.parametrize("broken", ['{"jarvis-prime": {"pid', "[]", "", "null"])
def test_what_cannot_be_read_is_waited_for_and_then_kept_aside(home: Home, ours: Presence, broken: str) -> None:
    path = home.registry / "services.json"
    path.write_text(broken)
    os.utime(path, (NOW - 1, NOW - 1))
    assert not registry.register(home, ours, NOW)
    assert path.read_text() == broken

    assert registry.register(home, ours, NOW + 10)
    assert list(body_reads(home)) == ["reactor-core", "reactor_core", "reactor"]
    (aside,) = home.registry.glob("services.json.broken-*")
    assert aside.read_text() == broken


def test_at_exit_only_entries_with_our_pid_are_removed(home: Home, ours: Presence) -> None:
    registry.register(home, ours, NOW)
    theirs = services(home)["reactor"] | {"pid": ours.pid + 1}
    set_services(home, services(home) | {"reactor": theirs})

    registry.withdraw(home, ours, NOW + 1)

    assert services(home) == {"reactor": theirs}


def test_the_port_file_speaks_only_of_a_fallback_port_and_forgets_it_again(home: Home, ours: Presence) -> None:
    ports = home.registry / "ports.json"
    registry.register(home, ours, NOW)
    assert not ports.exists()

    ports.write_text('{"ports": {"jarvis-prime": {"port": 8001}}, "other": 1}')
    registry.register(home, replace(ours, port=8093), NOW)
    assert json.loads(ports.read_bytes()) == {
        "ports": {
            "jarvis-prime": {"port": 8001},
            "reactor-core": {"port": 8093, "original_port": 8090, "is_fallback": True},
        },
        "other": 1,
    }
    info = body_reads(home)["reactor-core"]
    assert (info.port, info.primary_port, info.is_fallback_port) == (8093, 8090, True)
    assert info.fallback_reason

    registry.withdraw(home, ours, NOW + 1)
    assert json.loads(ports.read_bytes()) == {"ports": {"jarvis-prime": {"port": 8001}}, "other": 1}


def test_the_registry_follows_its_environment_variable(
    home: Home, ours: Presence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JARVIS_REGISTRY_DIR", str(tmp_path / "elsewhere"))

    assert registry.register(home, ours, NOW)

    assert (tmp_path / "elsewhere" / "services.json").exists()
