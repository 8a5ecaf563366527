"""Do we hold the training slot that Body, Prime and we share?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from reactord.ipc import dlm

log = logging.getLogger("reactord.jobs")

NAME = "training_slot"
TTL_S = 60.0
RENEW_EVERY_S = TTL_S / 5
#: how long the daemon's loop may wait for the peers' guard
GUARD_S = 0.2


class Slot:
    """The lease on `training_slot`, renewed while a job runs. `lost` is called when somebody else has it."""

    def __init__(self, directory: Path, clock: Callable[[], float]) -> None:
        self.directory, self.clock = directory, clock
        self.lease: dlm.Lease | None = None
        self.lost: Callable[[], None] = lambda: None

    async def take(self, fence: int, *, delegated: bool) -> str | None:
        """Take the slot, or say why not (None: it may be used now).

        `delegated`: the job came from Body, which holds the slot on our behalf while it waits for us (contract/body.md
        5.1); then a live `jarvis-*` owner is not in the way.
        """
        now = self.clock()
        if self.lease and self.lease.mine(now):
            return None
        if delegated and dlm.is_live_jarvis_owner(dlm.holder(self.directory, NAME), now):
            return None
        got = dlm.claim(self.directory, NAME, TTL_S, now, fence=fence, wait_s=GUARD_S)
        if isinstance(got, dlm.Busy):
            return f"the training slot is held by {got.owner or 'somebody whose lock cannot be read'}"
        self.lease = got
        await asyncio.sleep(dlm.SETTLE_S)
        if not got.mine(self.clock()):
            self.lease = None
            return "the training slot was taken by somebody else in the same moment"
        return None

    def release(self) -> None:
        if self.lease:
            try:
                self.lease.release(GUARD_S)
            except OSError as trouble:
                log.warning("the training slot cannot be given back (%s); it runs out by itself", trouble)
            self.lease = None

    async def keep(self) -> None:
        """Renew for as long as the daemon runs."""
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            if self.lease and not self._renewed(self.lease):
                log.warning("the training slot is lost to %s", dlm.holder(self.directory, NAME))
                self.lease = None
                self.lost()

    def _renewed(self, lease: dlm.Lease) -> bool:
        try:
            return lease.renew(self.clock(), GUARD_S)
        except OSError as trouble:  # the next try comes long before it runs out
            log.warning("the training slot cannot be renewed now: %s", trouble)
            return True
