"""What does a client send, and is it what it should be? Strict about what we read, patient with everything else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from reactord.errors import BadRequest
from reactord.formats.records import load_object
from reactord.http.large import LARGE_BYTES, by_size
from reactord.http.refusals import BadFields, TooLarge
from reactord.kernels.json_text import values_of

Model = TypeVar("Model", bound=BaseModel)

TIMEOUT_S = 30.0
#: what a value costs does not depend on its length: 8 MiB of `[],` are 240 MB of lists. Ten thousand experiences of 20
#: fields are 200,000 values
MAX_VALUES = 600_000
MAX_CONTAINERS = 150_000
#: in the outermost object
MAX_NAMES = 10_000


class Body(BaseModel):
    """What a client sends: types are meant as they are written, what we do not know is somebody else's business."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)


class Query(BaseModel):
    """What stands behind the question mark: text, so numbers are read from it."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Said(BaseModel):
    """What we answer. More may be added to it, and nothing is taken away."""

    model_config = ConfigDict(extra="allow")


async def received(request: web.Request) -> bytes:
    """What the body is. Raises BadInput, and what aiohttp raises of one that is too large or too slow."""
    length = request.content_length or 0
    if length > request.client_max_size:
        raise web.HTTPRequestEntityTooLarge(request.client_max_size, length)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await _whole(request)
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except web.RequestPayloadError as damage:
        raise BadRequest(f"the body cannot be read ({damage}); send it again, whole") from None


async def understood(model: type[BaseModel], request: web.Request, raw: bytes, *, or_nothing: bool) -> BaseModel:
    """The JSON object in a body. `or_nothing`: no bytes are an empty one. Raises BadInput."""
    return await by_size(request, _understood, model, raw or (b"{}" if or_nothing else b""))


def _understood(model: type[BaseModel], raw: bytes) -> BaseModel:
    bounded(raw)
    values = load_object(raw)
    if len(values) > MAX_NAMES:
        raise TooLarge(f"the body has {len(values)} names; send at most {MAX_NAMES}")
    return checked(model, values)


def bounded(text: bytes | memoryview) -> None:
    """Raises TooLarge of a JSON text that would be too many values."""
    if len(text) <= LARGE_BYTES:
        return
    values, containers = values_of(text)
    if values > MAX_VALUES or containers > MAX_CONTAINERS:
        raise TooLarge(
            f"{values} values, {containers} of them lists and objects, are too many at once;"
            f" send at most {MAX_VALUES}, and {MAX_CONTAINERS}"
        )


async def _whole(request: web.Request) -> bytes:
    """All of it. aiohttp's own read() unpacks in pieces as large as all we take: 100 MB for 64 KB of gzip."""
    body = bytearray()
    while chunk := await request.content.readany():
        body += chunk
        if len(body) > request.client_max_size:
            await _passed_over(request)
            raise web.HTTPRequestEntityTooLarge(request.client_max_size, len(body))
        if len(body) > LARGE_BYTES:
            await asyncio.sleep(0)  # what is packed is there at once, and unpacked on the way
    return bytes(body)


async def _passed_over(request: web.Request) -> None:
    """Let the sender of a packed body come to its end, so that it can see the refusal; not of a bomb."""
    left = request.client_max_size if "Content-Encoding" in request.headers else 0
    while left > 0 and (chunk := await request.content.readany()):
        left -= len(chunk)
        await asyncio.sleep(0)


def checked(model: type[Model], values: Mapping[str, Any]) -> Model:
    """The values as the model has them. Raises BadFields."""
    try:
        return model.model_validate(values)
    except ValidationError as invalid:
        raise BadFields(invalid) from None
