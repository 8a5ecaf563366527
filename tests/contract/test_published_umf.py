"""Does a JARVIS that listens to the message fabric, rebuilt from its contract, hear us, and nobody else a word less?

contract/lifecycle.md, "UMF message types", "UMF client" and number 3. Nothing of reactord.ipc.umf is used to read.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import stat
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.disks import FailingDisk, FullDisk

from reactord import daemon, durable
from reactord import public as public_module
from reactord.errors import BadConfig
from reactord.home import Home
from reactord.ipc import announce, presence, umf
from reactord.ipc.announce import ReadyModel
from reactord.ipc.presence import Presence
from reactord.public import Public
from reactord.settings import Settings, load

NOW = 1_795_281_095.125
DAY_S = 86_400.0


# -- JARVIS's side, from the contract ----------------------------------------------------------------------------------


class Stream(Enum):
    lifecycle = "lifecycle"
    command = "command"
    event = "event"
    heartbeat = "heartbeat"
    telemetry = "telemetry"


class Kind(Enum):
    command = "command"
    event = "event"
    heartbeat = "heartbeat"
    ack = "ack"
    nack = "nack"


PRIORITIES = ("critical", "high", "normal", "low")
KEYS = {
    "schema_version", "message_id", "idempotency_key", "stream", "kind", "source", "target", "payload",
    "observed_at_unix_ms", "routing_partition_key", "routing_priority", "routing_ttl_ms", "routing_deadline_unix_ms",
    "causality_trace_id", "causality_span_id", "causality_parent_message_id", "causality_sequence",
    "contract_capability_hash", "contract_schema_hash", "contract_compat_window",
    "signature_alg", "signature_key_id", "signature_value",
}  # fmt: skip


@dataclass
class From:
    repo: str
    component: str
    instance_id: str
    session_id: str


@dataclass
class To:
    repo: str
    component: str


@dataclass
class Heard:
    """A message as its reader rebuilds it: an unknown or a missing key, a wrong stream, kind or type raises."""

    schema_version: str
    message_id: str
    idempotency_key: str
    stream: Stream
    kind: Kind
    source: From
    target: To
    payload: dict[str, Any]
    observed_at_unix_ms: int
    routing_partition_key: str
    routing_priority: str
    routing_ttl_ms: int
    routing_deadline_unix_ms: int
    causality_trace_id: str
    causality_span_id: str
    causality_parent_message_id: str | None
    causality_sequence: int
    contract_capability_hash: str
    contract_schema_hash: str
    contract_compat_window: str
    signature_alg: str
    signature_key_id: str
    signature_value: str

    @classmethod
    def parse(cls, raw: str) -> Heard:
        said = json.loads(raw)
        said |= {"stream": Stream(said["stream"]), "kind": Kind(said["kind"])}
        said |= {"source": From(**said["source"]), "target": To(**said["target"])}
        heard = cls(**said)
        assert heard.routing_priority in PRIORITIES
        for number in (heard.observed_at_unix_ms, heard.routing_ttl_ms, heard.routing_deadline_unix_ms):
            assert type(number) is int
        return heard

    def to_json(self) -> str:
        said = asdict(self) | {"stream": self.stream.value, "kind": self.kind.value}
        return json.dumps(said, sort_keys=True, ensure_ascii=True)


class FileTransport:
    """Reads a stream's files in name order; what it read it remembers by name; a bad file is met again at each look."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.processed: set[str] = set()
        self.stumbled = 0

    def receive(self, stream: str) -> list[Heard]:
        heard = []
        directory = self.base / stream
        for path in sorted(directory.glob("*.json")) if directory.is_dir() else ():
            if path.name in self.processed:
                continue
            try:
                message = Heard.parse(path.read_text(encoding="utf-8"))
            except ValueError:
                self.stumbled += 1
                continue
            assert path.name == f"{message.observed_at_unix_ms:015d}_{message.message_id}.json"
            self.processed.add(path.name)
            heard.append(message)
        return heard


