"""Who moves a job? One driver takes the next job through its states, one job at a time, and goes on after a crash.

Each state has one coroutine that does its work and says what to fire next; every one can be run again from its start
without harm. So recovery is nothing special: at start-up the live jobs are simply driven on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Coroutine
from typing import Any

from reactord.jobs import deploying, exporting, reserving, training
from reactord.jobs.machine import IllegalTransition
from reactord.jobs.queue import next_job
from reactord.jobs.stages import ENVIRONMENT_PATIENCE_S, Next, Services, will_pass
from reactord.jobs.states import LIVE, State
from reactord.jobs.triggers import Growth, JobRequest, due, new_job_id, submit
from reactord.jobs.worker_process import bury, rss_bytes
from reactord.ledger.state import Job
from reactord.workdir import WorkDir

log = logging.getLogger("reactord.jobs")

#: the trigger by count is looked at so often; a submission wakes the driver at once
LOOK_EVERY_S = 1.0
#: whoever announced a shutdown gets so long to end us, before the job goes on
CHECKPOINT_PAUSE_S = 30.0
#: a disk that refused is asked again after so long
TROUBLE_S = 5.0

Work = Callable[[Services, Job], Coroutine[Any, Any, Next]]
WORK: dict[str, Work] = {
    State.RESERVING: reserving.work,
    State.TRAINING: training.work,
    State.EXPORTING: exporting.work,
    State.DEPLOYING: deploying.work,
}
#: what an interrupted state becomes when the daemon stops; a deployment is simply done again at the next start
ON_SHUTDOWN = {State.RESERVING: "requeue", State.TRAINING: "preempt", State.EXPORTING: "preempt"}


class Driver:
    """Runs jobs. `moved` is called after every committed transition: publish it, draw it, forget it."""

    def __init__(self, services: Services, moved: Callable[[Job], None]) -> None:
        self.services, self.moved = services, moved
        self.trouble: str | None = None  # why jobs cannot go on now, in words
        self.running: str | None = None  # id of the job being driven
        self._work: asyncio.Task[Next] | None = None
        self._stops: dict[str, Next] = {}  # what becomes of a running job that was told to stop
        self._wake = asyncio.Event()
        self.draining = False  # no queued job is admitted any more

    # -- asked for from outside --------------------------------------------------------------------------------------
    def submit(self, request: JobRequest, cause: str) -> tuple[Job, bool]:
        """Queue a job (idempotent by its id)."""
        job, new = submit(self.services.store, request, self.services.clock(), cause)
        if new:
            self.moved(job)
            self._wake.set()
        return job, new

    def cancel(self, job_id: str) -> Job | None:
        """Cancel a job; what is finished, or is being placed before Prime, stays as it is. None: there is no such job.

        Placing takes seconds, and half-way back out of it is no state to leave Prime in.
        """
        job = self.services.store.job(job_id)
        if job is None or job.state not in LIVE or job.state == State.DEPLOYING:
            return job
        cancel = Next("cancel", "cancelled on request")
        if job.state == State.QUEUED:
            return self._fire(job, cancel)
        self._stop_work(job_id, cancel)
        return job

    def checkpoint(self, why: str) -> str | None:
        """Have the running worker write down what it learned: its job queues and goes on from there. Returns its id."""
        job = self.services.store.job(self.running) if self.running else None
        if job is None or (trigger := ON_SHUTDOWN.get(State(job.state))) is None:
            return None
        self._stop_work(job.id, Next(trigger, why, {"not_before": self.services.clock() + CHECKPOINT_PAUSE_S}))
        return job.id

    def drain(self, why: str) -> None:
        """Admit no more jobs until the next start; what runs may end."""
        self.draining = True
        log.warning("draining: %s", why)

    def _stop_work(self, job_id: str, what: Next) -> None:
        """The first to ask stops the work, once: a second CancelledError would interrupt the stopping itself.

        A job that is live and not running (after a restart, or while a disk is waited for) is stopped when its turn
        comes: it may have a worker.
        """
        first = job_id not in self._stops
        if first or what.trigger == "cancel":
            self._stops[job_id] = what
        if first and self.running == job_id and self._work is not None:
            self._work.cancel()
        self._wake.set()

    def _stop_for_lost_slot(self) -> None:
        """Somebody else trains now: checkpoint, and queue again."""
        job = self.services.store.job(self.running) if self.running else None
        if job is not None and (trigger := ON_SHUTDOWN.get(State(job.state))):
            self._stop_work(job.id, Next(trigger, "the training slot was lost"))

    def worker_rss_bytes(self) -> int:
        """Resident bytes of the worker that runs now; 0 when there is none."""
        return rss_bytes(WorkDir(self.services.home.jobs / self.running)) if self.running else 0

    # -- the loop ----------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Drive what is live, wait for what is born, until cancelled."""
        self.services.slot.lost = self._stop_for_lost_slot
        for job in self.services.store.jobs():
            self._looked_at(job)
        recovered = False
        while True:
            now = self.services.clock()
            try:
                if not recovered:
                    await training.take_again(self.services)
                    recovered = True
                live = self.services.store.live_jobs()
                if self.draining:
                    live = [job for job in live if job.state != State.QUEUED]
                if chosen := next_job(live, now):
                    await self._drive(chosen)
                    self.trouble = None
                    continue
                self._bear(now)
                self.trouble = None
            except Exception as trouble:
                if not will_pass(trouble):
                    raise
                self._show(trouble)
            with contextlib.suppress(TimeoutError):  # and no wait_for: before Python 3.12 it can swallow a cancellation
                async with asyncio.timeout(TROUBLE_S if self.trouble else LOOK_EVERY_S):
                    await self._wake.wait()
            self._wake.clear()

    def _show(self, trouble: Exception) -> None:
        """The state that was being worked on is worked on again; until then everybody can read why it waits."""
        words = str(trouble) or type(trouble).__name__
        if words != self.trouble:
            log.error("the job waits: %s. It goes on by itself when the cause is gone.", words)
        self.trouble = words

    def _bear(self, now: float) -> None:
        inbox, store = self.services.inbox, self.services.store
        intake = inbox.intake
        if intake.fresh_after < inbox.looked_upto:
            return  # the ingest thread has not counted anew yet
        if cause := due(self.services.settings, Growth(intake.fresh, intake.last_arrival_at), store.jobs(), now):
            self.submit(JobRequest(job_id=new_job_id(now), born_of="threshold"), cause)

    def _looked_at(self, job: Job) -> None:
        """No job is born again for records that one has looked at, even if it found nothing to learn in them."""
        inbox = self.services.inbox
        inbox.looked_upto = max(inbox.looked_upto, int(job.facts.get("upto", 0)))

    async def _drive(self, job: Job) -> None:
        """Take one job as far as it goes now: to a terminal state, or back into the queue."""
        self.running = job.id
        try:
            if job.state == State.QUEUED:
                job = self._fire(job, Next("admit", "its turn"))
            while job.state in WORK:
                job = self._go(job, await self._do(job))
        except IllegalTransition as moved:
            log.warning("job %s: %s", job.id, moved)
        finally:
            self.running = None
            if job.state not in LIVE or job.state == State.QUEUED:
                self.services.slot.release()

    def _go(self, job: Job, what: Next) -> Job:
        """Fire what the work of a state said; if that cannot be, its author made a mistake."""
        try:
            return self._fire(job, what)
        except Exception as bug:
            if will_pass(bug):
                raise
            return self._fire(job, _bug(job, bug))

    async def _do(self, job: Job) -> Next:
        """The work of one state; a cancelled job, a stopping daemon and a bug each have their way out."""
        workdir = WorkDir(self.services.home.jobs / job.id)
        if job.id in self._stops:
            await bury(workdir)
            return self._stops[job.id]
        self._work = asyncio.create_task(WORK[job.state](self.services, job), name=f"{job.id}:{job.state}")
        try:
            what = await asyncio.shield(self._work)
            return self._stops.get(job.id, what)
        except asyncio.CancelledError:
            if job.id in self._stops and self._work.cancelled():
                await bury(workdir)
                return self._stops[job.id]
            await self._interrupt(job, workdir)
            raise
        except Exception as error:  # the task boundary: the job fails loudly, the daemon lives on
            if will_pass(error) and self.services.clock() - job.updated_at < ENVIRONMENT_PATIENCE_S:
                raise
            return _bug(job, error)
        finally:
            self._work = None

    async def _interrupt(self, job: Job, workdir: WorkDir) -> None:
        """The daemon is stopping: the worker checkpoints and leaves, and the state says why."""
        assert self._work is not None
        if job.id not in self._stops:
            self._work.cancel()
        await asyncio.wait([self._work])
        await bury(workdir)
        trigger = ON_SHUTDOWN.get(State(job.state))
        what = self._stops.get(job.id, trigger and Next(trigger, "the daemon was stopped"))
        if what:
            # on a disk that is full the state stays as it is, and the next start goes on from it
            with contextlib.suppress(OSError, sqlite3.OperationalError):
                self._fire(job, what)

    def _fire(self, job: Job, what: Next) -> Job:
        facts = dict(what.facts)
        fence = facts.pop("fence", None)
        moved = self.services.machine.fire(
            job.id, what.trigger, self.services.clock(), cause=what.cause, attempt=what.attempt, fence=fence, **facts
        )
        self._stops.pop(job.id, None)
        self._looked_at(moved)
        self.moved(moved)
        return moved


def _bug(job: Job, error: Exception) -> Next:
    log.error("job %s: a bug while %s", job.id, job.state, exc_info=error)
    return Next("fail", f"{type(error).__name__}: {error}. This is a bug; see `reactord logs`", {"error": "bug"})
