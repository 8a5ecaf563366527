"""What has one client still to be told? A bounded queue: who reads too slowly loses the oldest, and is told so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar

#: so many things wait for one client at most
MAX_WAITING = 128


class Numbered(Protocol):
    """What may be queued: its number grows, and says where a client can come back to."""

    @property
    def number(self) -> int: ...


T = TypeVar("T", bound=Numbered)


#: telling things to one client at its own pace
Tell: TypeAlias = Callable[[list[T]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Gap:
    """What a client has missed: so many things behind `after`, up to `upto`. Asking behind `after` brings them back."""

    missed: int
    after: int
    upto: int


class Outbox(Generic[T]):
    """The queue of one client. Whoever publishes only puts; the client's own task takes, and waits for its socket."""

    __slots__ = ("_items", "_missed", "_upto", "_waiter", "after", "ended")

    def __init__(self, after: int = 0) -> None:
        self._items: list[T] = []
        self._waiter: asyncio.Future[None] | None = None
        self.after = after  # the number of the newest thing that was told
        self._missed = self._upto = 0
        self.ended = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        """Queue it; the oldest goes when the client takes nothing."""
        if len(self._items) >= MAX_WAITING:
            self._missed += 1
            self._upto = self._items.pop(0).number
        self._items.append(item)
        self.wake()

    def end(self) -> None:
        """What is queued is still told; then it is over."""
        self.ended = True
        self.wake()

    def wake(self) -> None:
        """Let `take` return, also with nothing: the client hears that we are there."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def over(self) -> bool:
        """Nothing waits, and nothing will."""
        return self.ended and not self._items

    async def filled(self) -> None:
        """Wait until there is something to take, or until `wake`."""
        if not self._items and not self.ended:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
            self._waiter = None

    def take(self) -> tuple[Gap | None, list[T]]:
        """Everything that waits, and what was lost before it."""
        items, self._items = self._items, []
        gap = Gap(self._missed, self.after, self._upto) if self._missed else None
        self._missed = 0
        if items:
            self.after = items[-1].number
        return gap, items
