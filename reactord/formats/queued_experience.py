"""What does one file of Body's `experience_queue/ouroboros` say? (contract/body.md 3.5)

One improvement of its own code that Body could send by no other way: user_input, assistant_output, metadata.
"""

from __future__ import annotations

from reactord.formats import items
from reactord.formats.door import Door, Format
from reactord.formats.records import Item, content_identity, load_object
from reactord.formats.schema import Document, Id, Object, Text, require


class QueuedExperience(Document):
    """One experience."""

    experience_id: Id = None
    user_input: Text = None
    assistant_output: Text = None
    metadata: Object = None


def parse(raw: bytes, where: str) -> list[Item]:
    """Read one whole file. Raises BadRecord when it is no experience."""
    body = load_object(raw)
    require(QueuedExperience, body)
    return [items.record(body, content_identity(where, raw))]


FORMAT = Format(
    "queued_experience",
    parse,
    (Door("spool", "experience_queue/ouroboros", r"exp_[^/]*\.json", ("OUROBOROS_EXPERIENCE_FALLBACK_DIR",)),),
    schema=QueuedExperience,
)
