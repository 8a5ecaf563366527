"""Does a JARVIS that listens to the message fabric, rebuilt from its contract, hear us, and nobody else a word less?

contract/lifecycle.md, "UMF message types", "UMF client" and number 3.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fabric_reader import KEYS, Engine, FileTransport, Heard, Kind, Stream
from support.fabric_sender import NOW, announce_all, bus, files, history, opened, ready_model, we

from reactord.home import Home
from reactord.ipc import announce, presence, umf
from reactord.ipc.announce import ReadyModel


@pytest.fixture
def base(home: Home, monkeypatch: pytest.MonkeyPatch) -> Path:
    return opened(home, monkeypatch)


@pytest.fixture
def model(tmp_path: Path) -> ReadyModel:
    return ready_model(tmp_path)


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
