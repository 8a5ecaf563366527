"""What does one file of Prime's `correction_queue` say? (contract/prime.md 4, row 5)

A correction that Prime could not send yet: what was asked, what was answered, what should have been. Prime reads and
unlinks these files itself. The batch that it sends over HTTP, `{corrections: [...]}`, is the same format.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, RootModel

from reactord.formats.door import Door, Format
from reactord.formats.items import MAX_ITEMS
from reactord.formats.records import Item, Record, Refusal, content_identity, identity_of, load_object
from reactord.formats.schema import Document, Id, Object, Text, problems, require


class Correction(Document):
    """One corrected answer."""

    original_prompt: str
    original_response: str
    corrected_response: str
    correction_id: Id = None
    user_feedback: Text = None
    metadata: Object = None


class CorrectionBatch(Document):
    """Several, as they are sent over HTTP."""

    corrections: list[Any] = Field(max_length=MAX_ITEMS, description="objects like the other form")


class Corrections(RootModel[Correction | CorrectionBatch]):
    """A file of corrections."""


def parse(raw: bytes, where: str) -> list[Item]:
    """Read one whole file. Raises BadRecord when it holds no correction."""
    body = load_object(raw)
    require(Corrections, body)
    packet = content_identity(where, raw)
    if isinstance(batch := body.get("corrections"), list) and "corrected_response" not in body:
        return [_record(item, f"{packet}:{i}") for i, item in enumerate(batch)]
    return [_record(body, packet)]


def _record(item: Any, fallback: str) -> Record | Refusal:  # noqa: ANN401 - any JSON value
    if wrong := problems(Correction, item):
        return Refusal(content_identity("correction", fallback), f"a correction whose {wrong[0].words()}")
    return Record(identity_of(item, ("correction_id",), fallback), {**item, "event_type": "correction"})


FORMAT = Format(
    "corrections",
    parse,
    (Door("spool", "correction_queue", r"[^./][^/]*\.json", ("CORRECTION_QUEUE_DIR",)),),
    schema=Corrections,
)
