"""What does one line of `telemetry/interactions_YYYYMMDD.jsonl` say? (contract/body.md 3.1, contract/prime.md 4)

Three emitters append to that file: Body's canonical schema (22 flat keys), Body without its schema module (the raw
event, with a `data` object), and Prime (canonical with `x_jarvis_routing`, or its own flat record with `record_id`,
that goes to `telemetry_<time>.jsonl` as well). This is the hottest parser: it looks by hand, and asks the
schema only for the words of a refusal.
"""

from __future__ import annotations

from typing import Any

import msgspec
from pydantic import RootModel

from reactord.formats.door import Door, Format
from reactord.formats.quick import Quick
from reactord.formats.records import (
    MAX_IDENTITY_CHARACTERS,
    Item,
    Record,
    content_identity,
    identity_of,
    load_object,
)  # fmt: skip
from reactord.formats.schema import Document, Id, Number, Object, Text, require

#: where Body and Prime are told to write telemetry, instead of or beside ~/.jarvis/telemetry
DIRECTORIES = ("TELEMETRY_OUTPUT_DIR", "TELEMETRY_DIR", "JARVIS_TELEMETRY_DIR", "JPRIME_REPO_DIR/telemetry")


class TelemetryEvent(Document):
    """A canonical or raw event."""

    event_type: str
    event_id: Id = None
    user_input: Text = None
    assistant_output: Text = None
    original_response: Text = None
    corrected_response: Text = None
    feedback_text: Text = None
    outcome: Text = None
    model_id: Text = None
    user_rating: Number = None
    metadata: Object = None
    data: Object = None


class PrimeRecord(Document):
    """What Prime's TelemetryHook writes."""

    prompt: str
    completion: str
    record_id: Id = None


class Telemetry(RootModel[TelemetryEvent | PrimeRecord]):
    """One line of telemetry."""


def parse(raw: bytes, where: str) -> list[Item]:
    """Read one line, without its newline. Raises BadRecord when it is neither of the two forms."""
    body = load_object(raw)
    if not accepts(body):
        require(Telemetry, body)
    identity = identity_of(body, ("event_id", "record_id"), "") or content_identity(where, raw)
    return [Record(identity, body)]


_NONE = type(None)
_TEXT = frozenset((str, _NONE))
_NUMBER = frozenset((int, float, _NONE))
_OBJECT = frozenset((dict, _NONE))


def accepts(body: dict[str, Any]) -> bool:
    """The same as the schema, by hand: that they agree is proven by a test."""
    get = body.get
    if type(get("prompt")) is str and type(get("completion")) is str:
        return True
    return (
        type(get("event_type")) is str
        and type(get("user_input")) in _TEXT
        and type(get("assistant_output")) in _TEXT
        and type(get("original_response")) in _TEXT
        and type(get("corrected_response")) in _TEXT
        and type(get("feedback_text")) in _TEXT
        and type(get("outcome")) in _TEXT
        and type(get("model_id")) in _TEXT
        and type(get("user_rating")) in _NUMBER
        and type(get("metadata")) in _OBJECT
        and type(get("data")) in _OBJECT
    )


class _Quick(msgspec.Struct, gc=False):
    """The fields of `TelemetryEvent` and `PrimeRecord` that decide whether a line is accepted, and as what."""

    event_type: str | None = None
    event_id: str | None = None
    record_id: str | None = None
    prompt: str | None = None
    completion: str | None = None
    user_input: str | None = None
    assistant_output: str | None = None
    original_response: str | None = None
    corrected_response: str | None = None
    feedback_text: str | None = None
    outcome: str | None = None
    model_id: str | None = None
    user_rating: float | None = None
    metadata: dict[str, msgspec.Raw] | None = None
    data: dict[str, msgspec.Raw] | None = None


def _names(said: _Quick) -> list[str] | None:
    """The identity that `parse` would find."""
    if said.event_type is None and (said.prompt is None or said.completion is None):
        return None
    name = said.event_id or said.record_id
    return [name] if name and len(name) <= MAX_IDENTITY_CHARACTERS else None


FORMAT = Format(
    "telemetry",
    parse,
    (
        Door("tail", "telemetry", r"interactions_\d{8}\.jsonl", DIRECTORIES),
        Door("tail", "telemetry", r"telemetry_\d{8}_\d{6}[^/]*\.jsonl", DIRECTORIES),
    ),
    schema=Telemetry,
    lines=True,
    quick=Quick(_Quick, _names),
)
