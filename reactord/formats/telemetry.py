"""What does one line of `telemetry/interactions_YYYYMMDD.jsonl` say? (contract/body.md 3.1, contract/prime.md 4)

Three emitters append to that file: Body's canonical schema (22 flat keys), Body without its schema module (the raw
event, with a `data` object), and Prime (canonical with `x_jarvis_routing`, or its own flat record with `record_id`).
"""

from __future__ import annotations

from typing import Any

from reactord.errors import BadRecord
from reactord.formats.records import Record, Refusal, content_identity, identity_of, load_object


def parse(raw: bytes, where: str) -> list[Record | Refusal]:
    """Read one line, without its newline. Raises BadRecord when it is neither of the three forms."""
    body = load_object(raw)
    if not (_is_event(body) or _is_prime_record(body)):
        raise BadRecord("no event_type and no prompt: neither a canonical, a raw nor a Prime telemetry record")
    identity = identity_of(body, ("event_id", "record_id"), content_identity(where, raw))
    return [Record(identity, body)]


def _is_event(body: dict[str, Any]) -> bool:
    return isinstance(body.get("event_type"), str)


def _is_prime_record(body: dict[str, Any]) -> bool:
    return isinstance(body.get("prompt"), str) and isinstance(body.get("completion"), str)
