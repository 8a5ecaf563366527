"""How deep does a JSON text nest? Told from its bytes, because a walk over the parsed value costs more than parsing.

The count is made by native/src/depth.c. Of bytes that are no JSON it says nothing: parse them first.
"""

from __future__ import annotations

from reactord.kernels import lib


def depth_of(text: bytes) -> int:
    """The containers of a JSON text that are open at once, at most; 0 for a number or a string."""
    return int(lib.rk_json_depth(text, len(text)))
