"""What does one line of Prime's `training_<time>.jsonl` say? (contract/prime.md 4, row 2)

The successful turns of `telemetry_<time>.jsonl` once more, as chat messages and under the same id: whichever of the two
lines is read first is the record, the other one a duplicate.
"""

from __future__ import annotations

from reactord.formats.door import Door, Format
from reactord.formats.records import Item, Record, content_identity, identity_of, load_object
from reactord.formats.schema import Document, Id, Object, require
from reactord.formats.telemetry import DIRECTORIES


class Message(Document):
    """One turn."""

    role: str
    content: str


class TrainingMessages(Document):
    """One line of training messages."""

    messages: list[Message]
    id: Id = None
    metadata: Object = None


def parse(raw: bytes, where: str) -> list[Item]:
    """Read one line. Raises BadRecord when it holds no messages."""
    body = load_object(raw)
    require(TrainingMessages, body)
    return [Record(identity_of(body, ("id", "record_id"), "") or content_identity(where, raw), body)]


FORMAT = Format(
    "training_messages",
    parse,
    (Door("tail", "telemetry", r"training_\d{8}_\d{6}[^/]*\.jsonl", DIRECTORIES),),
    schema=TrainingMessages,
    lines=True,
)
