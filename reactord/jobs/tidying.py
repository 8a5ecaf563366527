"""What did jobs leave behind that nobody needs any more?

A job's scratch (checkpoints, artifacts, caches) is freed when the job ends, and at the start of the daemon where a
crash came in between; what a crash tore in the making goes, too. Every removal is reported. What stays: spec, progress,
log, outcomes, judgement - small, and the answer to "why?". A directory that no job belongs to is reported and left: it
may be all that is left of a ledger that was moved away.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from reactord import durable
from reactord.home import Home
from reactord.jobs.stages import Services
from reactord.jobs.states import LIVE
from reactord.jobs.worker_process import bury, is_working
from reactord.ledger.state import Job
from reactord.threads import in_thread
from reactord.workdir import WorkDir

log = logging.getLogger("reactord.jobs")

#: what of a job directory is of no use once the job is over
SCRATCH = ("checkpoints", "artifacts", "scratch")
#: what only a stage at work may have, by the place where it makes it; a crash leaves it half made
HALF_MADE = ("checkpoints/.writing", "artifacts/.trained", ".*.tmp", "*/.*.tmp")


@dataclass(frozen=True, slots=True)
class Report:
    """What was removed, and why; and what was found that belongs to nobody."""

    removed: list[dict[str, object]] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        return sum(int(str(entry["size_bytes"])) for entry in self.removed)


async def after(services: Services, job: Job) -> None:
    """Free the scratch of a job that is over."""
    if job.state not in LIVE and not services.settings.keep_job_artifacts:
        await in_thread(_remove, list(_scratch(services.home, job.id)), "the job is over", Report())


async def at_start(services: Services) -> Report:
    """Remove what earlier lives left behind, and say so. A worker of a job that is over is ended first."""
    home, report = services.home, Report()
    over, idle = [], []
    for directory in sorted(path for path in home.jobs.iterdir() if path.is_dir()):
        work, job = WorkDir(directory), services.store.job(directory.name)
        if job is None:
            report.strangers.append(directory.name)
        elif job.state not in LIVE:
            await bury(work)
            if not services.settings.keep_job_artifacts:
                over.append(directory.name)
        elif not is_working(work):
            idle.append(directory)
    await in_thread(_remove, [path for name in over for path in _scratch(home, name)], "its job is over", report)
    await in_thread(_remove, list(_half_made(home, idle)), "half made by a run that died", report)
    _tell(services, report)
    return report


def _scratch(home: Home, job_id: str) -> Iterator[Path]:
    return (path for name in SCRATCH if (path := home.jobs / job_id / name).exists())


def _half_made(home: Home, idle: list[Path]) -> Iterator[Path]:
    """A base is converted by whichever worker comes first: while one lives, its scratch is left alone."""
    for directory in idle:
        for pattern in HALF_MADE:
            yield from directory.glob(pattern)
    busy = any(is_working(WorkDir(path)) for path in home.jobs.iterdir())
    if not busy:
        yield from home.datasets.glob(".building-*")
        yield from home.base_models.glob(".making-*")


def _remove(paths: Iterable[Path], why: str, report: Report) -> None:
    for path in paths:
        size = sum(file.lstat().st_size for file in (path, *path.rglob("*")) if not file.is_dir())
        if path.is_dir() and not path.is_symlink():
            durable.remove_tree(path)
        else:
            durable.remove(path)
        if size:
            report.removed.append({"path": str(path), "why": why, "size_bytes": size})


def _tell(services: Services, report: Report) -> None:
    if report.strangers:
        log.warning(
            "%d job directories belong to no job (%s ...): look at them in %s, and remove them if nobody misses them",
            len(report.strangers), report.strangers[0], services.home.jobs,
        )  # fmt: skip
    if report.removed:
        first = report.removed[0]["path"]
        log.info("removed %d leftovers, %.1f MB (%s ...)", len(report.removed), report.size_bytes / 1e6, first)
        with services.store.transaction():
            services.store.note(
                "leftovers.removed", "start", services.clock(), removed=report.removed[:100],
                count=len(report.removed), size_bytes=report.size_bytes,
            )  # fmt: skip
