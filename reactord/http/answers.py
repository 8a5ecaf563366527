"""What was answered last, and may be told again? Supervisors and runners ask the same every second."""

from __future__ import annotations

import os
from collections import OrderedDict

from aiohttp import web

from reactord.http import views
from reactord.http.facade import Facade, Pulse
from reactord.http.refusals import NotThere
from reactord.workdir import WorkDir

#: only the uptime in it is older then
HEALTH_FOR_S = 0.1
MAX_KEPT = 64

#: what differs when the status of a job does: the writes of the one writer, and the file that its worker appends to
Place = tuple[int, int, int]


class Answers:
    """The newest answers, encoded."""

    def __init__(self) -> None:
        self._pulse: Pulse | None = None
        self._health, self._at = b"", 0.0
        self._statuses: OrderedDict[str, tuple[str, Place, bytes]] = OrderedDict()

    def health(self, facade: Facade) -> bytes:
        """The health object: as it was, unless anything in it has changed."""
        pulse, now = facade.pulse(), facade.clock()
        if pulse != self._pulse or not 0 <= now - self._at < HEALTH_FOR_S:
            uptime_s = now - facade.started_at
            self._health = views.encode(views.health(pulse, version=facade.version, uptime_s=uptime_s))
            self._pulse, self._at = pulse, now
        return self._health

    def status(self, facade: Facade, job_id: str) -> bytes:
        """The status object of a job, as it is now. Raises NotThere."""
        state = facade.state
        if (told := self._statuses.get(job_id)) and told[1] == _place(state.writes, told[0]):
            return told[2]
        work = WorkDir(facade.home.jobs / job_id)
        file = str(work.progress_path)
        place = _place(state.writes, file)
        job = state.job(job_id)
        if job is None:
            raise NotThere("there is no such job; see `reactord jobs`")
        said = views.encode(views.status(job, views.fold_all(work.recent_progress())))
        self._statuses[job_id] = file, place, said
        self._statuses.move_to_end(job_id)
        if len(self._statuses) > MAX_KEPT:
            self._statuses.popitem(last=False)
        return said


def _place(writes: int, file: str) -> Place:
    try:
        found = os.stat(file)  # noqa: PTH116 - a third of what Path.stat costs
    except OSError:
        return writes, 0, 0
    return writes, found.st_size, found.st_mtime_ns


ANSWERS: web.AppKey[Answers] = web.AppKey("answers", Answers)
