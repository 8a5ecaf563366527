"""Do the readers of Body and Prime, rebuilt from contract/body.md 4.1, 4.2, 6.6 and prime.md 3.2, find us alive?"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from reactord import durable
from reactord.home import Home
from reactord.ipc import announce, dlm, presence
from reactord.ipc.presence import Presence
from reactord.ipc.registry import register

NOW = 1_795_281_095.25


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("JARVIS_REGISTRY_DIR", "JARVIS_LOCK_DIR"):
        monkeypatch.delenv(name, raising=False)
    home = Home(tmp_path / "jarvis")
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
        metrics={"jobs_completed": 3},
    )


def publish_everything(home: Home, ours: Presence, now: float = NOW) -> None:
    presence.write_heartbeats(home, ours, now)
    assert presence.share_heartbeat(home, ours, now)
    presence.write_state(home, ours, now)
    assert register(home, ours, now)


def read(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_bytes())
    assert isinstance(found, dict)
    return found


# -- the readers, as the contract describes them ---------------------------------------------------------------------


def orphan_detector_kills(home: Home, now: float, stale_s: float = 60) -> list[Path]:
    """body.md 6.6: a live pid with a missing or old timestamp is shot; a timestamp that is text crashes the scan."""
    shot = []
    for directory in (home.trinity / "heartbeats", home.trinity / "components", home.cross_repo):
        for path in directory.glob("*.json"):
            said = read(path)
            if psutil.pid_exists(said.get("pid", 0) or -1) and now - said.get("timestamp", 0) > stale_s:
                shot.append(path)
    return shot


def trinity_ipc_says_ready(path: Path, now: float) -> bool:
    said = read(path)
    return now - said["timestamp"] <= 15 and psutil.pid_exists(said["pid"]) and said["status"] == "ready"


def prime_says_fresh(path: Path, now: float) -> bool:
    said = read(path)
    assert {"port", "pid", "model_loaded", "last_inference_time"} <= set(said)
    return bool(now - float(said["timestamp"]) < 30)


def atc_lets_body_train(home: Home) -> bool:
    """A null anywhere raises, and Body then assumes 32 GB free of the 40 it wants."""
    try:
        said = read(home.reactor_state)
        free = 64 - 0 - (said["memory_usage_gb"] + 0)
        return bool(said["active_training_jobs"] + 0 == 0 and free >= 40 and said["cpu_percent"] + 0 < 100)
    except TypeError:
        return False


def shared_heartbeat_is_fresh(home: Home, now: float) -> bool:
    """Subtracts naive times: a zone raises."""
    said = read(home.shared_heartbeat)["reactor_core"]
    return (datetime.fromtimestamp(now) - datetime.fromisoformat(said["timestamp"])).total_seconds() < 30  # noqa: DTZ006


def answers_on(port: object) -> bool:
    assert isinstance(port, int)
    with socket.create_connection(("localhost", port), timeout=2):
        return True


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("localhost", 0)) as server:
        yield server.getsockname()[1]


# -- what they find ------------------------------------------------------------------------------------------------


def test_every_reader_of_heartbeats_finds_us_alive_and_ready(home: Home, ours: Presence) -> None:
    publish_everything(home, ours)

    assert len(home.heartbeats) == 6
    for path in home.heartbeats:
        assert trinity_ipc_says_ready(path, NOW + 14.9)
        assert prime_says_fresh(path, NOW + 29)
    assert shared_heartbeat_is_fresh(home, NOW + 29)


def test_the_orphan_detector_shoots_nobody_while_we_beat(home: Home, ours: Presence) -> None:
    publish_everything(home, ours)

    assert read(home.reactor_state)["pid"] == os.getpid()
    assert orphan_detector_kills(home, NOW + 30) == []


def test_the_fake_detector_does_shoot_what_the_contract_says_it_shoots(home: Home, ours: Presence) -> None:
    publish_everything(home, ours)
    state = read(home.reactor_state)
    del state["timestamp"]
    home.reactor_state.write_text(json.dumps(state))

    assert orphan_detector_kills(home, NOW) == [home.reactor_state]


def test_body_may_train_while_we_are_idle_and_not_while_we_train(home: Home, ours: Presence) -> None:
    publish_everything(home, ours)
    assert atc_lets_body_train(home)
    assert read(home.reactor_state)["status"] == "ready"

    presence.write_state(home, replace(ours, active_training_jobs=1, memory_usage_gb=3.5), NOW + 1)
    assert not atc_lets_body_train(home)
    assert read(home.reactor_state)["status"] == "active"


def test_the_state_holds_the_union_of_what_body_and_prime_read(home: Home, ours: Presence) -> None:
    publish_everything(home, ours)

    state = read(home.reactor_state)
    assert isinstance(state["timestamp"], float)
    for key in ("last_update", "last_heartbeat", "updated_at"):
        assert datetime.fromisoformat(state[key]).tzinfo is None
        assert not state[key].endswith("Z")
    assert state["repo_type"] == "reactor_core"
    assert state["capabilities"] == {"training": True, "fine-tuning": True}
    assert (state["metrics"], state["errors"]) == ({"jobs_completed": 3}, [])
    assert state["model_output_dir"] == "/srv/models"
    assert all(isinstance(state[key], int | float) for key in ("memory_usage_gb", "cpu_percent", "port", "pid"))


def test_a_daemon_that_starts_or_is_in_trouble_does_not_say_ready(home: Home, ours: Presence) -> None:
    for status in ("starting", "degraded", "stopping"):
        publish_everything(home, replace(ours, status=status, phase=status, active_training_jobs=1))
        assert not trinity_ipc_says_ready(home.heartbeats[1], NOW)
        assert read(home.reactor_state)["status"] == status


def test_whoever_looks_for_our_port_finds_it(home: Home, ours: Presence, listening: int) -> None:
    publish_everything(home, replace(ours, port=listening))

    assert all(answers_on(read(path)["port"]) for path in (*home.heartbeats, home.reactor_state))
    assert all(answers_on(entry["port"]) for entry in read(home.registry / "services.json").values())
    assert answers_on(read(home.registry / "ports.json")["ports"]["reactor-core"]["port"])


def test_the_other_repositories_keep_their_keys_in_the_shared_heartbeat(home: Home, ours: Presence) -> None:
    theirs = {"jarvis": {"timestamp": "2026-11-21T10:00:00"}, "jarvis_prime": {"load": float("nan")}, "note": [1]}
    home.shared_heartbeat.write_text(json.dumps(theirs))

    assert presence.share_heartbeat(home, ours, NOW)
    presence.withdraw(home, ours, NOW)

    assert str(read(home.shared_heartbeat)) == str(theirs)  # as text: nan is not equal to itself


def test_the_shared_heartbeat_is_left_alone_while_a_peer_holds_its_lock(home: Home, ours: Presence) -> None:
    lease = dlm.claim(home.locks, "heartbeat", 20, NOW)
    assert isinstance(lease, dlm.Lease)
    home.shared_heartbeat.write_text('{"jarvis": 1}')

    assert not presence.share_heartbeat(home, ours, NOW)
    assert home.shared_heartbeat.read_text() == '{"jarvis": 1}'
    lease.release()
    assert presence.share_heartbeat(home, ours, NOW)
    assert dlm.holder(home.locks, "heartbeat") is None


def test_a_half_written_shared_file_is_waited_for_and_then_set_aside(home: Home, ours: Presence) -> None:
    home.shared_heartbeat.write_text('{"jarvis": {"sta')
    os.utime(home.shared_heartbeat, (NOW - 1, NOW - 1))
    assert not presence.share_heartbeat(home, ours, NOW)

    assert presence.share_heartbeat(home, ours, NOW + 10)
    assert shared_heartbeat_is_fresh(home, NOW + 10)
    (broken,) = home.cross_repo.glob("heartbeat.json.broken-*")
    assert broken.read_text() == '{"jarvis": {"sta'


def test_a_stuck_lock_cannot_make_us_look_dead(home: Home, ours: Presence) -> None:
    lease = dlm.claim(home.locks, "reactor_state", 20, NOW)
    assert isinstance(lease, dlm.Lease)

    presence.write_state(home, ours, NOW)

    assert read(home.reactor_state)["timestamp"] == NOW


def test_after_goodbye_nothing_carries_our_pid_and_the_state_says_offline(home: Home, ours: Presence) -> None:
    publish_everything(home, ours)
    somebody_else = read(home.heartbeats[0]) | {"pid": 1}
    home.heartbeats[0].write_text(json.dumps(somebody_else))

    presence.withdraw(home, ours, NOW + 1)

    assert [path.exists() for path in home.heartbeats] == [True, False, False, False, False, False]
    state = read(home.reactor_state)
    assert state["status"] == "offline"
    assert "pid" not in state
    assert orphan_detector_kills(home, NOW + 10_000) == [home.heartbeats[0]]  # theirs, not ours
    assert "reactor_core" not in read(home.shared_heartbeat)


def test_one_place_that_cannot_be_written_does_not_stop_the_others(home: Home, ours: Presence) -> None:
    home.heartbeats[0].mkdir()

    with pytest.raises(OSError, match=r"reactor_core\.json"):
        presence.write_heartbeats(home, ours, NOW)

    assert all(trinity_ipc_says_ready(path, NOW) for path in home.heartbeats[1:])


def test_heartbeats_are_replaced_whole_and_never_fsynced(
    home: Home, ours: Presence, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(durable.disk, "fsync", synced.append)
    before: dict[Path, int] = {}
    for beat in range(2):
        presence.write_heartbeats(home, ours, NOW + beat)
        inodes = {path: path.stat().st_ino for path in home.heartbeats}
        assert all(inodes[path] != before.get(path) for path in inodes)  # a rename, so that nobody reads half of it
        before = inodes

    assert synced == []
    assert not list(home.root.rglob("*.tmp"))


def test_a_pipe_in_the_place_of_a_file_is_shown_and_never_waited_for(home: Home, ours: Presence) -> None:
    for path in (home.shared_heartbeat, home.bus_lines):
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(path)

    with pytest.raises(OSError, match="not a regular file"):
        presence.share_heartbeat(home, ours, NOW)
    with pytest.raises(OSError, match="not a regular file"):
        announce.training(home, "started", "job-1", {}, NOW)


def test_a_number_that_is_none_is_refused_here_and_not_found_by_body(home: Home, ours: Presence) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        presence.write_state(home, replace(ours, cpu_percent=float("nan")), NOW)
    assert not home.reactor_state.exists()
    assert dlm.holder(home.locks, "reactor_state") is None
