"""Do Body's bus and Body's bridge adapter get what we announce? (contract/body.md 4.4, 4.5)"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from support.event_readers import NOW, BodysBus, fresh_home, model_ready_document, ready_model

from reactord import durable
from reactord.home import Home
from reactord.ipc import announce
from reactord.ipc.announce import ReadyModel


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    return fresh_home(tmp_path, monkeypatch)


@pytest.fixture
def model(tmp_path: Path) -> ReadyModel:
    return ready_model(tmp_path)


# -- Body's bus (body.md 4.4) ------------------------------------------------------------------------------------------


def test_bodys_bus_gets_the_whole_life_of_a_training_in_one_read(home: Home, model: ReadyModel) -> None:
    announce.training(home, "started", "job-42", {"total_steps": 24}, NOW)
    announce.training(home, "progress", "job-42", {"progress": 50.0, "loss": 0.7}, NOW + 1)
    announce.training(home, "progress", "job-42", {"progress": 60.0, "loss": 0.6}, NOW + 2)
    announce.training(home, "completed", "job-42", {"metrics": {"loss": 0.5}}, NOW + 3)
    announce.training(home, "failed", "job-43", {"error": "no room \u2028 on the disk\n"}, NOW + 4)
    announce.model_ready(home, model, NOW + 5)

    delivered = BodysBus(home.bus_lines).poll()

    assert [event["topic"] for event in delivered] == [
        "training.started",
        "training.progress",
        "training.progress",
        "training.completed",
        "training.failed",
        "model.ready",
    ]
    assert delivered[-1]["payload"] == {
        "job_id": "job-42",
        "model_id": "jarvis-openhermes",
        "model_version": "v1.0-auto-2026-11-21",
        "version": "v1.0-auto-2026-11-21",
        "model_path": str(model.path),
        "metrics": {"loss": 0.5, "preference_accuracy": 0.93},
    }
    assert all(type(event["priority"]) is int and event["correlation_id"] for event in delivered)


def test_the_fake_bus_does_lose_the_good_line_before_a_bad_one(home: Home) -> None:
    announce.training(home, "started", "job-42", {}, NOW)
    bad = json.loads(home.bus_lines.read_text()) | {"event_id": "x", "source": "reactor_core"}
    with home.bus_lines.open("a") as file:
        file.write(json.dumps(bad) + "\n")
    bus = BodysBus(home.bus_lines)

    with pytest.raises(ValueError, match="reactor_core"):
        bus.poll()
    assert len(bus.processed) == 2
    assert bus.poll() == []  # the good one counts as processed: lost


def test_a_line_is_one_write_and_ends_a_torn_one_first(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.bus_lines.write_text('{"event_id": "torn by a full di')
    writes = []
    real = durable.disk.write

    def write(descriptor: int, data: Any, /) -> int:
        writes.append(bytes(data))
        return real(descriptor, data)

    monkeypatch.setattr(durable.disk, "write", write)
    announce.training(home, "started", "job-42", {}, NOW)
    announce.training(home, "progress", "job-42", {}, NOW)

    on_the_bus = [line for line in writes if b'"target"' in line]
    assert [line.startswith(b"\n") for line in on_the_bus] == [True, False]
    assert len(on_the_bus) == 2
    assert len(BodysBus(home.bus_lines).poll()) == 2


def test_a_diverged_loss_becomes_null_and_costs_nobody_the_line(home: Home) -> None:
    announce.training(home, "progress", "job-42", {"loss": float("nan"), "curve": [1.0, float("-inf")]}, NOW)

    (event,) = BodysBus(home.bus_lines).poll()
    assert event["payload"] == {"job_id": "job-42", "status": "progress", "loss": None, "curve": [1.0, None]}


# -- Body's bridge adapter (body.md 4.5): real inotify -----------------------------------------------------------------


IN_MODIFY, IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE = 0x2, 0x8, 0x40, 0x80, 0x100


class Inotify:
    """The kernel's own events of one directory."""

    def __init__(self, directory: Path) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self.libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        mask = IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE
        assert self.libc.inotify_add_watch(self.descriptor, os.fsencode(directory), mask) >= 0

    def events(self) -> list[tuple[int, str]]:
        try:
            raw = os.read(self.descriptor, 1 << 16)
        except BlockingIOError:
            return []
        found = []
        while raw:
            _, mask, _, length = struct.unpack_from("iIII", raw)
            found.append((mask, raw[16 : 16 + length].rstrip(b"\0").decode()))
            raw = raw[16 + length :]
        return found

    def close(self) -> None:
        os.close(self.descriptor)


def adapter_sees(events: list[tuple[int, str]]) -> list[str]:
    """A create without a write after it, or a move from elsewhere; in-directory renames and direct writes are lost."""
    moved_from_here = any(mask & IN_MOVED_FROM for mask, _ in events)
    written = {name for mask, name in events if mask & (IN_MODIFY | IN_CLOSE_WRITE)}
    return [
        name
        for mask, name in events
        if ((mask & IN_CREATE and name not in written) or (mask & IN_MOVED_TO and not moved_from_here))
        and name.endswith(".json")
        and not name.startswith((".", "_"))
    ]


CRITICAL = {"model_ready", "model_validated", "model_failed", "model_rollback", "training_complete", "hot_swap_model"}


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_bodys_adapter_sees_the_linked_event_and_only_that_one(home: Home, model: ReadyModel) -> None:
    watch = Inotify(home.model_events)
    try:
        announce.model_ready(home, model, NOW)
        seen = adapter_sees(watch.events())
    finally:
        watch.close()

    (name,) = seen
    said = json.loads((home.model_events / name).read_bytes())
    assert str(said.get("event_type") or said.get("type")).lower() in CRITICAL
    assert len(list(home.model_events.glob("*.json"))) == 2  # the other is Prime's, renamed in place


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_bodys_adapter_does_not_eat_what_is_meant_for_primes_bus(home: Home, model: ReadyModel) -> None:
    watch = Inotify(home.events)
    try:
        announce.model_ready(home, model, NOW)
        assert adapter_sees(watch.events()) == []
    finally:
        watch.close()
    assert len(list(home.events.glob("*.json"))) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_the_fake_adapter_is_blind_to_a_direct_write(home: Home) -> None:
    watch = Inotify(home.model_events)
    try:
        (home.model_events / "1_x.json").write_text("{}")
        assert adapter_sees(watch.events()) == []
    finally:
        watch.close()


def test_every_parser_of_body_finds_its_form_in_the_one_document(home: Home, model: ReadyModel) -> None:
    announce.model_ready(home, model, NOW)
    said = model_ready_document(home)

    # the feedback receiver: flat
    assert (said["type"], said["model_id"], said["version"]) == ("MODEL_READY", model.model_id, model.version)
    assert isinstance(said["capabilities"], dict)
    # the sequenced event: nested, clocked
    assert said["vector_clock"] == {"reactor_core": said["sequence_number"]}
    assert said["event_id"].startswith(f"reactor_core:{said['sequence_number']}:")
    assert (said["source_repo"], said["source"], said["causally_depends_on"]) == ("reactor_core", "reactor", [])
    assert isinstance(said["timestamp"], float)
    # the coordinator: the file is there, the loss is known
    payload = said["payload"]
    assert Path(payload["model_path"]).exists()
    assert payload["gguf_path"] == payload["model_path"]
    assert payload["metrics"]["loss"] == said["metrics"]["loss"] == 0.5
    assert payload["checksum"] == "sha256:" + "ab" * 32
    assert {"model_name", "model_version", "model_type", "training_id", "config"} <= set(payload)
