"""What was answered last, and may be told again? Supervisors and runners ask the same every second."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass

from aiohttp import web

from reactord.http import views
from reactord.http.facade import Facade
from reactord.http.refusals import NotThere
from reactord.workdir import WorkDir

#: only the uptime in it is older then
HEALTH_FOR_S = 0.1
MAX_KEPT = 64


@dataclass(slots=True)
class Told:
    """The status of a job, and by what it would differ: what the one writer wrote, and the worker to its file."""

    writes: int
    file: str
    size: int
    said: bytes


class Answers:
    """The newest answers, encoded."""

    def __init__(self) -> None:
        self._mark: object = None
        self._health, self._at = b"", 0.0
        self._statuses: OrderedDict[str, Told] = OrderedDict()

    def health(self, facade: Facade) -> bytes:
        """The health object: as it was, unless anything in it has changed."""
        mark, now = facade.mark, facade.clock()
        if mark != self._mark or not 0 <= now - self._at < HEALTH_FOR_S:
            uptime_s = now - facade.started_at
            self._health = views.encode(views.health(facade.pulse(), version=facade.version, uptime_s=uptime_s))
            self._mark, self._at = mark, now
        return self._health

    def status(self, facade: Facade, job_id: str) -> bytes:
        """The status object of a job, as it is now. Raises NotThere."""
        state = facade.state
        told = self._statuses.get(job_id)
        if told and told.writes == state.writes and told.size == size_of(told.file):
            return told.said
        writes, job = state.writes, state.job(job_id)
        if job is None:
            raise NotThere("there is no such job; see `reactord jobs`")
        work = WorkDir(facade.home.jobs / job.id)
        file = str(work.progress_path)
        size = size_of(file)
        said = views.encode(views.status(job, views.fold_all(work.recent_progress())))
        self._statuses[job_id] = Told(writes, file, size, said)
        self._statuses.move_to_end(job_id)
        if len(self._statuses) > MAX_KEPT:
            self._statuses.popitem(last=False)
        return said


def size_of(file: str) -> int:
    """Of the progress of a job, which only grows; 0 before its first line."""
    try:
        return os.stat(file).st_size  # noqa: PTH116 - a third of what Path.stat costs
    except OSError:
        return 0


ANSWERS: web.AppKey[Answers] = web.AppKey("answers", Answers)
