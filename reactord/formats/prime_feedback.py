"""What does one line of Prime's `feedback.jsonl` say? (contract/prime.md 4, row 3)

An opinion about another record, which it names by `record_id`. Its own identity is what it says: the same opinion on
the same record is one, wherever it is read, and never the record itself.
"""

from __future__ import annotations

from reactord.formats.door import Door, Format
from reactord.formats.records import Item, Record, content_identity, load_object
from reactord.formats.schema import Document, require
from reactord.formats.telemetry import DIRECTORIES


class PrimeFeedback(Document):
    """One opinion."""

    record_id: str
    feedback: str | float


def parse(raw: bytes, where: str) -> list[Item]:
    """Read one line. Raises BadRecord when it names no record or says nothing about it."""
    del where
    body = load_object(raw)
    require(PrimeFeedback, body)
    said = (body["record_id"], str(body["feedback"]), str(body.get("timestamp")))
    return [Record(content_identity("feedback", *said), feedback_of(body, body["record_id"]))]


def feedback_of(body: dict[str, object], subject: str) -> dict[str, object]:
    """The body as feedback on the record `subject`. What was that record's id is not this one's."""
    return {
        **{key: value for key, value in body.items() if key != "record_id"},
        "refers_to": subject,
        "event_type": "feedback",
    }


FORMAT = Format(
    "prime_feedback",
    parse,
    (Door("tail", "telemetry", r"feedback\.jsonl", DIRECTORIES),),
    schema=PrimeFeedback,
    lines=True,
)
