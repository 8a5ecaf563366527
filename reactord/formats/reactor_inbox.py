"""What does one message in `trinity/reactor/inbox` say? (contract/prime.md 3.7)

Prime drops a heartbeat there every five seconds, and nobody else takes them away. Messages that carry experiences are
read; the others hold nothing for us and are only removed.
"""

from __future__ import annotations

from typing import Any

from reactord.formats import items
from reactord.formats.door import Door, Format
from reactord.formats.records import Item, content_identity, identity_of, load_object
from reactord.formats.schema import Document, Id, Object, Text, require

#: what a message, or the action it asks for, is called when its payload is one experience or says where they are
CARRYING = frozenset((
    "experience", "interaction", "interaction_end", "correction", "feedback", "learning_signal", "training_data",
    *items.POINTING, "curriculum_signal",
))  # fmt: skip


class InboxMessage(Document):
    """One message of Prime's FileIPC."""

    message_type: str
    action: Text = None
    payload: Object = None
    id: Id = None


def parse(raw: bytes, where: str) -> list[Item]:
    """Read one whole file. Raises BadRecord when it is no message."""
    body = load_object(raw)
    require(InboxMessage, body)
    payload: dict[str, Any] = body.get("payload") or {}
    fallback = identity_of(body, ("id",), "") or content_identity(where, raw)
    if isinstance(found := payload.get("experiences"), list):
        return items.listed(found, items.packet_of(payload, fallback=fallback))
    for name in (body.get("action"), body["message_type"]):
        if isinstance(name, str) and (kind := name.casefold()) in CARRYING:
            return items.event(kind, identity_of({**body, **payload}, items.ITEM_KEYS, fallback), payload, fallback)
    return []


FORMAT = Format(
    "reactor_inbox",
    parse,
    (Door("drop", "trinity/reactor/inbox", r"[^./][^/]*\.msg"),),
    schema=InboxMessage,
)
