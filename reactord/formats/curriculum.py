"""Which tasks does Body want us to practise? `reactor_events/curriculum_<ms>.json`, once an hour.

`top_k` lists types of task by priority, the most failed ones first. It is news, not training data; other readers poll
the same directory, so the files stay.
"""

from __future__ import annotations

from typing import Literal

from reactord.formats.door import Door, Format
from reactord.formats.records import Item, Notice, load_object
from reactord.formats.schema import Document, Number, Text, require

TOPIC = "curriculum"


class CurriculumEntry(Document):
    """One type of task, and how badly it needs practice (0..1)."""

    task_type: str
    priority: float
    failure_rate: Number = None


class Curriculum(Document):
    """One curriculum signal."""

    event_type: Literal["curriculum_signal"]
    top_k: list[CurriculumEntry]
    generated_at: Text = None


def parse(raw: bytes, where: str) -> list[Item]:
    """Read one whole file. Raises BadRecord when it is no curriculum."""
    body = load_object(raw)
    require(Curriculum, body)
    return [Notice(TOPIC, body.get("generated_at") or where, body)]


FORMAT = Format(
    "curriculum",
    parse,
    (Door("spool", "reactor_events", r"curriculum_[^/]*\.json", ("JARVIS_REACTOR_EVENT_DIR",)),),
    schema=Curriculum,
)
