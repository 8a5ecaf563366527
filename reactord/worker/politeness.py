"""Who goes first? Prime, the user and the daemon: a worker takes the time that they leave.

The kernel sees to it at once, at every tick: no file has to say that somebody is busy. (When memory gets short is
another matter: worker/yielding.py.)
"""

from __future__ import annotations

import contextlib
import os
import sys

import psutil

#: beside a process that wants all of a core, a tenth of it is left for us
NICENESS = 10
#: sys/resource.h of macOS: this process and its threads run as background work (less CPU, disk and power)
DARWIN_PROCESS, DARWIN_BACKGROUND = 4, 0x1000


def step_back() -> None:
    """Let others go first from now on, with the processor and, where that can be said, with the disk."""
    os.nice(NICENESS)
    with contextlib.suppress(OSError, psutil.Error):  # a courtesy: where it is not known, the work is done all the same
        if sys.platform == "darwin":
            os.setpriority(DARWIN_PROCESS, 0, DARWIN_BACKGROUND)
        elif sys.platform == "linux":
            psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
