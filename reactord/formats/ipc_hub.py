"""What does one line of `trinity/ipc/reactor-core_events.jsonl` say? (contract/body.md 3.5)

Body's IPC hub writes its messages there without saying of which type they are: training data has `interactions`, and
news about a model's performance a `feedback_type`. Commands and calls expect an answer that nobody could read.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from reactord.formats import items
from reactord.formats.door import Door, Format
from reactord.formats.items import MAX_ITEMS
from reactord.formats.records import Item, Notice, content_identity, load_object
from reactord.formats.schema import Document, Id, require


class IpcMessage(Document):
    """One message; the fields that are there say what it is."""

    interactions: list[Any] = Field([], max_length=MAX_ITEMS)
    feedback_type: str = ""
    batch_id: Id = None
    message_id: Id = None


def parse(raw: bytes, where: str) -> list[Item]:
    """Read one line. Raises BadRecord when it is no message."""
    body = load_object(raw)
    require(IpcMessage, body)
    if found := body.get("interactions"):
        return items.listed(found, items.packet_of(body, fallback="") or content_identity(where, raw))
    if body.get("feedback_type"):
        return [Notice("prime.feedback", str(body.get("model_id") or ""), body)]
    return []


FORMAT = Format(
    "ipc_hub",
    parse,
    (Door("tail", "trinity/ipc", r"reactor-core_events\.jsonl", ("TRINITY_IPC_DIR",)),),
    schema=IpcMessage,
    lines=True,
)
