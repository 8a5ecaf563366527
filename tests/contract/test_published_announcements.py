"""Does every reader of model and training events, rebuilt from its contract, get what we announce?

contract/body.md 4.4, 4.5; contract/prime.md 3.3, 3.6 and section 7 rows 7, 14, 15, 16; contract/lifecycle.md 11.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import struct
import sys
from dataclasses import replace
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from reactord import durable
from reactord.errors import BadInput
from reactord.home import Home
from reactord.ipc import announce
from reactord.ipc.announce import ReadyModel
from reactord.ipc.doors import entrances

NOW = 1_795_281_095.125


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv("REACTOR_PIPELINE_EVENTS_DIR", raising=False)
    home = Home(tmp_path / "jarvis")
    home.create()
    return home


@pytest.fixture
def model(tmp_path: Path) -> ReadyModel:
    path = tmp_path / "jarvis-openhermes-v1.0-auto-2026-11-21.gguf"
    path.write_bytes(b"GGUF")
    return ReadyModel(
        job_id="job-42",
        model_id="jarvis-openhermes",
        version="v1.0-auto-2026-11-21",
        path=path,
        sha256="ab" * 32,
        base_model="smollm2-135m-instruct",
        metrics={"loss": 0.5, "preference_accuracy": 0.93, "neutral_perplexity": float("nan")},
        ready_at=NOW - 3,
        config={"learning_rate": 5e-4, "worst": float("inf")},
    )


# -- Body's bus (body.md 4.4) ------------------------------------------------------------------------------------------


class Repo(Enum):
    JARVIS = "jarvis"
    PRIME = "prime"
    REACTOR = "reactor"
    BROADCAST = "broadcast"


class Priority(Enum):
    CRITICAL = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3


class BodysBus:
    """Reads everything, then empties the file. A wrong enum or type raises, and the good lines before it are lost."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.processed: set[str] = set()

    def poll(self) -> list[dict[str, Any]]:
        delivered = []
        for line in self.path.read_text().splitlines():
            try:
                said = json.loads(line)
                event_id, topic = said["event_id"], said["topic"]
            except (json.JSONDecodeError, KeyError):
                continue
            if event_id in self.processed:
                continue
            self.processed.add(event_id)
            source, _, _ = Repo(said["source"]), Repo(said["target"]), Priority(said["priority"])
            at = datetime.fromisoformat(said["timestamp"])
            if source is Repo.JARVIS or at.tzinfo is not None:
                continue
            delivered.append({"topic": topic, **said})
        self.path.write_text("")
        return delivered


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


def model_ready_document(home: Home) -> dict[str, Any]:
    for path in home.model_events.glob("*.json"):
        said = json.loads(path.read_bytes())
        if said["event_type"] == "MODEL_READY":
            assert isinstance(said, dict)
            return said
    raise AssertionError("no MODEL_READY")


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


# -- Prime's bus and adapter (prime.md 3.3, 3.6) -----------------------------------------------------------------------

COMPONENTS = {"orchestrator", "jarvis_body", "jarvis_prime", "reactor_core", "event_bus", "*"}
ROUTER_WORDS = {"text_generation", "code_generation", "chat", "reasoning", "instruction_following"}


class PrimesBus:
    """One reader: its inbox and the broadcasts, in name order. What it reads is gone for the others."""

    def __init__(self, home: Home, component: str) -> None:
        self.component = component
        self.directories = (home.trinity / "inbox" / component, home.events)
        self.seen: set[str] = set()

    def poll(self, now: float) -> list[dict[str, Any]]:
        delivered = []
        for directory in self.directories:
            for path in sorted(directory.glob("*.json")):
                said = json.loads(path.read_bytes())
                if said["event_id"] in self.seen or now - said["timestamp"] > 300:
                    path.unlink()
                    continue
                assert {said["source"], said["target"]} <= COMPONENTS  # unknown: the file stays for ever
                assert said["priority"] in range(5)
                assert said["event_type"] == "model_ready"
                if said["target"] not in (self.component, "*"):
                    continue
                self.seen.add(said["event_id"])
                delivered.append(said)
                path.unlink()
        return delivered


