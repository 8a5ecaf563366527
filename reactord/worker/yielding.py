"""How hard may this worker work now? Read between steps from what the daemon wrote (jobs/pressure.py says when).

The result of a run does not depend on it: a run that waited takes the same steps.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Callable

from reactord.workdir import WorkDir

#: what an absent daemon wrote long ago is no news
STALE_S = 60.0
POLL_S = 0.2
#: a pause keeps what the model holds; after so long that is worth more to others, and the job leaves at its checkpoint
PAUSE_MOST_S = 240.0

NORMAL, ELEVATED, CONSTRAINED, CRITICAL = "normal", "elevated", "constrained", "critical"


def tier(work: WorkDir) -> str:
    """What the daemon says of the machine's memory."""
    try:
        if time.time() - work.pressure_path.stat().st_mtime > STALE_S:
            return NORMAL
        said = work.pressure_path.read_text()
    except OSError:
        return NORMAL
    return said if said in (ELEVATED, CONSTRAINED, CRITICAL) else NORMAL


def slow_down(work: WorkDir, worked_s: float, stopped: Callable[[], bool]) -> None:
    """Rest for as long as was worked, while the machine is short of memory."""
    end = time.monotonic() + worked_s
    while time.monotonic() < end and not stopped() and tier(work) == ELEVATED:
        time.sleep(POLL_S)


def pause(work: WorkDir, stopped: Callable[[], bool]) -> bool:
    """Wait at a checkpoint until there is memory again; False when that took too long and the job had better leave."""
    give_back()
    end = time.monotonic() + PAUSE_MOST_S
    while tier(work) in (CONSTRAINED, CRITICAL):
        if stopped():
            return True
        if time.monotonic() > end:
            return False
        time.sleep(POLL_S)
    return True


def give_back() -> None:
    """Hand freed memory back to the system: the trainer keeps it otherwise, for speed."""
    gc.collect()
    trim()


def trim() -> None:
    """Hand back the pages of blocks that are free already; the next step pays for those that it needs again."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):  # musl has none
            libc.malloc_trim(0)
