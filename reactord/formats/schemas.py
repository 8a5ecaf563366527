"""What can an emitter test against? The JSON Schema of every format, as docs/schemas/ holds them.

`reactord check-file --schemas DIR` writes them; a test compares them with the ones that are checked in.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson
from pydantic import BaseModel

from reactord.formats.autonomy import AutonomyEvent
from reactord.formats.command_queue import QueueEntry
from reactord.formats.door import Format
from reactord.formats.schema import SCHEMA_VERSION, Document, Id, Object, Text

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class ExperienceItem(Document):
    """One experience among others. Free-form: every field may be missing; these are read first."""

    id: Id = None
    experience_id: Id = None
    type: Text = None
    input: Object | str = None
    output: Object | str = None
    metadata: Object = None


def documents(formats: Iterable[Format]) -> dict[str, bytes]:
    """File name -> content, for every format that has a schema, and for what experiences and queues are made of."""
    models: dict[str, type[BaseModel]] = {form.name: form.schema for form in formats if form.schema}
    models |= {"experience_item": ExperienceItem, "autonomy_event": AutonomyEvent, "command_entry": QueueEntry}
    return {f"{name}.json": _document(name, model) for name, model in sorted(models.items())}


def _document(name: str, model: type[BaseModel]) -> bytes:
    body = model.model_json_schema()
    head = {"$schema": _DIALECT, "title": f"reactord {name}", "x-schema-version": SCHEMA_VERSION}
    return orjson.dumps(head | {key: body[key] for key in body if key != "title"}, option=orjson.OPT_INDENT_2) + b"\n"
