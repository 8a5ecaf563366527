"""What does each file on the bus say? Pure parsers: bytes in, records out. A leaf room that imports errors only.

A format is one module here that ends with `FORMAT = Format(name, parse, doors, ...)`; nothing else need be told of it.
`parse(raw, where)` raises `BadRecord` when the bytes as a whole are not what their name promises. `where` names the
bytes (file and offset): it identifies records that carry no identity of their own.
"""

from __future__ import annotations

import importlib
import pkgutil

from reactord.formats.door import Door, Format
from reactord.formats.records import Item, Mended, Notice, Parser, Pointer, Record, Refusal, Said

_MODULES = (importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__))
#: by name; the journal stores the name beside the bytes, so a name is never reused for another meaning
FORMATS: dict[str, Format] = {module.FORMAT.name: module.FORMAT for module in _MODULES if hasattr(module, "FORMAT")}

__all__ = ["FORMATS", "Door", "Format", "Item", "Mended", "Notice", "Parser", "Pointer", "Record", "Refusal", "Said"]
