"""What does an experience file say? (contract/body.md 3.4, 8 and 1.3, contract/prime.md 3.3)

As documented: `experiences_<type>_<ts>.json` holds `{batch_id, model_type, experiences: [...]}`. As really written:
`5_<ms>_<id>.json` holds an event `learning_signal` whose `payload` carries packet_id and experiences. A bare list (the
drop-box form) is accepted too, and one event or one experience alone.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from pydantic import Field, RootModel

from reactord.errors import BadRecord
from reactord.formats import autonomy, items
from reactord.formats.door import Door, Format
from reactord.formats.items import MAX_ITEMS
from reactord.formats.quick import Quick
from reactord.formats.records import MAX_IDENTITY_CHARACTERS, Item, content_identity, load
from reactord.formats.schema import Document, Id, require

Items = Annotated[list[Any], Field(max_length=MAX_ITEMS, description="objects; see experience_item.json")]


class Packet(Document):
    """What names a packet, and its items."""

    experiences: Items
    packet_id: Id = None
    batch_id: Id = None


class PacketEvent(Document):
    """An event whose payload is a packet."""

    payload: Packet
    event_id: Id = None


class OneExperience(Document):
    """One experience alone, as it is sent over HTTP."""

    experience: dict[str, Any]


class Event(Document):
    """One event; its payload is one experience, or says where experiences are."""

    event_type: str
    payload: dict[str, Any]
    event_id: Id = None


class Experiences(RootModel[Packet | PacketEvent | OneExperience | Event | Items]):
    """A file of experiences."""


def parse(raw: bytes, where: str) -> list[Item]:
    """Read one whole file. Raises BadRecord when it holds nothing of the kind."""
    document = load(raw)
    if isinstance(document, list):
        return items.listed(document, content_identity(where, raw))
    if isinstance(document, dict):
        payload = document.get("payload")
        inner = payload if isinstance(payload, dict) else {}
        for holder in (inner, document):
            if isinstance(found := holder.get("experiences"), list):
                names = (inner, document) if holder is inner else (document,)
                return items.listed(found, items.packet_of(*names, fallback="") or content_identity(where, raw))
        fallback = f"{content_identity(where, raw)}:0"
        if isinstance(one := document.get("experience"), dict):
            return [items.record(one, fallback)]
        if isinstance(kind := document.get("event_type"), str) and isinstance(payload, dict):
            return items.event(kind, document.get("event_id"), payload, fallback)
    require(Experiences, document)
    raise BadRecord("of no form that is read: compare it with docs/schemas/experiences.json")  # never silently dropped


class _QuickItem(msgspec.Struct, gc=False):
    experience_id: str | None = None
    event_id: str | None = None
    id: str | None = None
    record_id: str | None = None
    type: str | None = None


class _QuickPacket(msgspec.Struct, gc=False):
    experiences: list[_QuickItem] | None = None


class _Quick(_QuickPacket, gc=False):
    """Where `parse` finds a packet, and what it finds the items' identities in."""

    payload: _QuickPacket | None = None


def _names(packet: _Quick) -> list[str] | None:
    """The identities that `parse` would find, if each item has one of its own."""
    items_in_payload = packet.payload.experiences if packet.payload else None
    found = packet.experiences if items_in_payload is None else items_in_payload
    if found is None or len(found) > MAX_ITEMS:
        return None
    names = []
    for item in found:
        name = item.experience_id or item.event_id or item.id or item.record_id  # in the order of items.ITEM_KEYS
        # an autonomy event is named by what it is about
        if not name or len(name) > MAX_IDENTITY_CHARACTERS or (item.type and item.type.startswith(autonomy.PREFIX)):
            return None
        names.append(name)
    return names


FORMAT = Format(
    "experiences",
    parse,
    (
        Door("drop", "trinity/events", r"experiences_[^/]*\.json"),
        Door("drop", "trinity/events", r"5_\d+_[^/]*\.json"),
        Door("drop", "trinity/inbox/reactor_core", r"[^./][^/]*\.json"),
    ),
    schema=Experiences,
    quick=Quick(_Quick, _names),
)
