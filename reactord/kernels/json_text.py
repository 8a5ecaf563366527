"""What do the bytes of a JSON text tell before they are parsed? Looked up in C: native/src/json_text.c.

Of bytes that are no JSON they tell nothing that may be relied on: parse them.
"""

from __future__ import annotations

from typing import NamedTuple

from reactord.kernels import ffi, lib

MAX_LINES = 1 << 17


class Piece(NamedTuple):
    """Some elements of a list, or members of an object, that lie side by side; or a large one alone."""

    begin: int
    end: int
    value: int  # where the value of the one that is alone begins; -1: they are several, or small


def depth_of(text: bytes) -> int:
    """The containers of a JSON text that are open at once, at most; 0 for a number or a string."""
    return int(lib.rk_json_depth(text, len(text)))


def values_of(text: bytes | memoryview) -> tuple[int, int]:
    """(values at most, of them containers) that a JSON text makes when it is parsed. A key is part of its value."""
    containers = ffi.new("size_t *")
    commas_too = lib.rk_json_values(ffi.from_buffer(text), len(text), containers)
    return int(commas_too) + 1, int(containers[0])


def pieces_of(text: bytes | memoryview, least: int) -> list[Piece] | None:
    """Where a JSON list or object can be cut: fewer than 2 * `least` bytes each, or alone. Nothing else can be: [].

    None: it does not end as it begins. If each piece is some elements or members, and none is blank, it was JSON.
    """
    room = 2 * len(text) // least + 2
    pieces = ffi.new("rk_piece[]", room)
    found = lib.rk_json_pieces(ffi.from_buffer(text), len(text), least, pieces, room)
    if found < 0:
        return None
    return [Piece(piece.begin, piece.end, piece.value) for piece in pieces[0:found]]


def object_lines(text: bytes) -> list[int] | None:
    """The offset behind each line, if every one begins with { and ends with }; None for other text, or too many."""
    room = min(MAX_LINES, len(text) // 3 + 1)  # the least line is `{}` and a newline
    ends = ffi.new("int64_t[]", room)
    found = lib.rk_json_lines(text, len(text), ends, room)
    return ffi.unpack(ends, found) if found >= 0 else None
