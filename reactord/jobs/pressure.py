"""How short of memory is the machine while a job runs, and what must the job do about it?

    normal        it works
    elevated      the headroom that every grant leaves free is being eaten: it works half of the time
    constrained   half of it is gone: it checkpoints, gives freed memory back, and pauses
    critical      three quarters are gone: it checkpoints and leaves; the job queues, and reserves again

A tier is entered at once and left one at a time, only when there is a quarter more than where it was entered: without
that a job would start and stop with every page somebody touches. Pure.
"""

from __future__ import annotations

from enum import IntEnum

#: a headroom set to less (or to nothing) still means that the machine must not run dry
LEAST_HEADROOM_BYTES = 256 * 1024**2
LEAVE_AT = 1.25


class Tier(IntEnum):
    """How short of memory the machine is."""

    NORMAL = 0
    ELEVATED = 1
    CONSTRAINED = 2
    CRITICAL = 3


#: a tier is entered below this part of the headroom
ENTER_BELOW = {Tier.ELEVATED: 1.0, Tier.CONSTRAINED: 0.5, Tier.CRITICAL: 0.25}


def next_tier(before: Tier, available_bytes: int, headroom_bytes: int) -> Tier:
    """The tier now, from the one at the last look."""
    part = available_bytes / max(headroom_bytes, LEAST_HEADROOM_BYTES)
    entered = max((tier for tier, below in ENTER_BELOW.items() if part < below), default=Tier.NORMAL)
    if entered >= before:
        return entered
    return Tier(before - 1) if part >= LEAVE_AT * ENTER_BELOW[before] else before
