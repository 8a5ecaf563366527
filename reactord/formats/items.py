"""What does a list of experiences, or one event, hold? Shared by every format that carries them.

Experiences come as a list in a packet, or as the payload of one event. Items are free-form objects: only their identity
is looked at here; what can be learned from them is for the data room to say.
"""

from __future__ import annotations

from typing import Any, TypeGuard

from reactord.errors import BadRecord
from reactord.formats import autonomy
from reactord.formats.records import Item, Notice, Pointer, Record, Refusal, content_identity, identity_of

ITEM_KEYS = ("experience_id", "event_id", "id", "record_id")
PACKET_KEYS = ("packet_id", "batch_id", "event_id", "message_id")
MAX_ITEMS = 100_000
#: these name a file of experiences in their payload
POINTING = ("data_batch_ready", "experience_collected")
#: no path is longer, here or elsewhere; walking one of megabytes would take hours
MAX_PATH_BYTES = 4096
CURRICULUM = "curriculum"
#: what else Prime's bus carries to our inbox: states and wishes, no experiences (contract/prime.md 3.3)
SILENT = frozenset((
    "heartbeat", "model_ready", "model_loading", "model_unloaded", "model_failed", "training_started",
    "training_progress", "training_complete", "training_failed", "data_quality_alert", "health_changed",
    "component_started", "component_stopped", "component_failed", "config_updated", "config_reload_requested",
    "shutdown_requested", "shutdown_announce", "custom",
))  # fmt: skip


def listed(found: list[Any], packet: str) -> list[Item]:
    """The items of a packet. Those without an id are named by the packet and their place in it."""
    if len(found) > MAX_ITEMS:
        raise BadRecord(f"{len(found)} experiences in one document: send at most {MAX_ITEMS}")
    return [record(item, f"{packet}:{i}") for i, item in enumerate(found)]


def record(item: Any, fallback: str) -> Record | Refusal:  # noqa: ANN401 - any JSON value
    """One experience, under its own id or else `fallback`."""
    if not isinstance(item, dict):
        return Refusal(content_identity(fallback), "experience_not_an_object")
    if autonomy.is_autonomy(item):
        return autonomy.record(item, fallback)
    return Record(identity_of(item, ITEM_KEYS, fallback), item)


def packet_of(*holders: dict[str, Any], fallback: str) -> str:
    """The id of the packet, the innermost holder first: the same packet by two routes has the same one."""
    names: dict[str, Any] = {}
    for holder in reversed(holders):
        names |= holder
    return identity_of(names, PACKET_KEYS, fallback)


def event(kind: str, event_id: Any, payload: dict[str, Any], fallback: str) -> list[Item]:  # noqa: ANN401 - any JSON value
    """What one event of this kind says: a file, a signal, nothing for us, or one experience."""
    if kind in SILENT:
        return []
    if kind.startswith(CURRICULUM):
        return [Notice("curriculum", str(event_id or ""), payload)]
    if kind in POINTING:
        if _is_readable(path := payload.get("data_path")):
            return [Pointer(path)]
        words = f"{kind} without a file: write payload.data_path, the absolute path of a .jsonl file"
        return [Refusal(content_identity(kind, fallback), words)]
    return [record({**payload, "event_type": kind, "event_id": event_id}, fallback)]


def _is_readable(path: Any) -> TypeGuard[str]:  # noqa: ANN401 - any JSON value
    """Whether a file of this name would be read at all."""
    return (
        isinstance(path, str)
        and path.startswith("/")
        and path.endswith(".jsonl")
        and "\0" not in path
        and len(path.encode()) <= MAX_PATH_BYTES
    )
