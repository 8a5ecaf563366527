"""What does one line of `reactor/data/<type>_<time>.jsonl` say? (contract/prime.md 4, row 7)

Prime's bridge writes canonical events when it finds their schema, and instruction, input and output when it does not.
Preference files in the same directory are another format.
"""

from __future__ import annotations

from pydantic import RootModel

from reactord.formats import preference_pairs
from reactord.formats.door import Door, Format
from reactord.formats.records import Item, Record, content_identity, identity_of, load_object
from reactord.formats.schema import Document, Object, Text, require
from reactord.formats.telemetry import PrimeRecord, TelemetryEvent


class Instruction(Document):
    """An instruction and what came out."""

    instruction: str
    output: str
    input: Text = None
    metadata: Object = None


class InstructionLine(RootModel[Instruction | TelemetryEvent | PrimeRecord | preference_pairs.PreferencePair]):
    """One line of training data."""


def parse(raw: bytes, where: str) -> list[Item]:
    """Read one line. Raises BadRecord when it is none of the forms."""
    body = load_object(raw)
    require(InstructionLine, body)
    if preference_pairs.is_pair(body) and isinstance(body.get("prompt"), str):
        return [preference_pairs.record(body)]
    metadata = body.get("metadata")
    identity = identity_of(body, ("event_id", "record_id", "id"), "")
    if not identity and isinstance(metadata, dict):
        identity = identity_of(metadata, ("event_id", "record_id", "id"), "")
    return [Record(identity or content_identity(where, raw), body)]


FORMAT = Format(
    "instructions",
    parse,
    (Door("tail", "reactor/data", r"(?!preferences_)[^./][^/]*\.jsonl", ("REACTOR_DATA_DIR",)),),
    schema=InstructionLine,
    lines=True,
)
