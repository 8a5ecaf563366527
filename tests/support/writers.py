"""A writer who comes in the middle of something that holds a lease on his file: he has to wait, and we must not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path


def begin(write: Callable[[], object]) -> threading.Thread:
    """Start `write` beside us; return once it is done, or waits in the kernel for our lease."""
    thread = threading.Thread(target=write)
    thread.start()
    waits_in, deadline = Path(f"/proc/self/task/{thread.native_id}/wchan"), time.monotonic() + 5
    while thread.is_alive() and time.monotonic() < deadline:
        try:
            if "lease" in waits_in.read_text():
                break
        except (FileNotFoundError, ProcessLookupError):
            break  # it is done, before the file was opened or while it was read
        time.sleep(0.001)
    return thread
