"""What does one line of an experience log say? (contract/body.md 3.5)

Free-form objects, one a line: what the supervisor could not send, what the training pipeline collects, what the
experience recorder keeps. The recorder adds later how an experience ended, as a line `outcome_update`. A file that an
event points to (`data_path`) is read as this format, too.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, RootModel

from reactord.formats import items, preference_pairs
from reactord.formats.door import Door, Format
from reactord.formats.records import Item, Record, content_identity, load_object
from reactord.formats.schema import Document, require

#: how an experience ended, told later
UPDATE = "outcome_update"


def _no_update(kind: object) -> object:
    if kind == UPDATE:
        raise ValueError("an outcome_update needs record_id and outcome, both strings")
    return kind


class OutcomeUpdate(Document):
    """How an experience ended that was recorded before."""

    type: Literal["outcome_update"]
    record_id: str
    outcome: str


class FreeExperience(Document):
    """Any object; what can be learned from it is looked at later."""

    type: Annotated[Any, AfterValidator(_no_update), Field(json_schema_extra={"not": {"const": UPDATE}})] = None


class ExperienceLine(RootModel[OutcomeUpdate | FreeExperience]):
    """One line of an experience log."""


def parse(raw: bytes, where: str) -> list[Item]:
    """Read one line. Raises BadRecord when it is no object, or an update of nothing."""
    body = load_object(raw)
    if body.get("type") == UPDATE:
        require(ExperienceLine, body)
        said = (body["record_id"], body["outcome"], str(body.get("timestamp")))
        update = {**{key: value for key, value in body.items() if key != "record_id"}, "refers_to": body["record_id"]}
        return [Record(content_identity(UPDATE, *said), update)]
    if preference_pairs.is_pair(body):
        return [preference_pairs.record(body)]
    return [items.record(body, content_identity(where, raw))]


FORMAT = Format(
    "experience_lines",
    parse,
    (
        Door("tail", "experience_fallback", r"experiences_[^/]*\.jsonl"),
        Door("tail", "training/experiences", r"[^/]*_experiences\.jsonl", ("JARVIS_EXPERIENCE_DIR",)),
        Door("tail", "training/experiences", r"[^./][^/]*(?<!_experiences)\.jsonl"),
    ),
    schema=ExperienceLine,
    lines=True,
)
