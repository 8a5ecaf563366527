"""What does one line of a ready-made preference file say? (contract/lifecycle.md 13, contract/prime.md 4, row 7)

Prompt, chosen and rejected, made by somebody else: `dpo_dataset.jsonl` (a ring, written anew each time),
`dpo_pairs_<ts>.jsonl`, `preferences_<ts>.jsonl`. A pair has no id: it is what it says, so that the same pair in two
files, or in a file written anew, counts once.
"""

from __future__ import annotations

from typing import Any

from reactord.formats.door import Door, Format
from reactord.formats.records import Item, Record, content_identity, load_object
from reactord.formats.schema import Document, Number, Object, Text, require


class PreferencePair(Document):
    """One pair."""

    prompt: str
    chosen: str
    rejected: str
    chosen_model: Text = None
    rejected_model: Text = None
    chosen_score: Number = None
    rejected_score: Number = None
    generation_method: Text = None
    metadata: Object = None


def is_pair(body: dict[str, Any]) -> bool:
    """Whether an object, by whatever door it came, is one of these: a chosen and a rejected text."""
    return isinstance(body.get("chosen"), str) and isinstance(body.get("rejected"), str)


def parse(raw: bytes, where: str) -> list[Item]:
    """Read one line. Raises BadRecord when it is no pair."""
    del where
    body = load_object(raw)
    return [record(body)]


def record(body: dict[str, Any]) -> Record:
    """The pair under what it says. Raises BadRecord when it says too little."""
    require(PreferencePair, body)
    return Record(content_identity("pair", body["prompt"], body["chosen"], body["rejected"]), body)


FORMAT = Format(
    "preference_pairs",
    parse,
    (
        Door("tail", "", r"dpo_dataset\.jsonl"),
        Door("tail", "training/dpo_pairs", r"dpo_pairs_[^/]*\.jsonl"),
        Door("tail", "reactor/data", r"preferences_[^/]*\.jsonl", ("REACTOR_DATA_DIR",)),
    ),
    schema=PreferencePair,
    lines=True,
)
