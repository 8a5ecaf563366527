"""What does one line of the bus say? (contract/body.md 3.3)

`trinity/bus_sync/jarvis_events.jsonl` is the first route of experiences; the write-ahead log `trinity/events/events_*`
holds the same events, and is what is left when a peer empties the first. Topics other than ours are Body's own news.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, RootModel

from reactord.errors import BadRecord
from reactord.formats import items
from reactord.formats.door import Door, Format
from reactord.formats.experiences import Packet
from reactord.formats.items import CURRICULUM, MAX_ITEMS
from reactord.formats.records import Item, Notice, content_identity, load_object
from reactord.formats.schema import Document, Id, require

TOPIC = "reactor.experiences"


def _another(topic: str) -> str:
    if topic == TOPIC:
        raise ValueError("an event of this topic carries payload.experiences, a list")
    return topic


class ExperiencesEvent(Document):
    """A packet of experiences for us."""

    topic: Literal["reactor.experiences"]
    payload: Packet
    event_id: Id = None


class OtherEvent(Document):
    """Whatever else the bus carries."""

    topic: Annotated[str, AfterValidator(_another), Field(json_schema_extra={"not": {"const": TOPIC}})]


class BusEvent(RootModel[ExperiencesEvent | OtherEvent]):
    """One line of the bus."""


def parse(raw: bytes, where: str) -> list[Item]:
    """Read one line. Raises BadRecord when it has no topic, or ours without experiences."""
    body = load_object(raw)
    topic, payload = body.get("topic"), body.get("payload")
    if topic == TOPIC:
        if (
            isinstance(payload, dict)
            and isinstance(found := payload.get("experiences"), list)
            and len(found) <= MAX_ITEMS
        ):
            packet = items.packet_of(payload, body, fallback="") or content_identity(where, raw)
            return items.listed(found, packet)
    elif isinstance(topic, str):
        return _news(topic, body, payload)
    require(BusEvent, body)
    raise BadRecord("of no form that is read: compare it with docs/schemas/bus_events.json")  # never silently dropped


def _news(topic: str, body: dict[str, Any], payload: Any) -> list[Item]:  # noqa: ANN401 - any JSON value
    if topic.startswith(CURRICULUM) and isinstance(payload, dict):
        return [Notice("curriculum", str(body.get("event_id") or ""), payload)]
    return []


FORMAT = Format(
    "bus_events",
    parse,
    (
        Door("tail", "trinity/bus_sync", r"jarvis_events\.jsonl"),
        Door("tail", "trinity/events", r"events_[^/]*\.jsonl"),
    ),
    schema=BusEvent,
    lines=True,
)
