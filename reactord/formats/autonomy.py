"""What did the assistant decide on its own, and may we learn from how it ended? (contract/lifecycle.md 12, body.md 3.3)

Autonomy events travel among experiences, as items of type `autonomy:<event>` with seven metadata keys.
"""

from __future__ import annotations

from typing import Any, Literal

from reactord.formats.records import Record, Refusal, content_identity
from reactord.formats.schema import Document

PREFIX = "autonomy:"
Classification = Literal["success", "failure", "infrastructure", "deferred", "unknown"]

#: how an event ended says whether it teaches: what a policy or a lease stopped was no mistake of the model
_CLASSES: dict[str, Classification] = {
    "committed": "success",
    "failed": "failure",
    "policy_denied": "infrastructure",
    "no_journal_lease": "infrastructure",
    "superseded": "deferred",
    "deduplicated": "unknown",
    "intent_written": "unknown",
}


class AutonomyMetadata(Document):
    """The seven keys that every autonomy event must carry."""

    autonomy_event_type: str
    autonomy_schema_version: str
    idempotency_key: str
    trace_id: str
    correlation_id: str
    action: str
    request_kind: str


class AutonomyEvent(Document):
    """One experience of type `autonomy:<event>`."""

    type: str
    metadata: AutonomyMetadata


REQUIRED = tuple(AutonomyMetadata.model_fields)


def is_autonomy(item: dict[str, Any]) -> bool:
    """Whether an experience is one of these."""
    return isinstance(kind := item.get("type"), str) and kind.startswith(PREFIX)


def classify(kind: str) -> Classification:
    """Success and failure teach; the others are counted under their name."""
    return _CLASSES.get(kind.removeprefix(PREFIX), "unknown")


def record(item: dict[str, Any], fallback: str) -> Record | Refusal:
    """An event is the same one when its idempotency key, type and trace are."""
    metadata = item.get("metadata")
    keys = metadata if isinstance(metadata, dict) else {}
    missing = [key for key in REQUIRED if not isinstance(keys.get(key), str)]
    if missing:
        return Refusal(
            content_identity("autonomy", fallback),
            f"an autonomy event without its metadata: {', '.join(missing)} must be strings",
        )
    return Record("|".join((keys["idempotency_key"], item["type"], keys["trace_id"])), item)