def test_each_of_primes_readers_handles_the_model_once_whoever_polls_first(home: Home, model: ReadyModel) -> None:
    for first, second in (("orchestrator", "jarvis_body"), ("jarvis_body", "orchestrator")):
        announce.model_ready(home, model, NOW)
        buses = [PrimesBus(home, first), PrimesBus(home, second)]
        events = [bus.poll(NOW + 0.5) for bus in buses] + [bus.poll(NOW + 1) for bus in buses]
        assert [len(delivered) for delivered in events] == [1, 1, 0, 0]
        payload = events[0][0]["payload"]
        assert Path(payload["model_path"]).is_absolute()
        assert set(payload["capabilities"]) <= ROUTER_WORDS
        assert payload["model_type"] == "llm"
        assert list(home.events.glob("*.json")) == []


def test_names_on_primes_bus_sort_by_priority_and_time(home: Home, model: ReadyModel) -> None:
    announce.model_ready(home, model, NOW)

    (path,) = home.events.glob("*.json")
    priority, stamp, event_id = path.stem.split("_")
    assert (priority, int(stamp)) == ("1", int(NOW * 1000))
    assert len(stamp) == 15
    assert event_id == json.loads(path.read_bytes())["event_id"]


ADAPTER_TYPES = {"training_start", "training_complete", "training_failed", "model_updated", "service_up"}


def primes_adapter_reads(directory: Path, known: set[str]) -> list[dict[str, Any]]:
    """Polls; drops unknown types and equal payloads; deletes everything."""
    delivered = []
    for path in sorted(directory.glob("*.json")):
        said = json.loads(path.read_bytes())
        path.unlink()
        content = f"{said['event_type']}:{said['source']}:{json.dumps(said['payload'], sort_keys=True)}"
        digest = hashlib.md5(content.encode()).hexdigest()
        if said["event_type"] in ADAPTER_TYPES and digest not in known:
            known.add(digest)
            delivered.append(said)
    return delivered


def test_primes_adapter_learns_of_each_model_once(home: Home, model: ReadyModel) -> None:
    known: set[str] = set()
    announce.model_ready(home, model, NOW)
    assert len(primes_adapter_reads(home.model_events, known)) == 1

    announce.model_ready(home, model, NOW + 60)  # again, after a crash: the same announcement
    assert primes_adapter_reads(home.model_events, known) == []

    announce.model_ready(home, replace(model, version="v1.1-rollback-2026-11-22"), NOW + 90)  # the same weights
    (said,) = primes_adapter_reads(home.model_events, known)
    assert said["payload"]["metadata"]["version"] == "v1.1-rollback-2026-11-22"


def test_announcing_again_after_a_crash_is_one_event_for_every_reader(home: Home, model: ReadyModel) -> None:
    bus, prime = BodysBus(home.bus_lines), PrimesBus(home, "orchestrator")
    for now in (NOW, NOW + 7):
        announce.model_ready(home, model, now)
    sequences = {json.loads(path.read_bytes()).get("sequence_number") for path in home.model_events.glob("*.json")}

    assert len(bus.poll()) == 1
    assert len(prime.poll(NOW + 8)) == 1
    assert len(sequences - {None}) == 1


