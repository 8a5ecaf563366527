"""Is there room on the disk for what may come in?

The ledger is never the one who fills a disk: long before, it stops to take in, and what is left is there for the states
of jobs and for the peers. What lies with its owner waits first (telemetry, spools, databases: nothing is lost by
reading them later), what is dropped for us waits last.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

GIB = 1024**3
#: (share of the disk, bytes) that stay free; the smaller of the two. A small disk is not forbidden to us
LOW, CRITICAL = (0.05, GIB), (0.0125, GIB // 4)
#: so much more must be free before it goes on: no flapping at the mark
AGAIN = 1.1

Level = Literal["plenty", "low", "critical"]


class Room:
    """Watches the disk that `directory` lies on."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.level: Level = "plenty"

    def look(self) -> Level:
        """Measure, and say how much room there is. Raises OSError."""
        disk = os.statvfs(self.directory)
        free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        self.level = _level(free, size, self.level)
        return self.level

    @property
    def trouble(self) -> str | None:
        """What to tell people, or None while there is plenty."""
        if self.level == "plenty":
            return None
        waits = "telemetry waits" if self.level == "low" else "everything waits"
        return f"little room on the disk of {self.directory}: {waits} with its senders until there is more"


def _level(free: int, size: int, before: Level) -> Level:
    def below(mark: tuple[float, int], *, already: bool) -> bool:
        return free < min(mark[0] * size, mark[1]) * (AGAIN if already else 1.0)

    if below(CRITICAL, already=before == "critical"):
        return "critical"
    return "low" if below(LOW, already=before != "plenty") else "plenty"
