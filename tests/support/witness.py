"""Did two of them ever hold it at once? An independent witness, who knows nothing of locks.

Every holder appends a line when it begins and one when it has ended, before it lets go. The kernel keeps appended lines
whole and in order, and the monotonic clock is one for all processes.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Hold:
    who: str
    began: int
    ended: int


class Witness:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def note(self, what: str, who: str) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, f"{what} {who} {os.getpid()} {time.monotonic_ns()}\n".encode())
        os.close(descriptor)

    def holds(self) -> list[Hold]:
        """In the order of their beginnings. Raises AssertionError for a hold that never ended."""
        begun: dict[str, tuple[str, int]] = {}
        holds = []
        for line in self.path.read_text().splitlines():
            what, who, pid, at = line.split()
            if what == "begins":
                assert pid not in begun, f"{who} {pid} begins twice"
                begun[pid] = (who, int(at))
            else:
                holds.append(Hold(*begun.pop(pid), int(at)))
        assert not begun, f"{begun} never ended"
        return sorted(holds, key=lambda hold: hold.began)

    def overlaps(self) -> list[tuple[Hold, Hold]]:
        """Every pair of which the second began before the first had ended."""
        found, last = [], None
        for hold in self.holds():
            if last and hold.began < last.ended:
                found.append((last, hold))
            if last is None or hold.ended > last.ended:
                last = hold
        return found