def test_a_crash_between_any_two_routes_loses_none_when_it_runs_again(
    home: Home, model: ReadyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCutError(BaseException):
        pass

    real_rename, real_link, real_write = durable.disk.rename, durable.disk.link, durable.disk.write
    calls = 0

    def counted(real: Any, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == cut_at:
            raise PowerCutError
        return real(*arguments)

    monkeypatch.setattr(durable.disk, "rename", lambda *a: counted(real_rename, *a))
    monkeypatch.setattr(durable.disk, "link", lambda *a: counted(real_link, *a))
    monkeypatch.setattr(durable.disk, "write", lambda *a: counted(real_write, *a))
    cut_at = 0
    while True:
        cut_at, calls = cut_at + 1, 0
        try:
            announce.model_ready(home, model, NOW)
        except PowerCutError:
            announce.model_ready(home, model, NOW + 1)
        else:
            break
        assert model_ready_document(home)
        assert len(BodysBus(home.bus_lines).poll()) == 1
        assert len(PrimesBus(home, "orchestrator").poll(NOW + 2)) == 1
        announce.expire(home, NOW + 400)
    assert cut_at > 10


# -- what is refused, what is cleaned up, what is kept -----------------------------------------------------------------


def test_a_model_that_a_reader_would_refuse_is_not_announced_anywhere(home: Home, model: ReadyModel) -> None:
    for wrong in (
        replace(model, metrics={"accuracy": 1.0}),
        replace(model, metrics={"loss": float("nan")}),
        replace(model, path=model.path.with_name("gone.gguf")),
        replace(model, capabilities=("text-generation",)),
    ):
        with pytest.raises(BadInput):
            announce.model_ready(home, wrong, NOW)

    assert not home.bus_lines.exists()
    assert not [path for path in home.root.rglob("*.json") if path.is_file()]


def test_what_nobody_fetched_disappears_after_300_s_and_only_ours(home: Home, model: ReadyModel) -> None:
    announce.model_ready(home, model, NOW)
    others = [
        home.events / "5_000001795281095_abc.json",
        home.events / "experiences_voice_1.json",
        home.events / "1_000001795281095_0123456789abcdef0123456789abcdef.json",
        home.model_events / "000001795281095_ffff.json",
        home.reactor / ".config.json.7.tmp",
    ]
    for path in others:
        path.write_text("{}")
    leftover = home.reactor / f".{next(home.model_events.glob('*reactord-*')).name}.77.tmp"
    leftover.write_text("{")  # a crash between writing and linking

    assert announce.expire(home, NOW + 299) == 0
    assert announce.expire(home, NOW + 301) == 6
    assert all(path.exists() for path in others)
    assert not leftover.exists()
    assert announce.expire(home, NOW + 302) == 0


def test_our_own_announcements_come_in_by_no_door(home: Home, model: ReadyModel) -> None:
    announce.model_ready(home, model, NOW)

    files = [path for path in home.trinity.rglob("*.json") if path.is_file()]
    assert len(files) == 3
    doors = entrances(home)
    assert not [path for path in files for door in doors if door.directory == path.parent and door.admits(path.name)]


def test_the_history_keeps_started_completed_failed_and_the_gates_verdict(home: Home) -> None:
    announce.training(home, "started", "job-42", {"total_steps": 24}, NOW)
    announce.training(home, "progress", "job-42", {}, NOW)
    announce.gate_evaluated(home, "job-42", {"verdict": "pass", "kl": float("nan")}, NOW)
    announce.training(home, "completed", "job-42", {}, NOW)
    announce.training(home, "failed", "job-43", {"error": "bad_data"}, NOW)

    lines = [json.loads(line) for line in (home.model_events / "pipeline_events.jsonl").read_text().splitlines()]
    topics = ["training.started", "gate.evaluated", "training.completed", "training.failed"]
    assert [line["topic"] for line in lines] == topics
    assert lines[1]["payload"] == {"job_id": "job-42", "verdict": "pass", "kl": None}
    assert {line["source"] for line in lines} == {"reactor"}
    assert [line["correlation_id"] for line in lines] == ["job-42", "job-42", "job-42", "job-43"]
    assert all(datetime.fromisoformat(line["timestamp"]).tzinfo is None for line in lines)


def test_the_history_goes_where_the_environment_says(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REACTOR_PIPELINE_EVENTS_DIR", str(tmp_path))

    announce.gate_evaluated(home, "job-42", {}, NOW)

    assert (tmp_path / "pipeline_events.jsonl").exists()


def test_no_dangerous_and_no_double_announcement_is_ever_written(home: Home, model: ReadyModel) -> None:
    announce.training(home, "completed", "job-42", {}, NOW)
    announce.model_ready(home, model, NOW)

    types = {json.loads(path.read_bytes())["event_type"] for path in home.root.rglob("*.json") if path.is_file()}
    assert types == {"MODEL_READY", "model_ready", "model_updated"}
