"""A JARVIS that listens to the message fabric, rebuilt from its contract: contract/lifecycle.md, "UMF message types".

Nothing of reactord.ipc.umf is used to read.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any


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
