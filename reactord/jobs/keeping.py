"""How is a running worker kept to what it was granted, and out of the way when memory gets short?

    limit    peak and half the headroom: asked to leave at a checkpoint, then killed
    hard     a quarter of the headroom more: killed at once, by its control group where there is one, else by us

Both are for a machine at ease. The headroom is there once: what others have eaten of it is not ours any more, so both
come down to the peak itself as the pressure rises.

Besides, the worker limits its own data segment (worker/limits.py), so that one huge allocation fails inside it before
it is felt outside. A wrong prediction so ends the worker, and never the machine.

The tier of pressure is written into the job directory; the trainer reads it between steps (worker/yielding.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import psutil

from reactord import durable
from reactord.jobs import cgroup
from reactord.jobs.attempts import Cause
from reactord.jobs.cgroup import Group
from reactord.jobs.pressure import Tier, next_tier
from reactord.workdir import WorkDir

#: the whole family is weighed and the machine looked at so often
LOOK_EVERY_S = 1.0
#: a tier that is not written again is too old for the worker to heed (worker/yielding.py)
TELL_EVERY_S = 20.0
GIB = 1024**3


#: how far above its peak a worker may go, as parts of the headroom: (limit, hard)
BEYOND = {
    Tier.NORMAL: (0.5, 0.75),
    Tier.ELEVATED: (0.25, 0.25),
    Tier.CONSTRAINED: (0.0, 0.0),
    Tier.CRITICAL: (0.0, 0.0),
}


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a worker may hold. None: nobody granted anything, and nothing is enforced."""

    peak_bytes: int
    headroom_bytes: int

    def limit_bytes(self, tier: Tier) -> int:
        """Above this it is asked to leave."""
        return self.peak_bytes + int(BEYOND[tier][0] * self.headroom_bytes)

    def hard_bytes(self, tier: Tier) -> int:
        """Above this it is killed."""
        return self.peak_bytes + int(BEYOND[tier][1] * self.headroom_bytes)


@dataclass(frozen=True, slots=True)
class Over:
    """A worker that must end."""

    cause: Cause
    words: str
    at_once: bool = False


def allowance_of(facts: dict[str, Any], headroom_bytes: int) -> Allowance | None:
    """From what was written down when the job was granted its memory."""
    granted = int(facts.get("granted_bytes") or 0)
    return Allowance(granted, headroom_bytes) if granted else None


class Keeper:
    """Watches one worker. `spare` says what the machine would have left if everybody took what they may."""

    def __init__(
        self,
        workdir: WorkDir,
        allowance: Allowance | None,
        headroom_bytes: int,
        *,
        spare: Callable[[int], int] = lambda held: int(psutil.virtual_memory().available),  # noqa: ARG005
        weigh: Callable[[int], int] | None = None,
    ) -> None:
        self.workdir, self.allowance, self.headroom_bytes = workdir, allowance, headroom_bytes
        self.spare, self.weigh = spare, weigh or family_bytes
        self.group: Group | None = None
        self.tier = Tier.NORMAL
        self.most_bytes = 0  # that the family was seen to hold
        self._looked_at = self._told_at = float("-inf")
        self._killed_before = 0
        if allowance:
            hard = allowance.hard_bytes(Tier.NORMAL)
            told = {"granted_bytes": allowance.peak_bytes, "hard_bytes": hard}
            durable.publish(workdir.grant_path, orjson.dumps(told), sync=False)
            self.group = cgroup.make(cgroup.name_of(workdir.root.name), hard)
        if self.group:
            self._killed_before = self.group.kills()

    def admit(self, pid: int | None) -> None:
        """Put a worker that has just been started into its group, before it has loaded anything."""
        if self.group and pid is not None and not self.group.admit(pid):
            self.group.remove()
            self.group = None

    def look(self, pid: int | None) -> Over | None:
        """Whether the worker must end now; at most one real look a second."""
        now = time.monotonic()
        if pid is None or now - self._looked_at < LOOK_EVERY_S:
            return None
        self._looked_at = now
        held = self.weigh(pid)
        self.most_bytes = max(self.most_bytes, held)
        tight = self._too_tight(now, held)
        return self._too_large(held) or tight

    def _too_large(self, held: int) -> Over | None:
        if self.allowance is None or held <= self.allowance.limit_bytes(self.tier):
            return None
        words = (
            f"it held {_gib(held)}, was granted {_gib(self.allowance.peak_bytes)} and allowed"
            f" {_gib(self.allowance.limit_bytes(self.tier))}; the next prediction knows of it"
        )
        return Over(Cause.OUT_OF_MEMORY, words, at_once=held > self.allowance.hard_bytes(self.tier))

    def _too_tight(self, now: float, held: int) -> Over | None:
        spare, before = self.spare(held), self.tier
        self.tier = next_tier(before, spare, self.headroom_bytes)
        if self.tier != before and self.group and self.allowance:
            self.group.limit(self.allowance.hard_bytes(self.tier))
        if self.tier != before or (self.tier != Tier.NORMAL and now - self._told_at >= TELL_EVERY_S):
            durable.publish(self.workdir.pressure_path, self.tier.name.lower().encode(), sync=False)
            self._told_at = now
        if self.tier == Tier.CRITICAL:
            left = _gib(max(0, spare))
            words = f"{left} of memory would be left on the machine; it leaves its {_gib(held)} and goes on later"
            return Over(Cause.PREEMPTED, words)
        return None

    def ended_by_kernel(self) -> bool:
        """Whether the kernel ended a process of the group for its size."""
        return self.group is not None and self.group.kills() > self._killed_before

    def wanted_bytes(self) -> int:
        """What a worker that was ended for its size held, at least."""
        hard = self.allowance.hard_bytes(self.tier) if self.allowance and self.ended_by_kernel() else 0
        return max(self.most_bytes, hard)

    def close(self) -> None:
        """The worker is gone."""
        if self.group:
            self.group.remove()
        durable.remove(self.workdir.pressure_path)


def family_bytes(pid: int) -> int:
    """Resident bytes of a process and everything it started; 0 when it is gone."""
    try:
        leader = psutil.Process(pid)
        family = [leader, *leader.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(_resident(process) for process in family)


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"
