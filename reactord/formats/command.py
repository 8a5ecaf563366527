"""What does one command say that is a file of its own, `trinity/commands/<ms>_<uuid>.json`? (contract/body.md 3.7)

Commands are no experiences: `ipc/commands.py` takes them off the bus, does them and answers. Here is what their senders
can be told of them before.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from reactord.formats.door import Door, Format
from reactord.formats.records import Item, Notice, load_object
from reactord.formats.schema import Document, Number, Object, require

TARGET = "reactor_core"
TOPIC = "command"
#: it names a file (the response), so no separators, no dot in front, and room for a prefix and a suffix
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", re.ASCII)
MAX_WORD = 64


def _named(text: str) -> str:
    if not ID.fullmatch(text):
        raise ValueError("send one of letters, digits and _.- of at most 100 characters")
    return text


def _said(text: str) -> str:
    if not 0 < len(text.strip()) <= MAX_WORD:
        raise ValueError(f"name what is to be done in at most {MAX_WORD} characters")
    return text


CommandId = Annotated[str, AfterValidator(_named), Field(json_schema_extra={"pattern": f"^{ID.pattern}$"})]
Action = Annotated[str, AfterValidator(_said), Field(json_schema_extra={"pattern": r"\S"})]
Target = Annotated[Any, Field(description="reactor_core; null for everybody; anything else is not ours")]


class CommandFile(Document):
    """One command, a TrinityCommand."""

    id: CommandId
    intent: Action
    target: Target = None
    payload: Object = None
    timestamp: Number = None
    ttl_seconds: Number = None
    requires_ack: Any = None


def parse(raw: bytes, where: str) -> list[Item]:
    """Read one whole file. Raises BadRecord when it is no command, whomever it is for."""
    del where
    body = load_object(raw)
    require(CommandFile, body)
    return [] if body.get("target") not in (TARGET, None, "") else [notice(body["id"], body["intent"])]


def notice(identity: str, action: str) -> Notice:
    """A command for us."""
    return Notice(TOPIC, identity, {"action": action.strip().lower()})


FORMAT = Format(
    "command",
    parse,
    (Door("command", "trinity/commands", r"(?!command_queue\.json)[^./][^/]*\.json"),),
    schema=CommandFile,
)