@dataclass
class Engine:
    """What happens to a message that was read: the gate, the memory of idempotency keys, the table of who is well."""

    known: dict[str, float] = field(default_factory=dict)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen_at: dict[str, float] = field(default_factory=dict)

    def publish(self, message: Heard, now: float) -> str | None:
        """The reason why it is refused, or None."""
        if message.schema_version != "umf.v1":
            return "schema_mismatch"
        if message.routing_ttl_ms > 0 and now * 1000 > message.observed_at_unix_ms + message.routing_ttl_ms:
            return "ttl_expired"
        if 0 < message.routing_deadline_unix_ms < now * 1000:
            return "deadline_expired"
        if message.signature_value and message.signature_value.count(":") != 2:
            return "sig_invalid"  # it parses ts:nonce:signature, and its own signatures are a bare digest
        kept_until = self.known.get(message.idempotency_key)
        if kept_until is not None and now <= kept_until:
            return "dedup_duplicate"
        self.known[message.idempotency_key] = now + message.routing_ttl_ms / 1000
        if message.stream is Stream.lifecycle:
            subsystem = message.payload.get("subsystem_role", message.source.component)
            self.states[subsystem], self.seen_at[subsystem] = message.payload, now
        return None

    def stale(self, now: float) -> list[str]:
        return [subsystem for subsystem, at in self.seen_at.items() if now - at > 30]


# -- ours --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def base(home: Home, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where our messages lie, in a process whose UMF is active."""
    monkeypatch.delenv("REACTOR_PIPELINE_EVENTS_DIR", raising=False)
    monkeypatch.setattr(umf, "sender", umf.Sender())
    umf.sender.open("active", home.root / "umf", {"JARVIS_ROOT_SESSION_ID": "session-7"})
    return home.root / "umf"


@pytest.fixture
def model(tmp_path: Path) -> ReadyModel:
    path = tmp_path / "jarvis-openhermes-v1.0.gguf"
    path.write_bytes(b"GGUF")
    return ReadyModel(
        job_id="job-42",
        model_id="jarvis-openhermes",
        version="v1.0",
        path=path,
        sha256="ab" * 32,
        base_model="smollm2-135m-instruct",
        metrics={"loss": 0.5, "neutral_perplexity": float("nan")},
        ready_at=NOW - 3,
    )


def we(**changes: Any) -> Presence:
    return replace(
        Presence(
            status="ready",
            phase="ready",
            port=8090,
            primary_port=8090,
            version="1.2.3",
            started_at=NOW - 60,
            memory_usage_gb=0.1,
            memory_percent=12.5,
            cpu_percent=3.0,
            active_training_jobs=1,
            model_output_dir="/models",
            metrics={"pending_fresh": 17.0},
        ),
        **changes,
    )


def files(base: Path) -> list[Path]:
    return sorted(path for path in base.rglob("*") if path.is_file())


def bus(home: Home) -> list[dict[str, Any]]:
    return [json.loads(line) for line in home.bus_lines.read_text().splitlines()]


def history(home: Home) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home.model_events / "pipeline_events.jsonl").read_text().splitlines()]


def announce_all(home: Home, model: ReadyModel, now: float = NOW) -> None:
    announce.training(home, "started", "job-42", {"total_steps": 24}, now)
    announce.training(home, "progress", "job-42", {"loss": float("nan")}, now + 1)
    announce.gate_evaluated(home, "job-42", {"verdict": "pass", "kl": float("inf")}, now + 2)
    announce.model_ready(home, model, now + 3)
    announce.training(home, "completed", "job-42", {}, now + 4)


# -- the message -------------------------------------------------------------------------------------------------------


