"""What does a client send, and is it what it should be? Strict about what we read, patient with everything else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from reactord.errors import BadRequest
from reactord.formats.records import load_object
from reactord.http.refusals import BadFields, TooLarge

Model = TypeVar("Model", bound=BaseModel)

TIMEOUT_S = 30.0
#: bodies that are larger, or may be, are read so many at a time: others wait, for their memory is ours
MAX_LARGE = 16
#: what is larger is parsed in a thread: a loop that parses for 50 ms answers nobody
LARGE_BYTES = 64 * 1024

#: what a value costs does not depend on its length: 8 MiB of `[],` are 240 MB of lists, made while all wait
MAX_VALUES = 1_000_000
LARGE: web.AppKey[asyncio.Semaphore] = web.AppKey("large", asyncio.Semaphore)


class Body(BaseModel):
    """What a client sends: types are meant as they are written, what we do not know is somebody else's business."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)


class Query(BaseModel):
    """What stands behind the question mark: text, so numbers are read from it."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Said(BaseModel):
    """What we answer. More may be added to it, and nothing is taken away."""

    model_config = ConfigDict(extra="allow")


async def body_of(model: type[BaseModel], request: web.Request, *, or_nothing: bool = False) -> BaseModel:
    """The JSON object that a request carries. `or_nothing`: no bytes are an empty one.

    Raises BadInput, and what aiohttp raises of a body that is too large or too slow.
    """
    raw = await _read(request) or (b"{}" if or_nothing else b"")
    if len(raw) > LARGE_BYTES:
        return await asyncio.to_thread(_understood, model, raw)
    return _understood(model, raw)


def _understood(model: type[BaseModel], raw: bytes) -> BaseModel:
    if values_in(raw) > MAX_VALUES:
        raise TooLarge(f"the body holds more than {MAX_VALUES} values; send it in parts")
    return checked(model, load_object(raw))


def values_in(raw: bytes) -> int:
    """At least as many as there are in it, and never parsed for that."""
    return sum(map(raw.count, (b",", b"[", b"{")))


async def _read(request: web.Request) -> bytes:
    length = request.content_length
    if (length or 0) > request.client_max_size:
        raise web.HTTPRequestEntityTooLarge(request.client_max_size, length or 0)
    is_large = length is None or length > LARGE_BYTES or "Content-Encoding" in request.headers
    try:
        async with asyncio.timeout(TIMEOUT_S), request.app[LARGE] if is_large else contextlib.nullcontext():
            return await _whole(request)
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except web.RequestPayloadError as damage:
        raise BadRequest(f"the body cannot be read ({damage}); send it again, whole") from None


async def _whole(request: web.Request) -> bytes:
    """All of it. aiohttp's own read() unpacks in pieces as large as all we take: 100 MB for 64 KB of gzip."""
    body = bytearray()
    while chunk := await request.content.readany():
        body += chunk
        if len(body) > request.client_max_size:
            raise web.HTTPRequestEntityTooLarge(request.client_max_size, len(body))
    return bytes(body)


def checked(model: type[Model], values: Mapping[str, Any]) -> Model:
    """The values as the model has them. Raises BadFields."""
    try:
        return model.model_validate(values)
    except ValidationError as invalid:
        raise BadFields(invalid) from None
