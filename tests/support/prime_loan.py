"""A Prime that lends its memory, in the modelled machine of memory_world.py.

* It is the engine: it says what it holds, not what it may reach; that is never more than what is set aside for it.
* It may take seconds to lend, refuse, or be started again at any moment. Then it has forgotten the lease at once, and
  takes its memory NOTICE_S later; its process is another one, which the next look sees.
* What is given back it takes at once.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from reactord.jobs.planning import GIB
from reactord.prime.memory import Holding

#: what the engine holds without any model
BASE = GIB // 4
SLOWEST_S, REFUSED_AGAIN_S, NOTICE_S = 8, 60, 4


class Loan:
    """The lease of one timeline, and what it makes of Prime."""

    def __init__(self, seed: int, *, lends: bool) -> None:
        self.chance, self.lends = random.Random(seed), lends
        self.asked: tuple[Any, int] | None = None  # a job, and when Prime answers
        self.job: Any = None  # who has the lease
        self.down_until = self.unwilling_until = -1
        self.lent = self.refused = self.lost = 0

    def seen(self, second: int, said: Holding, holds: int) -> tuple[Holding, int]:
        """What is known of Prime, and what it holds, with the lease as it is."""
        if not self.lends or not said.alive:
            return said, holds
        if self.job is not None:
            return Holding(alive=True, held_bytes=BASE, may_reach_bytes=BASE), min(BASE, holds)
        if second < self.down_until:
            return Holding(alive=True, held_bytes=None, may_reach_bytes=None), 0
        willing = second >= self.unwilling_until and self.asked is None
        return replace(said, may_reach_bytes=None, leasable_bytes=max(0, holds - BASE) if willing else None), holds

    def ask(self, job: Any, second: int) -> None:
        self.asked = job, second + self.chance.randint(1, SLOWEST_S)

    def answer(self, second: int, *, alive: bool) -> Any:
        """The job that Prime has answered now, and which has the lease then or not; None: nobody."""
        if self.asked is None or second < self.asked[1]:
            return None
        job, self.asked = self.asked[0], None
        if alive and self.chance.random() < 0.8:
            self.job, self.lent = job, self.lent + 1
        else:
            self.refuse(second)
        return job

    def refuse(self, second: int) -> None:
        self.unwilling_until, self.refused = second + REFUSED_AGAIN_S, self.refused + 1

    def breaks(self, second: int, *, alive: bool) -> Any:
        """The job that has lost its lease in this second; None: nobody."""
        if self.job is None or (alive and self.chance.random() > 0.005):
            return None
        job, self.job, self.down_until = self.job, None, second + NOTICE_S
        self.lost += 1
        return job

    def give_back(self) -> None:
        self.job = None