def test_a_heartbeat_is_the_wire_message_to_the_last_key(home: Home, base: Path) -> None:
    presence.write_heartbeats(home, we(errors=("the disk is full",)), NOW)

    (path,) = files(base)
    said = json.loads(path.read_text("ascii"))
    assert set(said) == KEYS
    assert len(KEYS) == 23
    instance, trace, span = said["source"]["instance_id"], said["causality_trace_id"], said["causality_span_id"]
    assert said == {
        "schema_version": "umf.v1",
        "message_id": said["message_id"],
        "idempotency_key": said["message_id"],
        "stream": "lifecycle",
        "kind": "heartbeat",
        "source": {
            "repo": "reactor-core", "component": "reactor", "instance_id": instance, "session_id": "session-7",
        },
        "target": {"repo": "jarvis", "component": "supervisor"},
        "payload": {
            "state": "ready", "liveness": True, "readiness": True, "queue_depth": 17, "resource_pressure": 0.125,
            "subsystem_role": "reactor", "last_error_code": "the disk is full",
        },
        "observed_at_unix_ms": 1_795_281_095_125,
        "routing_partition_key": "reactor-core.reactor",
        "routing_priority": "normal",
        "routing_ttl_ms": 30_000,
        "routing_deadline_unix_ms": 0,
        "causality_trace_id": trace,
        "causality_span_id": span,
        "causality_parent_message_id": None,
        "causality_sequence": 0,
        "contract_capability_hash": "",
        "contract_schema_hash": "",
        "contract_compat_window": "N|N-1",
        "signature_alg": "",
        "signature_key_id": "",
        "signature_value": "",
    }  # fmt: skip
    assert (len(trace), len(span)) == (16, 8)
    assert int(trace + span, 16) >= 0
    assert path == base / "lifecycle" / f"001795281095125_{said['message_id']}.json"
    assert instance.startswith("reactor-")
    assert str(os.getpid()) not in path.read_text().replace(said["message_id"], "").replace(instance, "").replace(
        trace + span, ""
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    payload=st.dictionaries(st.text(), json_values, max_size=4),
    about=st.text(st.characters(exclude_categories=())),  # a job's name may hold half a character
    at=st.floats(min_value=0, max_value=9e11),
    stream=st.sampled_from([member.value for member in Stream]),
    kind=st.sampled_from([member.value for member in Kind]),
)
def test_what_its_reader_writes_again_is_byte_for_byte_what_we_wrote(payload, about, at, stream, kind):
    message = umf.Message(
        stream=stream,
        kind=kind,
        instance_id="instance",
        session_id="session",
        target=("jarvis", "supervisor"),
        payload=payload,
        message_id="reactord-" + "0" * 32,
        at=at,
        about=about,
    )
    wire = message.to_json()

    heard = Heard.parse(wire)
    assert wire.isascii()
    assert "\n" not in wire
    assert heard.payload == payload
    assert heard.to_json() == wire
    assert json.loads(wire) == message.to_dict()


