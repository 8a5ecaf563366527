"""When must this worker leave, and how soon can it?

SIGTERM is answered by a thread that waits on a pipe the C-level signal handler writes to, so a worker deep inside a
long C call (quantising, loading, a llama.cpp batch) still reacts at once. A stage that keeps nothing a rerun would miss
is ended on the spot; the trainer defers that, because its last full step is worth a checkpoint.

On the spot means `os._exit`: every file here is written under a scratch name and published by rename, so there is
nothing to clean up that the next run does not clean up anyway.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

from reactord.workdir import EXIT_STOPPED

#: a trainer that has not left by then is in a micro-batch longer than our promise; its newest checkpoint still stands
GRACE_S = 5.0
POLL_S = 0.5
_PR_SET_PDEATHSIG = 1  # sys/prctl.h


class StopSignal:
    """Turns SIGTERM into an exit at once, or into a flag while `deferred` is set."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._deferred = False

    @property
    def requested(self) -> bool:
        return self._requested.is_set()

    def request(self) -> None:
        """Ask for it from within: this worker had better leave at its checkpoint."""
        self._requested.set()

    def install(self) -> None:
        """Listen. Call once, from the main thread, before anything heavy is imported."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)  # the pipe tells; the default action would skip it
        threading.Thread(target=self._listen, args=(reader,), name="stop", daemon=True).start()

    def defer(self) -> None:
        """From now on a request sets the flag only: the caller looks at it between micro-batches."""
        self._deferred = True
        if self.requested:
            os._exit(EXIT_STOPPED)

    def _listen(self, reader: int) -> None:
        os.read(reader, 1)
        self._requested.set()
        if self._deferred:
            threading.Event().wait(GRACE_S)
        os._exit(EXIT_STOPPED)


def die_with(leader: int) -> None:
    """Have this process end when the one that started it does, however that ends. Call from the main thread."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_follow, args=(leader,), name="leader", daemon=True).start()
    if os.getppid() != leader:  # it ended before we had said so
        os._exit(EXIT_STOPPED)


def _follow(leader: int) -> None:
    while os.getppid() == leader:
        time.sleep(POLL_S)
    os._exit(EXIT_STOPPED)
