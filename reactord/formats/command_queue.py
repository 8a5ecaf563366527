"""What does `trinity/commands/command_queue.json` say? (contract/body.md 3.7)

The commands of everybody in one file. The entries for us are taken out of it, the others are nobody's business.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from reactord.formats.command import TARGET, TOPIC, Action, CommandId, Target, notice
from reactord.formats.door import Door, Format
from reactord.formats.records import Item, Notice, Refusal, content_identity, load_object
from reactord.formats.schema import Document, Number, Object, problems, require


class QueueEntry(Document):
    """One command of several."""

    command_id: CommandId
    action: Action
    target: Target = None
    payload: Object = None
    timestamp: Number = None
    timeout_seconds: Number = None


class CommandQueue(Document):
    """The commands of everybody."""

    commands: list[Any] = Field(description="objects; see command_entry.json")


def parse(raw: bytes, where: str) -> list[Item]:
    """Read the whole file. Raises BadRecord when it is no queue."""
    body = load_object(raw)
    require(CommandQueue, body)
    queue: list[Any] = body["commands"]
    ours = [(i, entry) for i, entry in enumerate(queue) if isinstance(entry, dict) and entry.get("target") == TARGET]
    return [_entry(entry, f"{where}:{i}") for i, entry in ours]


def _entry(entry: dict[str, Any], place: str) -> Notice | Refusal:
    if wrong := problems(QueueEntry, entry):
        return Refusal(content_identity(TOPIC, place), f"a command whose {wrong[0].words()}")
    return notice(entry["command_id"], entry["action"])


FORMAT = Format(
    "command_queue",
    parse,
    (Door("command", "trinity/commands", r"command_queue\.json"),),
    schema=CommandQueue,
)
