"""What does an experience file say? (contract/body.md 3.4 and 8, 1.3)

As documented: `experiences_<type>_<ts>.json` holds `{batch_id, model_type, experiences: [...]}`. As really written:
`5_<ms>_<id>.json` holds an event `learning_signal` whose `payload` carries packet_id and experiences. A bare list (the
drop-box form) is accepted too.
"""

from __future__ import annotations

from typing import Any

from reactord.errors import BadRecord
from reactord.formats.records import Record, Refusal, content_identity, identity_of, load

ITEM_KEYS = ("experience_id", "event_id", "id", "record_id")
MAX_ITEMS = 100_000


def parse(raw: bytes, where: str) -> list[Record | Refusal]:
    """Read one whole file. Raises BadRecord when it holds no list of experiences."""
    document = load(raw)
    packet, items = _items(document)
    if len(items) > MAX_ITEMS:
        raise BadRecord(f"{len(items)} experiences in one file; send at most {MAX_ITEMS}")
    return [_record(item, packet or content_identity(where, raw), i) for i, item in enumerate(items)]


def _items(document: Any) -> tuple[str | None, list[Any]]:  # noqa: ANN401 - any JSON value
    """(what names the packet, its items)."""
    if isinstance(document, list):
        return None, document
    if isinstance(document, dict):
        inner = document.get("payload")
        for holder in (inner if isinstance(inner, dict) else {}, document):
            if isinstance(holder.get("experiences"), list):
                names = {**document, **holder}
                packet = identity_of(names, ("packet_id", "batch_id", "event_id"), "") or None
                return packet, holder["experiences"]
        if isinstance(inner, dict) and isinstance(document.get("event_type"), str):
            # interaction_end, correction, feedback: one event, one record
            return None, [{**inner, "event_type": document["event_type"], "event_id": document.get("event_id")}]
    raise BadRecord("no list named `experiences`, neither at the top nor in `payload`")


def _record(item: Any, packet: str, position: int) -> Record | Refusal:  # noqa: ANN401 - any JSON value
    fallback = f"{packet}:{position}"
    if not isinstance(item, dict):
        return Refusal(content_identity(fallback), "experience_not_an_object")
    return Record(identity_of(item, ITEM_KEYS, fallback), item)
