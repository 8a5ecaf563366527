"""What does one row of Prime's `conversations.db` say? (contract/prime.md 4, row 6)

A dialogue and how good Prime found it. A row is first written with score 0 and texts that still hold what is private:
only rows of at least MIN_QUALITY are read, and one that is not keeps its id free for the day when it is.
"""

from __future__ import annotations

from typing import Any

from reactord.formats.door import Door, Format
from reactord.formats.records import Item, Record, Refusal, content_identity, identity_of, load_object
from reactord.formats.schema import Document, Object, Text, require
from reactord.formats.training_messages import Message

MIN_QUALITY = 0.6


class Dialogue(Document):
    """What the column `data` holds."""

    turns: list[Message]
    metadata: Object = None


class ConversationRow(Document):
    """One row; the column `data` may be the JSON text or the object."""

    id: str | int
    quality_score: float
    data: str | Dialogue
    category: Text = None


def parse(raw: bytes, where: str) -> list[Item]:
    """Read one row as a JSON object. Raises BadRecord when it is no conversation."""
    del where
    row = load_object(raw)
    require(ConversationRow, row)
    if row["quality_score"] < MIN_QUALITY:
        said = content_identity("conversation", str(row["id"]), str(row["quality_score"]), raw)
        return [Refusal(said, f"quality_score below {MIN_QUALITY}: Prime does not find it good enough to learn from")]
    data: dict[str, Any] = load_object(row["data"].encode()) if isinstance(row["data"], str) else row["data"]
    require(Dialogue, data)
    # a number names a row of this table only, and may be anything's number elsewhere
    identity = identity_of(row, ("id",), "") or content_identity("conversation", str(row["id"]))
    return [Record(identity, {**row, "data": data})]


FORMAT = Format(
    "conversations",
    parse,
    (Door("rows", "training_data", r"conversations\.db", ("TRAINING_DATA_DIR",)),),
    schema=ConversationRow,
)
