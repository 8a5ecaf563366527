"""Do we hold the training slot that Body, Prime and we share?

The slot is a lock file (ipc/dlm.py), and where Redis is configured a key there before it (ipc/arbiter.py): who speaks
Redis ignores the file, who does not ignores the key, so we hold both or none.

    nobody works           the daemon signs as the owner
    one worker works       the worker does: the daemon's death leaves the slot held, and the worker's then frees it
    several work           the daemon does: the death of one must not free the slot under the others
    Body lent it to us     nobody of ours; when Body lets go of it under our worker, we take it ourselves

A worker's death frees the slot for the moment until the daemon signs again, and a peer that waits may take it: between
two stages nothing is trained. Whoever loses the slot keeps what is left of it until his worker has stopped.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reactord.ipc import dlm
from reactord.threads import in_thread

log = logging.getLogger("reactord.jobs")

NAME = "training_slot"
TTL_S = 60.0
RENEW_EVERY_S = TTL_S / 5
#: how long a claim waits for the guards; in a thread, so nobody else does
GUARD_S = 0.2


class Lease(Protocol):
    """A claim that holds, as the lock file and Redis each have one. Every call may raise OSError."""

    owner: str
    fence: int

    def mine(self, now: float) -> bool: ...
    def renew(self, now: float) -> bool: ...
    def release(self) -> None: ...


class Place(Protocol):
    """Where a claim is written. Every call may raise OSError."""

    def holder(self) -> dlm.Holder | None: ...
    def claim(self, now: float, fence: int) -> Lease | dlm.Busy: ...
    def adopt(self, now: float, worker: int) -> Lease | None: ...


class Arbiter(Place, Protocol):
    """A place that everybody asks, and that counts for everybody."""

    def next_fence(self, floor: int) -> int: ...


@dataclass(frozen=True, slots=True)
class LockFile:
    """The file that all peers know."""

    directory: Path

    def holder(self) -> dlm.Holder | None:
        return dlm.holder(self.directory, NAME)

    def claim(self, now: float, fence: int) -> Lease | dlm.Busy:
        return dlm.claim(self.directory, NAME, TTL_S, now, fence=fence, wait_s=GUARD_S)

    def adopt(self, now: float, worker: int) -> Lease | None:
        return dlm.adopt(self.directory, NAME, TTL_S, worker, now, wait_s=GUARD_S)


class Slot:
    """The leases on `training_slot`, renewed while a job runs. `lost` is called when somebody else has it."""

    def __init__(self, directory: Path, clock: Callable[[], float], arbiter: Arbiter | None = None) -> None:
        self.clock, self.arbiter = clock, arbiter
        self.places: list[Place] = [*([arbiter] if arbiter else []), LockFile(directory)]
        self.lost: Callable[[], None] = lambda: None
        self._leases: list[Lease] = []
        self._workers: set[int] = set()  # who works under it
        self._lent: int | None = None  # Body holds it for the run with this fence
        self._is_lost = False  # told to the driver, which stops the workers and then releases
        self._turn = asyncio.Lock()

    async def take(self, fence: int, *, delegated: bool, worker: int | None = None) -> str | None:
        """Take the slot, or say why not (None: it may be used now). What is held already gets the higher fence.

        `delegated`: the job came from Body, which holds the slot on our behalf while it waits for us (contract/body.md
        5.1); then a live `jarvis-*` owner is not in the way. `worker`: a process that works under the slot from now on;
        one that an earlier daemon handed the slot to still has it.
        """
        async with self._turn:
            why = await self._get(fence, worker, delegated=delegated)
            if why is None and worker is not None:
                self._workers.add(worker)
            if why is None and self._leases and not await in_thread(self._sign, fence):
                why = "the training slot was taken by somebody else in the same moment"
            return why

    async def shared_fence(self, floor: int) -> int:
        """The next fence number among all who share the slot, not below `floor`; `floor` where nobody counts for all.

        The lock file's neighbour `.fencing_counter` does not: Body writes it and nobody reads it.
        """
        if self.arbiter is None:
            return floor
        try:
            return await in_thread(self.arbiter.next_fence, floor)
        except ConnectionError as trouble:
            log.warning("%s", trouble)  # without it the slot cannot be had either
            return floor

    async def left(self, worker: int | None) -> None:
        """A worker has ended: its name is no good on the slot any more."""
        if worker not in self._workers:
            return
        self._workers.discard(worker)
        async with self._turn:
            if self._leases and not self._is_lost:
                await in_thread(self._sign, 0)  # a slot that is lost here is missed by the next `take`, or by `keep`

    async def release(self) -> None:
        """Give it back: nobody works under it any more."""
        async with self._turn:
            leases, self._leases = self._leases, []
            self._workers.clear()
            self._lent, self._is_lost = None, False
            if not leases:
                return
            releasing = asyncio.ensure_future(in_thread(_release, leases))
            try:
                await asyncio.shield(releasing)
            except asyncio.CancelledError:  # a daemon that stops: its job may have ended in the same moment
                await asyncio.wait([releasing])
                raise

    async def keep(self) -> None:
        """Renew for as long as the daemon runs."""
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            async with self._turn:
                kept = self._is_lost or await self._kept()
                self._is_lost = self._is_lost or not kept
            if not kept:
                self.lost()

    async def _kept(self) -> bool:
        if self._leases:
            if await in_thread(self._renewed):
                return True
            log.warning("the training slot is lost to %s", await in_thread(self._whoever))
        elif self._lent is not None and not await in_thread(self._is_lent):
            why = await self._get(self._lent, None, delegated=False)
            if why is None:
                return await in_thread(self._sign, 0)
            log.warning("Body has let go of the training slot, and we cannot have it: %s", why)
        else:
            return True
        return False

    async def _get(self, fence: int, worker: int | None, *, delegated: bool) -> str | None:
        """As `take`, without the signature."""
        if self._leases and not self._is_lost and await in_thread(self._mine):
            return None
        if self._leases:
            leases, self._leases = self._leases, []
            await in_thread(_release, leases)
        self._is_lost = False
        if delegated and await in_thread(self._is_lent):
            self._lent = fence
            return None
        claiming = asyncio.ensure_future(in_thread(self._claim, fence, worker))
        try:
            got = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            claiming.add_done_callback(_give_back)  # nobody is there to use it
            raise
        if isinstance(got, str):
            return got
        self._leases, self._lent = got, None
        await asyncio.sleep(dlm.SETTLE_S)
        if await in_thread(self._mine):
            return None
        await in_thread(_release, got)
        self._leases = []
        return "the training slot was taken by somebody else in the same moment"

    # -- in a thread: a guard may be contended, a server far away ------------------------------------------------------
    def _claim(self, fence: int, worker: int | None) -> list[Lease] | str:
        """Every place in order, or none of them."""
        got: list[Lease] = []
        for place in self.places:
            try:
                now = self.clock()
                lease = (place.adopt(now, worker) if worker else None) or place.claim(now, fence)
            except BaseException as trouble:
                _release(got)
                if isinstance(trouble, ConnectionError):
                    return str(trouble)
                raise
            if isinstance(lease, dlm.Busy):
                _release(got)
                return f"the training slot is held by {lease.owner or 'somebody whose lock cannot be read'}"
            got.append(lease)
        return got

    def _mine(self) -> bool:
        return all(lease.mine(self.clock()) for lease in self._leases)

    def _is_lent(self) -> bool:
        """Whether Body holds it; where a place does not answer, the others are believed."""
        return any(dlm.is_live_jarvis_owner(found, self.clock()) for found in self._seen())

    def _whoever(self) -> str:
        return ", ".join(found.owner for found in self._seen()) or "nobody"

    def _seen(self) -> list[dlm.Holder]:
        """Who holds it, as far as the places answer."""
        found = []
        for place in self.places:
            try:
                found.append(place.holder())
            except OSError as trouble:
                log.warning("who holds the training slot cannot be seen: %s", trouble)
        return [holder for holder in found if holder]

    def _sign(self, fence: int) -> bool:
        """Write down who owns it now and under which fence; False when it is lost."""
        owner = (dlm.owner_of(*self._workers) if len(self._workers) == 1 else None) or dlm.owner_of(os.getpid())
        stale = [lease for lease in self._leases if lease.fence < fence or lease.owner != owner]
        for lease in stale:
            lease.fence, lease.owner = max(lease.fence, fence), owner or lease.owner
        return all(self._is_renewed(lease) for lease in stale)

    def _renewed(self) -> bool:
        return all(self._is_renewed(lease) for lease in self._leases)

    def _is_renewed(self, lease: Lease) -> bool:
        try:
            return lease.renew(self.clock())
        except OSError as trouble:  # the next try comes long before it runs out
            log.warning("the training slot cannot be renewed now: %s", trouble)
            return True


def _release(leases: list[Lease]) -> None:
    """The last one first: while anything of it is ours, nobody has all of it."""
    for lease in reversed(leases):
        try:
            lease.release()
        except OSError as trouble:
            log.warning("the training slot cannot be given back (%s); it runs out by itself", trouble)


def _give_back(claiming: asyncio.Future[list[Lease] | str]) -> None:
    if not claiming.cancelled() and claiming.exception() is None and not isinstance(got := claiming.result(), str):
        _release(got)
