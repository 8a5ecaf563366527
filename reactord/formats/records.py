"""What is a record, and how do bytes become JSON without hurting us?"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from reactord.errors import BadRecord
from reactord.formats.pieces import SMALL_BYTES, Broken, Look, NoList, Text, elements, parsed
from reactord.formats.schema import KINDS
from reactord.kernels.json_text import depth_of

#: orjson parses to 1024 and refuses to write beyond 254: what cannot be written again is not accepted
MAX_DEPTH = 64
MAX_IDENTITY_CHARACTERS = 256
#: Python's writers may put it in front
BOM = b"\xef\xbb\xbf"


class Record(NamedTuple):  # thousands a second: four times as cheap as a frozen dataclass
    """One thing that arrived: its identity and the JSON object as it was sent."""

    identity: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A part of a readable file that is no record. It is counted by its reason; its bytes stay in the journal."""

    identity: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pointer:
    """A file that an event names: its lines are experiences, too."""

    path: str


@dataclass(frozen=True, slots=True)
class Notice:
    """News about our own work (a deployment, a curriculum): no training data, but worth remembering as an event."""

    topic: str
    subject: str
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Mended:
    """What Python's own writers do and JSON forbids: a NaN, a byte order mark, half a surrogate pair.

    It is read all the same, and counted.
    """

    what: str


Item = Record | Refusal | Pointer | Notice
#: the same with records by their identity alone: what else they say is read again when a dataset is made of them
Said = str | Refusal | Pointer | Notice | Mended
#: bytes and where they come from -> what is in them; nothing in them for us is an empty list
Parser = Callable[[bytes, str], list[Item]]


def load(raw: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Parse JSON; give what Python's own writers emit (NaN, a BOM, lone surrogates) a second chance.

    NaN and infinities become null, lone surrogates a question mark; integers of more than 64 bits become floats either
    way, so that what was accepted can be written again. Raises BadRecord with the parser's words.
    """
    deep = _is_deep(raw)
    try:
        value = parsed(raw.removeprefix(BOM), _lenient)
    except Broken as broken:
        raise _no_json(broken) from None
    if deep:
        raise BadRecord(f"nested deeper than {MAX_DEPTH} levels; flatten the document")
    return value


def load_some(raw: bytes, large: Look) -> Iterator[list[Any]]:
    """What is in a JSON list, some of it at a time; before a large element is parsed, `large` may refuse it.

    Raises BadRecord as `load` does, and for what is no list.
    """
    if _is_deep(raw):
        raise BadRecord(f"nested deeper than {MAX_DEPTH} levels; flatten the document")
    try:
        yield from elements(raw.removeprefix(BOM), _lenient, large)
    except NoList:
        raise BadRecord("this is no JSON list; write one list") from None
    except Broken as broken:
        raise _no_json(broken) from None


def _is_deep(raw: bytes) -> bool:
    """Raises BadRecord of a large text that is: it cannot be looked at in pieces."""
    deep = depth_of(raw) > MAX_DEPTH
    if deep and len(raw) > SMALL_BYTES:
        raise BadRecord(f"not JSON, or nested deeper than {MAX_DEPTH} levels; flatten the document")
    return deep


def _lenient(text: Text) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as first:
        try:
            return _mend(json.loads(bytes(text).decode("utf-8", errors="strict"), parse_int=_integer))
        except (ValueError, RecursionError):
            raise _no_json(first) from None


def _no_json(why: ValueError) -> BadRecord:
    return BadRecord(f"not JSON: {why}; send one complete UTF-8 JSON value")


def load_object(raw: bytes) -> dict[str, Any]:
    """Parse JSON that must be an object."""
    value = load(raw)
    if not isinstance(value, dict):
        raise BadRecord(f"a JSON object is expected here: this is {KINDS[type(value)]}; write one object")
    return value


def identity_of(body: dict[str, Any], keys: tuple[str, ...], fallback: str) -> str:
    """The producer's own id when it sent one, else the given fallback."""
    for key in keys:
        value = body.get(key)
        if value.__class__ is str and 0 < len(value) <= MAX_IDENTITY_CHARACTERS:
            return value
    return fallback


def content_identity(*parts: bytes | str) -> str:
    """A stable name for bytes that have none."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part)
        digest.update(b"\0")
    return digest.hexdigest()


def _integer(digits: str) -> int | float:
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else float(digits)


def _mend(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {_mend(key): _mend(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_mend(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    return value