def test_a_number_that_is_none_is_not_sent(base: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        umf.sender.tell("reactord-" + "0" * 32, "topic", {"loss": float("nan")}, "job", NOW)
    assert files(base) == []


# -- heartbeats --------------------------------------------------------------------------------------------------------


def test_who_reads_every_heartbeat_never_thinks_us_stale_and_half_our_beats_write_one(home: Home, base: Path) -> None:
    transport, engine = FileTransport(base), Engine()
    refused, now = [], NOW
    for beat in range(121):
        now = NOW + 5.004 * beat
        presence.write_heartbeats(home, we(), now)
        refused += [engine.publish(message, now) for message in transport.receive("lifecycle")]
        assert engine.stale(now) == []
    assert refused == [None] * 61
    assert engine.states["reactor"]["state"] == "ready"
    assert engine.stale(now + 31) == ["reactor"]
    assert {path.name for path in base.iterdir()} == {"lifecycle"}  # not the stream called heartbeat


def test_a_change_is_said_at_once_and_so_is_the_goodbye(home: Home, base: Path) -> None:
    transport, engine = FileTransport(base), Engine()
    presence.write_heartbeats(home, we(status="starting", metrics={}), NOW)
    presence.write_heartbeats(home, we(), NOW + 1)
    presence.withdraw(home, we(status="stopping"), NOW + 2)

    said = transport.receive("lifecycle")
    assert [engine.publish(message, NOW + 2) for message in said] == [None] * 3
    assert [(m.payload["state"], m.payload["liveness"], m.payload["readiness"]) for m in said] == [
        ("starting", True, False),
        ("ready", True, True),
        ("offline", False, False),
    ]
    assert len({message.causality_trace_id for message in said}) == 1


def test_a_clock_that_is_set_back_does_not_silence_us(home: Home, base: Path) -> None:
    presence.write_heartbeats(home, we(), NOW)
    presence.write_heartbeats(home, we(), NOW - 3600)

    assert len(files(base)) == 2


def test_without_a_supervisor_the_session_is_our_own_life(home: Home, base: Path) -> None:
    umf.sender.open("shadow", base, {})
    presence.write_heartbeats(home, we(), NOW)

    (heard,) = FileTransport(base).receive("lifecycle")
    assert heard.source.session_id == heard.source.instance_id


# -- events ------------------------------------------------------------------------------------------------------------


def test_every_event_has_one_id_in_all_its_copies(home: Home, base: Path, model: ReadyModel) -> None:
    announce_all(home, model)

    heard = FileTransport(base).receive("event")
    assert [message.payload["topic"] for message in heard] == [
        "training.started",
        "training.progress",
        "gate.evaluated",
        "model.ready",
        "training.completed",
    ]
    of = {message.payload["topic"]: message for message in heard}
    for line in bus(home) + history(home):
        message = of[line["topic"]]
        assert message.message_id == message.idempotency_key == line["event_id"]
        assert message.payload == {"topic": line["topic"], **line["payload"]}
    assert {line["topic"] for line in bus(home) + history(home)} == set(of)
    assert of["gate.evaluated"].payload["kl"] is None
    assert len({message.causality_trace_id for message in heard}) == 1  # one job
    assert len({message.causality_span_id for message in heard}) == 5
    assert {(m.kind, m.target.repo, m.target.component) for m in heard} == {(Kind.event, "broadcast", "*")}


def test_an_event_that_is_told_again_after_a_crash_is_one_message(home: Home, base: Path, model: ReadyModel) -> None:
    transport, engine = FileTransport(base), Engine()
    accepted = []
    for now in (NOW, NOW + 60):  # by then its reader has forgotten the key
        announce_all(home, model, now)
        umf.sender.open("active", base, {})
        accepted += [m.payload["topic"] for m in transport.receive("event") if engine.publish(m, now + 5) is None]

    progress = "training.progress"  # is new each time
    assert sorted(accepted) == [
        "gate.evaluated", "model.ready", "training.completed", progress, progress, "training.started",
    ]  # fmt: skip


@pytest.mark.parametrize("mode", ["shadow", "active"])
def test_the_ordinary_channels_say_what_they_say_without(
    base: Path, model: ReadyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    def said(where: Home, now: float) -> list[tuple[str, str]]:
        where.create()
        monkeypatch.setattr(announce.uuid, "uuid4", lambda: SimpleNamespace(hex="0" * 32))
        announce_all(where, model, now)
        presence.write_heartbeats(where, we(), now)
        presence.write_state(where, we(), now)
        return sorted(
            (str(path.relative_to(where.root)), path.read_text()) for path in where.root.rglob("*") if path.is_file()
        )

    monkeypatch.setenv("JARVIS_UMF_LEGACY_ENABLED", "false")
    umf.sender.open("disabled", base, {})
    without = said(Home(tmp_path / "without"), NOW)
    umf.sender.open(mode, base, {})
    assert said(Home(tmp_path / "with"), NOW) == without
    assert len(FileTransport(base).receive("event")) == 5


# -- disabled ----------------------------------------------------------------------------------------------------------


def test_disabled_creates_nothing(home: Home, base: Path, model: ReadyModel) -> None:
    umf.sender.open("disabled", base, {"JARVIS_ROOT_SESSION_ID": "session-7"})
    announce_all(home, model)
    presence.write_heartbeats(home, we(), NOW)
    presence.withdraw(home, we(), NOW)
    announce.expire(home, NOW)

    assert not base.exists()


def test_a_process_that_is_no_daemon_sends_nothing(home: Home, model: ReadyModel) -> None:
    announce_all(home, model)
    presence.write_heartbeats(home, we(), NOW)

    assert umf.sender.base is None
    assert not (home.root / "umf").exists()


# -- the setting -------------------------------------------------------------------------------------------------------


def test_the_environment_says_whether_and_where(home: Home) -> None:
    assert (load(home, {}).umf_mode, load(home, {}).umf_dir) == ("disabled", None)
    found = load(home, {"JARVIS_UMF_MODE": "Shadow", "JARVIS_UMF_DIR": "/srv/umf"})
    assert (found.umf_mode, found.umf_dir) == ("shadow", Path("/srv/umf"))
    with pytest.raises(BadConfig, match=r"JARVIS_UMF_MODE: umf_mode: .* Correct it and start again\."):
        load(home, {"JARVIS_UMF_MODE": "on"})


@pytest.mark.parametrize(
    ("settings", "below"),
    [
        (Settings(), None),
        (Settings(umf_mode="shadow"), "umf"),
        (Settings(umf_mode="active", umf_dir=Path("~/elsewhere")), "elsewhere"),
    ],
)
def test_the_daemon_opens_the_sender(
    home: Home, base: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings, below: str | None
) -> None:
    async def nothing(self: object) -> int:
        await asyncio.sleep(0)
        return 0

    monkeypatch.setenv("HOME", str(home.root))
    monkeypatch.setattr(daemon._Daemon, "run", nothing)
    monkeypatch.setattr(daemon.logs, "set_up", lambda *_: None)

    assert daemon.run(home, settings) == 0
    assert umf.sender.base == (home.root / below if below else None)


# -- files -------------------------------------------------------------------------------------------------------------


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


# -- trouble -----------------------------------------------------------------------------------------------------------


def test_a_base_that_cannot_be_written_costs_only_the_messages(home: Home, base: Path, model: ReadyModel) -> None:
    base.write_text("in the way: nobody, not even root, can write into it")

    announce_all(home, model)
    assert len(bus(home)) == 4
    for number in range(3):  # the same words each time
        with pytest.raises(FileExistsError) as told:
            presence.write_heartbeats(home, we(), NOW + number)
        assert told.value.filename == str(base)
        assert all(path.exists() for path in home.heartbeats)
    assert announce.expire(home, NOW + 400) == 5

    base.unlink()
    presence.write_heartbeats(home, we(), NOW + 3)
    assert len(FileTransport(base).receive("lifecycle")) == 1


def test_a_lost_event_is_shown_with_the_next_beat_and_then_no_more(home: Home, base: Path) -> None:
    base.mkdir()
    (base / "event").write_text("in the way")
    announce.gate_evaluated(home, "job-42", {}, NOW)

    with pytest.raises(OSError, match="event"):
        presence.write_heartbeats(home, we(), NOW)
    presence.write_heartbeats(home, we(), NOW + 5)
    assert len(FileTransport(base).receive("lifecycle")) == 1


@pytest.mark.parametrize("call", range(1, 6))
def test_a_full_disk_at_any_step_leaves_no_half_message(
    home: Home, base: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    base.mkdir()
    monkeypatch.setattr(durable, "disk", FailingDisk(call))
    umf.sender.tell("reactord-" + "0" * 32, "topic", {}, "job", NOW)

    assert all(path.suffix == ".json" for path in files(base))
    assert FileTransport(base).stumbled == 0


def test_a_trouble_is_not_named_for_a_file_that_has_another_name_each_time(
    home: Home, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoRoomForNames(durable.RealDisk):
        @staticmethod
        def rename(source: Any, target: Any, /) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source))

    monkeypatch.setattr(durable, "disk", NoRoomForNames())
    lost = umf.sender.beat(we(), NOW)

    assert lost is not None
    assert lost.filename == str(base / "lifecycle")
    assert files(base) == []


async def test_the_daemon_lives_on_and_shows_it(
    home: Home, base: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(public_module, "BEAT_S", 0.01)
    base.write_text("in the way")  # noqa: ASYNC240 - a file in memory
    public = Public(home, Settings(umf_mode="active"), "1.0.0", lambda: NOW)
    public.phase = "ready"
    with caplog.at_level(logging.WARNING):
        task = asyncio.create_task(public.run())
        try:
            async with asyncio.timeout(10):
                while not public.unpublished:
                    await asyncio.sleep(0.001)
                assert public.troubles() == [f"cannot publish: File exists: {base}"]
                await asyncio.sleep(0.1)  # ten more beats, that say the same
                base.unlink()  # noqa: ASYNC240
                while not (base / "lifecycle").exists() or public.unpublished:
                    await asyncio.sleep(0.001)
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.wait([task], timeout=10)
    assert [record.message for record in caplog.records] == [f"cannot publish: File exists: {base}"]


def test_a_full_disk_is_shown_in_the_same_words_until_there_is_room(
    home: Home, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = FullDisk()
    monkeypatch.setattr(durable, "disk", full)
    for number in range(2):
        with pytest.raises(OSError, match="No space left"):
            presence.write_heartbeats(home, we(), NOW + number)
    with pytest.raises(OSError, match=f"No space left on device: '{base / 'lifecycle'}'"):
        raise umf.sender.beat(we(), NOW + 2) or AssertionError
    full.full = False
    presence.write_heartbeats(home, we(), NOW + 5)

    assert len(FileTransport(base).receive("lifecycle")) == 1
