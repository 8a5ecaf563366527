"""How does blocking work run beside the event loop?"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in a thread of its own and return what it returns, or raise what it raises.

    Cancelling does not wait for it: only work that may be cut off and done again belongs here. Not `asyncio.to_thread`:
    the end of the daemon would wait for that pool, for as long as a Prime takes to load a model.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[object] = loop.create_future()

    def tell(value: object, error: BaseException | None) -> None:
        if not ended.done():
            ended.set_exception(error) if error is not None else ended.set_result(value)

    def body() -> None:
        value, error = None, None
        try:
            value = work(*args, **kwargs)
        except BaseException as raised:  # noqa: BLE001 - raised again where it is awaited
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop may be gone
            loop.call_soon_threadsafe(tell, value, error)

    threading.Thread(target=body, name=getattr(work, "__name__", "work"), daemon=True).start()
    return cast("T", await ended)
