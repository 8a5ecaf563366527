"""Do several processes train this job, and on what do they agree?

torchrun starts them (worker/torchrun.py) and tells each by its environment which one it is. Every one of them runs the
same stage on its share of each step; the first alone writes progress, checkpoints, the adapter and the outcome. What
depends on the clock, on a signal or on a file is decided together, in the same step: a process that left a step
earlier than the others would leave them waiting for its gradients.

A process that trains alone is a team of one: it agrees with itself and imports nothing for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import psutil

from reactord.errors import ReactordError
from reactord.workdir import WorkDir

T = TypeVar("T")

#: longer than the first waits for anything by itself; whoever hangs is noticed by the daemon, from its steps
PATIENCE_S = 1800.0
#: how a process leaves that lost another: what happened to that one is what counts
EXIT_LOST = 76
#: how gloo says that another process is gone
LOST = ("connection closed by peer", "connection reset by peer", "broken pipe", "gloo/transport")


class Apart(ReactordError):
    """The processes of a run no longer hold the same weights."""


@dataclass(frozen=True, slots=True)
class Team:
    """Those who train one job. Every method but `first` is called by all of them, in the same order."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def any(self, *mine: bool) -> tuple[bool, ...]:
        """For each question, whether anyone says yes."""
        return tuple(bool(most) for most in self._most(*map(int, mine)))

    def sum(self, mine: int) -> int:
        """Everybody's number together."""
        if self.size == 1:
            return mine
        import torch
        import torch.distributed as dist

        numbers = torch.tensor([mine], dtype=torch.int64)
        dist.all_reduce(numbers)
        return int(numbers)

    def agent_bytes(self) -> int:
        """What the process holds that started us, and trains nothing."""
        return 0 if self.size == 1 else int(psutil.Process(os.getppid()).memory_info().rss)

    def wait(self) -> None:
        """Until everybody is here."""
        self.any(False)

    def told(self, say: Callable[[], T]) -> T:
        """What the first one says; nobody else is asked."""
        if self.size == 1:
            return say()
        import torch.distributed as dist

        words = [say() if self.first else None]
        dist.broadcast_object_list(words, src=0)
        return words[0]  # type: ignore[return-value]

    def require_equal(self, sha256: str) -> None:
        """Raise Apart unless everybody has the same."""
        mine = int(sha256[:15], 16)
        highest, lowest = self._most(mine, -mine)
        if highest != -lowest:
            raise Apart("the processes hold different weights after the same steps; report this with the job directory")

    def _most(self, *mine: int) -> tuple[int, ...]:
        if self.size == 1:
            return mine
        import torch
        import torch.distributed as dist

        numbers = torch.tensor(mine, dtype=torch.int64)
        dist.all_reduce(numbers, op=dist.ReduceOp.MAX)
        return tuple(numbers.tolist())


ALONE = Team()


def seat(work: WorkDir) -> Team:
    """Which process of this job torchrun started us as; alone where it did not, whatever else is in the environment."""
    if os.environ.get("TORCHELASTIC_RUN_ID") != work.root.name:
        return ALONE
    return Team(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


def meet(work: WorkDir, team: Team) -> None:
    """Join the others. They find each other in a file and talk over the loopback interface, and nothing else.

    Gloo, because the trainer stays on the CPU (`use_cpu`). One that uses CUDA wants "cpu:gloo,cuda:nccl" here; nobody
    has run that.
    """
    if team.size == 1:
        return
    import torch.distributed as dist

    os.environ["GLOO_SOCKET_IFNAME"] = _loopback()  # by default it looks up the name of the machine, and listens there
    dist.init_process_group(
        "gloo",
        store=dist.FileStore(str(store_of(work)), team.size),
        rank=team.rank,
        world_size=team.size,
        timeout=timedelta(seconds=PATIENCE_S),
    )


def store_of(work: WorkDir) -> Path:
    """Where the processes of a run find each other; a new file for every run."""
    return work.root / "ranks" / "store"


def is_lost(error: BaseException, team: Team) -> bool:
    """Whether this only says that another process ended."""
    return team.size > 1 and any(word in str(error).lower() for word in LOST)


def _loopback() -> str:
    """lo, or lo0."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == "127.0.0.1" for address in addresses):
            return name
    return "lo"
