"""What does one file of Body's `ouroboros/events/pending` say? (contract/body.md 3.5 and 4.6)

An event between the repositories. Those that were generated for learning are experiences; the others are about models
and trainings, and for somebody else. Every repository looks into the same directory, so the files stay.
"""

from __future__ import annotations

from typing import Any

from reactord.formats import items
from reactord.formats.door import Door, Format
from reactord.formats.records import Item, content_identity, identity_of, load_object
from reactord.formats.schema import Document, Id, Object, require

GENERATED = "experience_generated"


class CrossRepoEvent(Document):
    """One event."""

    type: str
    payload: Object = None
    id: Id = None
    source_repo: Any = None
    target_repo: Any = None
    timestamp: Any = None


def parse(raw: bytes, where: str) -> list[Item]:
    """Read one whole file. Raises BadRecord when it is no event."""
    body = load_object(raw)
    require(CrossRepoEvent, body)
    payload = body.get("payload")
    if body["type"] != GENERATED or not payload:
        return []
    fallback = identity_of(body, ("id",), "") or content_identity(where, raw)
    if isinstance(found := payload.get("experiences"), list):
        return items.listed(found, items.packet_of(payload, fallback=fallback))
    one = payload.get("experience")
    return [items.record(one if isinstance(one, dict) else payload, fallback)]


FORMAT = Format(
    "cross_repo_event",
    parse,
    (Door("spool", "ouroboros/events/pending", r"[^./][^/]*\.json"),),
    schema=CrossRepoEvent,
)
