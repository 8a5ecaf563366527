"""How does the loop look while it runs, and how much memory does it hold?"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from reactord.cli import text
from reactord.cli.status import job_line, progress_lines
from reactord.cli.text import Paint, clip, duration, size
from reactord.cli.view import Progress, View

DRAW_EVERY_S = 1.0


@dataclass(slots=True)
class Memory:
    """Resident memory of the daemon and everything below it, summed (shared pages count in each)."""

    root: psutil.Process
    now_bytes: int = 0
    peak_bytes: int = 0
    peak_worker_bytes: int = 0

    def sample(self) -> None:
        """Look once. A process that ends while we look counts as far as it was seen."""
        try:
            ours = _resident(self.root)
            workers = sum(map(_resident, self.root.children(recursive=True)))
        except psutil.NoSuchProcess:
            return
        self.now_bytes = ours + workers
        self.peak_bytes = max(self.peak_bytes, self.now_bytes)
        self.peak_worker_bytes = max(self.peak_worker_bytes, workers)


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


class Live:
    """One block on a terminal, drawn again in place; elsewhere a line whenever something moved."""

    def __init__(self, home: Path, deadline_s: float) -> None:
        self.home, self.deadline_s = home, deadline_s
        self.began = self._drawn = time.monotonic()
        self._block = text.Block(sys.stderr) if sys.stderr.isatty() else None
        self._last = ""

    def show(self, view: View, memory: Memory) -> None:
        """Draw, at most once a second."""
        now = time.monotonic()
        if now - self._drawn < DRAW_EVERY_S:
            return
        self._drawn = now
        if self._block:
            self._block.draw(self._screen(view, memory))
            return
        moved = self._state(view)
        if moved != self._last:
            self._last = moved
            text.tell(f"{duration(now - self.began):>12}  {moved} · {size(memory.now_bytes)} in all")

    def _state(self, view: View) -> str:
        if view.job is None:
            counts = view.counts
            taken = f"{counts.received} records taken in" if counts and counts.received else "looking for data"
            return f"{taken}, no job yet"
        return job_line(view.job, view.progress or Progress())

    def _screen(self, view: View, memory: Memory) -> list[str]:
        width, paint = text.screen_width(sys.stderr), Paint.on_stream(sys.stderr)
        passed = f"{duration(time.monotonic() - self.began)} of at most {duration(self.deadline_s)}"
        lines = [f"reactord demo · {passed} · {text.path_text(self.home)}", self._state(view)]
        if view.job is not None:
            lines += progress_lines(view.job, view.progress or Progress())
        if counts := view.counts:
            used = f"{counts.in_datasets} learned from, {counts.held_out} held out"
            rejected = sum(counts.rejected.values())
            lines.append(f"records: {counts.received} received, {counts.pending} pending, {used}, {rejected} rejected")
        lines.append(f"memory: {size(memory.now_bytes)} now, {size(memory.peak_bytes)} at most, daemon and workers")
        clipped = [clip(line, width) for line in lines]
        return [paint("bold", clipped[0]), *clipped[1:]]
