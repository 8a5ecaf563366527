"""How does a worker keep itself from taking the machine's memory?

The daemon watches from outside, once a second. In a second a process can allocate gigabytes, so the worker also tells
the kernel how large its data may become; then an allocation beyond it fails inside, with a clean outcome. What is
counted is reserved and not touched memory, of which torch and its threads have a great deal: hence the allowance, and
hence this stops a runaway, not a small excess. macOS accepts the limit and does not keep it; there the daemon's
watching is all there is.

Should the machine run out all the same, a training that can be made again is the one to end: Linux is told so.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from pathlib import Path

import orjson

from reactord.workdir import WorkDir

OOM_SCORE = Path("/proc/self/oom_score_adj")
#: what a trainer reserves and never touches: 1.1 GiB were measured with two threads; a stack and an arena each
RESERVED_BYTES = 2 * 1024**3 + 72 * 1024**2 * (os.cpu_count() or 1)


def keep_to(work: WorkDir, share: int = 1) -> int | None:
    """Limit this process to its share of what the daemon granted; returns the limit, None where there is none.

    `share`: how many train together, each with as much.
    """
    _go_first()
    try:
        hard = int(orjson.loads(work.grant_path.read_bytes())["hard_bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if sys.platform != "linux" or hard <= 0:
        return None
    limit = hard // share + RESERVED_BYTES
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
