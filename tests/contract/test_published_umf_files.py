"""Is a message a whole file, ours alone, and removed in time - and does nobody else lose one?"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from support.disks import FailingDisk
from support.fabric_reader import FileTransport, Heard
from support.fabric_sender import NOW, announce_all, files, opened, ready_model, we

from reactord import durable
from reactord.home import Home
from reactord.ipc import announce, presence
from reactord.ipc.announce import ReadyModel

DAY_S = 86_400.0


@pytest.fixture
def base(home: Home, monkeypatch: pytest.MonkeyPatch) -> Path:
    return opened(home, monkeypatch)


@pytest.fixture
def model(tmp_path: Path) -> ReadyModel:
    return ready_model(tmp_path)


def test_directories_and_files_are_ours_alone(home: Home, base: Path) -> None:
    was = os.umask(0)
    try:
        presence.write_heartbeats(home, we(), NOW)
    finally:
        os.umask(was)

    modes = [stat.S_IMODE(path.stat().st_mode) for path in (base, base / "lifecycle", *files(base))]
    assert modes == [0o700, 0o700, 0o600]


def test_its_reader_never_sees_half_a_message(home: Home, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = FileTransport(base)
    heard: list[Heard] = []
    lying: list[str] = []

    def look(number: int, call: str) -> None:
        if base.exists():
            lying.extend(path.name for path in files(base) if path.suffix != ".json")
            heard.extend(transport.receive("event"))

    disk = FailingDisk(write_at_most=100)
    disk.before = disk.after = look
    monkeypatch.setattr(durable, "disk", disk)
    announce.gate_evaluated(home, "job-42", {"reasons": ["x" * 1000]}, NOW)

    assert lying
    assert (len(heard), transport.stumbled) == (1, 0)


def test_ours_are_removed_in_time_and_nobody_elses_ever(home: Home, base: Path, model: ReadyModel) -> None:
    announce_all(home, model)
    presence.write_heartbeats(home, we(), NOW)
    (heartbeat,) = (base / "lifecycle").iterdir()
    (base / "lifecycle" / f".{heartbeat.name}.4711.tmp").touch()
    (base / "lifecycle" / heartbeat.name.replace("1795281095", "1795281096")).touch()  # what a power cut leaves
    (base / "telemetry").mkdir()
    strangers = [
        base / "event" / f"001795281095125_{'ab' * 16}.json",
        base / "lifecycle" / "001795281095125_reactord.json",
        base / "lifecycle" / f"{heartbeat.name}.tmp",
        base / "telemetry" / heartbeat.name,
        base / heartbeat.name,
    ]
    for path in strangers:
        path.touch()

    assert announce.expire(home, NOW + 200) == 1  # the empty one
    assert announce.expire(home, NOW + 3600) == 5  # the ordinary copies of model_ready, that nobody fetched
    assert heartbeat.exists()
    assert announce.expire(home, NOW + 3601) == 2
    assert announce.expire(home, NOW + DAY_S) == 0
    assert len(FileTransport(base).receive("event")) == 5
    assert announce.expire(home, NOW + DAY_S + 5) == 5
    assert announce.expire(home, NOW + 9 * DAY_S) == 0
    assert files(base) == sorted(strangers)


def test_a_message_that_its_reader_cleaned_up_meanwhile_is_no_trouble(
    home: Home, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    presence.write_heartbeats(home, we(), NOW)
    real = Path.iterdir

    def gone_meanwhile(self: Path) -> Any:
        for path in list(real(self)):
            path.unlink()
            yield path

    monkeypatch.setattr(Path, "iterdir", lambda self: gone_meanwhile(self) if base in self.parents else real(self))
    assert announce.expire(home, NOW + 1) == 0
