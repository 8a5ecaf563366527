"""How does a worker keep itself from taking the machine's memory?

The daemon watches from outside, once a second. In a second a process can allocate gigabytes, so the worker also tells
the kernel how large its data may become; then an allocation beyond it fails inside, with a clean outcome. What is
counted is reserved and not touched memory, of which torch and its threads have more: hence the factor. macOS accepts
the limit and does not keep it; there the daemon's watching is all there is.

Should the machine run out all the same, a training that can be made again is the one to end: Linux is told so.
"""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

import orjson

from reactord.workdir import WorkDir

OOM_SCORE = Path("/proc/self/oom_score_adj")
#: reserved bytes for each resident one
RESERVED_PER_RESIDENT = 2


def keep_to(work: WorkDir) -> int | None:
    """Limit this process to what the daemon granted; returns the limit, None where there is none."""
    _go_first()
    try:
        hard = int(orjson.loads(work.grant_path.read_bytes())["hard_bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if sys.platform != "linux" or hard <= 0:
        return None
    limit = RESERVED_PER_RESIDENT * hard
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most != resource.RLIM_INFINITY:
        limit = min(limit, most)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
        return limit
    return None


def _go_first() -> None:
    """The kernel ends the process with the highest score; raising one's own needs no right."""
    with contextlib.suppress(OSError):
        OOM_SCORE.write_text("1000")
