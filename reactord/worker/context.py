"""What does a stage know, and how does it tell the daemon how far it is?"""

from __future__ import annotations

import resource
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reactord.errors import DiskFull
from reactord.home import Home
from reactord.jobspec import JobSpec
from reactord.workdir import Stage, WorkDir
from reactord.worker.stopping import StopSignal
from reactord.worker.team import ALONE, Team

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Context:
    """Everything one stage of one job works with."""

    stage: Stage
    work: WorkDir
    spec: JobSpec
    home: Home
    stop: StopSignal
    team: Team = ALONE

    def note(self, text: str) -> None:
        """One line for a person."""
        if self.team.first:
            self.work.progress(self.stage, "note", text=text)

    def done(self, text: str, done: float, total: float, unit: str) -> None:
        """How far a long thing is: `done` of `total`, in `unit`."""
        self.work.progress(self.stage, "work", text=text, done=done, total=total, unit=unit)


def require_space(directory: Path, needed_bytes: int, what: str) -> None:
    """Raise DiskFull now rather than after an hour of work."""
    free_bytes = shutil.disk_usage(directory).free
    if free_bytes < needed_bytes:
        raise DiskFull(
            f"{what} needs {needed_bytes / 1e9:.1f} GB below {directory}, {free_bytes / 1e9:.1f} GB are free;"
            " make room, the job goes on by itself"
        )


def peak_rss_mb() -> int:
    """The most memory this process has held so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 * 1024 if sys.platform == "darwin" else 1024)
