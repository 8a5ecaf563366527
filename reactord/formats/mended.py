"""What had to be mended in a document before it could be read? The bytes themselves stay as they were sent."""

from __future__ import annotations

import json
import re

import orjson

from reactord.formats.pieces import Text, parsed
from reactord.formats.records import BOM, Mended

_SURROGATE = re.compile("[\ud800-\udfff]")


def mended(raw: bytes) -> list[Mended]:
    """The kinds of trouble that `records.load` mended in a document that it accepted; nearly always none."""
    found = {"byte order mark"} if raw.startswith(BOM) else set()

    def look(text: Text) -> object:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return _looked_at(bytes(text).decode(), found)

    parsed(raw.removeprefix(BOM), look)
    return [Mended(what) for what in sorted(found)]


def _looked_at(text: str, found: set[str]) -> object:
    """What it says, and into `found` what is wrong with it."""

    def constant(name: str) -> None:
        found.add(name.removeprefix("-"))

    value: object = json.loads(text, parse_constant=constant)
    if _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        found.add("lone surrogate")
    return value
