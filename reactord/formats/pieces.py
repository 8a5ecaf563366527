"""How is a large JSON text parsed while others want to work, too? In pieces.

No parser lets go of the interpreter before it is done: 16 MiB of lists held up every thread for half a second. Cut into
pieces (in C, while others run), the longest that anybody waits for is one of them.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

from reactord.kernels.json_text import Piece, pieces_of

#: what is smaller is parsed at once: that takes a millisecond or two, whatever is in it
SMALL_BYTES = 32 * 1024

Text = bytes | memoryview
#: what parses a small text; raises whatever it wants
Parse = Callable[[Text], Any]
#: what looks at a text before it is parsed, and may raise
Look = Callable[[Text], object]


class Broken(ValueError):
    """A text that is not what it begins as."""


class NoList(ValueError):
    """A text that is no list."""


def parsed(text: Text, parse: Parse) -> Any:  # noqa: ANN401 - any JSON value
    """What `parse` would make of the whole text. Raises what that raises for a piece, and Broken.

    The caller knows that the text is not nested deeper than Python can follow.
    """
    if len(text) <= SMALL_BYTES:
        return parse(text)
    gc.disable()  # its full looks, each at all that there is by then, are what would hold everybody up
    try:
        return _parsed(text, parse)
    finally:
        gc.enable()


def _parsed(text: Text, parse: Parse) -> Any:  # noqa: ANN401
    view = memoryview(text)
    pieces = _cut(view)
    if not pieces:
        return parse(text)
    if view[pieces[0].begin - 1] == ord("{"):
        return _members(view, pieces, parse)
    return [element for some in _elements(view, pieces, parse, len) for element in some]


def elements(text: Text, parse: Parse, large: Look) -> Iterator[list[Any]]:
    """What is in a list, some of it at a time; before a large element is parsed, `large` may refuse it.

    Raises as `parsed`, and NoList.
    """
    view = memoryview(text)
    pieces = _cut(view)
    if pieces and view[pieces[0].begin - 1] == ord("["):
        yield from _elements(view, pieces, parse, large)
    elif not pieces and isinstance(whole := parse(text), list):
        yield whole
    else:
        raise NoList


def _cut(view: memoryview) -> list[Piece]:
    """Nothing when it should be parsed at once."""
    pieces = pieces_of(view, SMALL_BYTES) if len(view) > SMALL_BYTES else []
    if pieces is None:
        raise Broken("it does not end as it begins")
    return pieces


def _elements(view: memoryview, pieces: list[Piece], parse: Parse, large: Look) -> Iterator[list[Any]]:
    for begin, end, value in pieces:
        if value < 0:
            yield parse(b"[%b]" % _some(view[begin:end]))
        else:
            large(view[begin:end])
            yield [_parsed(view[begin:end], parse)]


def _members(view: memoryview, pieces: list[Piece], parse: Parse) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for begin, end, value in pieces:
        if value < 0:
            found |= parse(b"{%b}" % _some(view[begin:end]))
        else:
            key = parse(view[begin : value - 1])
            if not isinstance(key, str):
                raise Broken("a name is no string")
            found[key] = _parsed(view[value:end], parse)
    return found


def _some(piece: memoryview) -> bytes:
    """In brackets, nothing would be an empty container."""
    some = bytes(piece)
    if not some.strip():
        raise Broken("a value is missing")
    return some
