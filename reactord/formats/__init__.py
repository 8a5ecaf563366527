"""What does each file on the bus say? Pure parsers: bytes in, records out. A leaf room that imports errors only.

A format is one module with one function `parse(raw, where) -> list[Record | Refusal]` that raises `BadRecord` when the
bytes as a whole are not what their name promises. `where` names the bytes (file and offset): it identifies records that
carry no identity of their own.
"""

from __future__ import annotations

from reactord.formats import experiences, telemetry
from reactord.formats.records import Parser, Record, Refusal

#: by name; the journal stores the name beside the bytes, so a name is never reused for another meaning
FORMATS: dict[str, Parser] = {
    "telemetry": telemetry.parse,
    "experiences": experiences.parse,
}

__all__ = ["FORMATS", "Parser", "Record", "Refusal"]
