"""How does a test run something in a process of its own, and let it die?"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

DIED = 137
FAILED = 99


def start(work: Callable[..., Any], *arguments: Any) -> int:
    """Run `work` in a fork of this process (milliseconds; an interpreter takes a quarter second); returns its pid."""
    pid = os.fork()
    if pid:
        return pid
    status = FAILED
    try:
        work(*arguments)
        status = 0
    except BaseException:  # noqa: BLE001 - the parent is told by the status, a person by the traceback
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def wait(pid: int) -> int:
    """The exit status as a shell would say it: 137 for one that was killed by SIGKILL, or that played dead."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if status >= 0 else 128 - status


def run(work: Callable[..., Any], *arguments: Any) -> int:
    return wait(start(work, *arguments))


def kill(pid: int) -> int:
    os.kill(pid, signal.SIGKILL)
    return wait(pid)
