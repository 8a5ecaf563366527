"""How does what is large keep nobody waiting? A few are in memory at a time, and one at a time is worked on.

That work is done beside the loop, in one thread: two that compute would take turns with each other, and the loop comes
third. Each step of it must let go of the interpreter soon (formats/pieces.py). And only one is there as more than its
bytes: of eight that were parsed the garbage collector had 1.6 million containers to look at, in one go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from aiohttp import web

from reactord.errors import EnvironmentTrouble

#: bodies that are larger, or may be
LARGE_BYTES = 64 * 1024
#: so many of them, from their first byte until they are answered: others wait, for their memory is ours
MAX_LARGE = 8
WAIT_S = 30.0

P = ParamSpec("P")
T = TypeVar("T")


class Desk:
    """The places for what is large, and the thread."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(MAX_LARGE)
        self.turn = asyncio.Lock()  # from what it is parsed to until it is answered
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="large")

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Until the request that may be large is answered. Raises EnvironmentTrouble when none gets free."""
        try:
            async with asyncio.timeout(WAIT_S):
                await self._places.acquire()
        except TimeoutError:
            raise EnvironmentTrouble("too many large bodies are being read; send it again in a moment") from None
        try:
            yield
        finally:
            self._places.release()

    async def work(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What takes long, once it is its turn."""
        return await asyncio.wrap_future(self._thread.submit(work, *args, **kwargs))

    def close(self) -> None:
        """Nothing more is begun."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def may_be_large(request: web.Request) -> bool:
    """Whether the body is larger than LARGE_BYTES, as far as the head tells."""
    length = request.content_length
    return request.body_exists and (length is None or length > LARGE_BYTES or "Content-Encoding" in request.headers)


async def by_size(request: web.Request, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Work on the body of a request: at once, unless it may be large."""
    if may_be_large(request):
        return await request.app[DESK].work(work, *args, **kwargs)
    return work(*args, **kwargs)


DESK: web.AppKey[Desk] = web.AppKey("desk", Desk)
