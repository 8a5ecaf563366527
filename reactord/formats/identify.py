"""Which format is this file? By its place, else by its name, else by what it says."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePath

from reactord.errors import BadRecord
from reactord.formats.door import Door, Format
from reactord.formats.records import Item, Refusal, load

SAMPLE = 20
SAMPLE_BYTES = 4 * 1024 * 1024


def identify(path: Path, raw: bytes, formats: Iterable[Format]) -> tuple[Format | None, str]:
    """(the format, how it was found); None when none of them accepts anything in the file."""
    forms, name = list(formats), path.name.removesuffix(".gz")
    directory = Path(os.path.abspath(path)).parent  # noqa: PTH100 - a link is a place of its own
    placed = [
        (len(door.directory), form)
        for form in forms
        for door in form.doors
        if door.admits(name) and _is_at(directory, door)
    ]
    if placed:
        return max(placed, key=lambda found: found[0])[1], "by its place"
    named = [form for form in forms if any(door.admits(name) and not _admits_any(door, name) for door in form.doors)]
    if len(named) == 1:
        return named[0], "by its name"
    return _by_content(forms, raw) or (None, "")


def _is_at(directory: Path, door: Door) -> bool:
    below = PurePath(door.directory).parts
    if directory.parts[len(directory.parts) - len(below) :] == below:
        return True
    return directory in door.elsewhere(os.environ)


def _admits_any(door: Door, name: str) -> bool:
    """Whether a door's pattern says nothing but how the name ends."""
    return door.admits(f"zzzz{PurePath(name).suffix}")


def _by_content(forms: list[Format], raw: bytes) -> tuple[Format, str] | None:
    """The format that accepts most of the file; of several, the one that knows most of its words."""
    lines = [line for line in raw[:SAMPLE_BYTES].split(b"\n") if line.strip()][:SAMPLE]
    best: tuple[tuple[float, int], Format] | None = None
    for form in forms:
        sample = lines if form.lines else [raw[:SAMPLE_BYTES]]
        accepted = sum(_accepts(form, document) for document in sample)
        known = _fields(form)
        spoken = set().union(*(_keys(document) for document in sample))
        if not sample or not (accepted or known & spoken):
            continue
        # a form that takes any object is accepted easily: what it knows by name weighs more
        rank = (len(known & spoken) + accepted / len(sample), -len(known))
        if best is None or rank > best[0]:
            best = (rank, form)
    return (best[1], "by what it says") if best else None


def _accepts(form: Format, document: bytes) -> bool:
    try:
        found: list[Item] = form.parse(document, "")
    except BadRecord:
        return False
    return not found or any(not isinstance(item, Refusal) for item in found)


def _keys(document: bytes) -> set[str]:
    try:
        value = load(document)
    except BadRecord:
        return set()
    return set(value) if isinstance(value, dict) else set()


def _fields(form: Format) -> set[str]:
    """Every name that the schema of a format knows."""
    if form.schema is None:
        return set()
    schema = form.schema.model_json_schema()
    return {name for part in (schema, *schema.get("$defs", {}).values()) for name in part.get("properties", {})}
