"""What does one line of Prime's `prime/data/samples.jsonl` say? (contract/prime.md 4, row 4)

A question and its answer as Prime's DataCollector rated them, with the correction where there was one.
"""

from __future__ import annotations

from reactord.formats.door import Door, Format
from reactord.formats.records import Item, Record, content_identity, identity_of, load_object
from reactord.formats.schema import Document, Flag, Id, Number, Text, require


class PrimeSample(Document):
    """One sample."""

    input_text: str
    output_text: Text = None
    correction_text: Text = None
    was_corrected: Flag = None
    feedback_score: Number = None
    quality: Text = None
    id: Id = None


def parse(raw: bytes, where: str) -> list[Item]:
    """Read one line. Raises BadRecord when it is no sample."""
    body = load_object(raw)
    require(PrimeSample, body)
    return [Record(identity_of(body, ("id",), "") or content_identity(where, raw), body)]


FORMAT = Format(
    "prime_samples",
    parse,
    (Door("tail", "prime/data", r"samples\.jsonl"),),
    schema=PrimeSample,
    lines=True,
)
