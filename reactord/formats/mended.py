"""What had to be mended in a document before it could be read? The bytes themselves stay as they were sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import orjson

from reactord.formats.records import Mended

_BOM = b"\xef\xbb\xbf"
_SURROGATE = re.compile("[\ud800-\udfff]")


def mended(raw: bytes) -> list[Mended]:
    """The kinds of trouble that `records.load` mended in a document that it accepted; nearly always none."""
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return [Mended(what) for what in sorted(_troubles(raw))]
    return []


def _troubles(raw: bytes) -> Iterable[str]:
    found = {"byte order mark"} if raw.startswith(_BOM) else set()

    def constant(name: str) -> None:
        found.add(name.removeprefix("-"))

    value = json.loads(raw.decode("utf-8-sig"), parse_constant=constant)
    if _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        found.add("lone surrogate")
    return found
