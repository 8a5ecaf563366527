"""What do the bytes of a JSON text tell before they are parsed? Looked up in C: native/src/json_text.c.

Of bytes that are no JSON they tell nothing that may be relied on: parse them.
"""

from __future__ import annotations

from reactord.kernels import ffi, lib

MAX_LINES = 1 << 17


def depth_of(text: bytes) -> int:
    """The containers of a JSON text that are open at once, at most; 0 for a number or a string."""
    return int(lib.rk_json_depth(text, len(text)))


def object_lines(text: bytes) -> list[int] | None:
    """The offset behind each line, if every one begins with { and ends with }; None for other text, or too many."""
    room = min(MAX_LINES, len(text) // 3 + 1)  # the least line is `{}` and a newline
    ends = ffi.new("int64_t[]", room)
    found = lib.rk_json_lines(text, len(text), ends, room)
    return ffi.unpack(ends, found) if found >= 0 else None
