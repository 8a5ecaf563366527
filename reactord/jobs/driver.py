"""Who moves a job? One driver takes the next job through its states, and goes on after a crash.

One job at a time, or as many as the settings allow (queue.py says which may run beside which). Each state has one
coroutine that does its work and says what to fire next; every one can be run again from its start without harm. So
recovery is nothing special: at start-up the live jobs are simply driven on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import sqlite3
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from reactord.errors import EnvironmentTrouble
from reactord.jobs import admitting, deploying, exporting, reserving, tidying, training
from reactord.jobs.attempts import Cause
from reactord.jobs.births import Births
from reactord.jobs.machine import FencedOff, IllegalTransition
from reactord.jobs.nights import time_is_up
from reactord.jobs.queue import PLACING, next_job
from reactord.jobs.stages import ENVIRONMENT_PATIENCE_S, Next, Services, time_limits_s, will_pass
from reactord.jobs.states import LIVE, State
from reactord.jobs.triggers import JobRequest, submit
from reactord.jobs.worker_process import bury, is_working, rss_bytes
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
        self._troubles: dict[str, str] = {}  # id of a job, or none -> why it cannot go on now, in words
        self._driven: dict[str, asyncio.Task[None]] = {}  # the jobs that are being driven
        self._work: dict[str, asyncio.Task[Next]] = {}  # the work of the state in which each of them is
        self._known: set[str] = set()  # the jobs that were numbered in this life of the daemon
        self._placing: str | None = None  # the one of them that may be judged and deployed
        self._held: dict[str, float] = {}  # a job that met a trouble is not driven on before this time of the loop
        self._tidying: set[asyncio.Task[None]] = set()
        self._stops: dict[str, Next] = {}  # what becomes of a running job that was told to stop
        self._wake = asyncio.Event()
        self._recovered = False
        self.draining = False  # no queued job is admitted any more
        self.births = Births(services, self._born)

    @property
    def trouble(self) -> str | None:
        """Why jobs cannot go on now, in words."""
        return next(iter(self._troubles.values()), None)

    @property
    def running(self) -> str | None:
        """The job that is being driven; of several the one that was taken up first."""
        return next(iter(self._driven), None)

    # -- asked for from outside --------------------------------------------------------------------------------------
    def submit(self, request: JobRequest, cause: str, facts: dict[str, Any] | None = None) -> tuple[Job, bool]:
        """Queue a job (idempotent by its id)."""
        job, new = submit(self.services.store, request, self.services.clock(), cause, facts)
        if new:
            self._born(job)
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
        """Have each running worker write down what it learned: its job queues and goes on from there. Returns an id."""
        pause = {"not_before": self.services.clock() + CHECKPOINT_PAUSE_S}
        return next(iter(self._stop_all(why, pause)), None)

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
        if first:
            self._held.pop(job_id, None)
        if first or what.trigger == "cancel":
            self._stops[job_id] = what
        if first and (work := self._work.get(job_id)):
            work.cancel()
        self._wake.set()

    def _stop_all(self, why: str, facts: dict[str, Any]) -> list[str]:
        """Have every driven job checkpoint and queue again; one that is being placed goes on. Returns their ids."""
        jobs = [job for job in self.services.store.live_jobs() if job.id in self._driven]
        stopped = [job.id for job in jobs if State(job.state) in ON_SHUTDOWN]
        for job in jobs:
            if trigger := ON_SHUTDOWN.get(State(job.state)):
                self._stop_work(job.id, Next(trigger, why, facts))
        return stopped

    def _stop_for_lost_slot(self) -> None:
        """Somebody else trains now: checkpoint, and queue again."""
        self._stop_all("the training slot was lost", {"end_reason": Cause.LOST_LOCK})

    def _stop_for_lost_lease(self, job_id: str, why: str) -> None:
        """Prime wants its memory back: the job that had it checkpoints, and reserves again."""
        job = self.services.store.job(job_id)
        if job and (trigger := ON_SHUTDOWN.get(State(job.state))):
            self._stop_work(job.id, Next(trigger, why, {"end_reason": Cause.PREEMPTED}))

    def worker_rss_bytes(self) -> int:
        """Resident bytes of the workers that run now; 0 when there is none."""
        return sum(rss_bytes(WorkDir(self.services.home.jobs / job_id)) for job_id in self._driven)

    # -- the loop ----------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Drive what is live, wait for what is born, until cancelled."""
        self.services.slot.lost = self._stop_for_lost_slot
        self.services.leasing.lost = self._stop_for_lost_lease
        for job in self.services.store.jobs():
            self._looked_at(job)
        try:
            while True:
                try:
                    self._look()
                    if not self._recovered:
                        await training.take_again(self.services)
                        await tidying.at_start(self.services)
                        self._recovered = True
                        continue
                    self._troubles.pop("", None)
                except Exception as trouble:
                    if not will_pass(trouble):
                        raise
                    self._show("", trouble)
                # no wait_for: before Python 3.12 it can swallow a cancellation
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TROUBLE_S if self.trouble else LOOK_EVERY_S):
                        await self._wake.wait()
                self._wake.clear()
        finally:
            await self._let_go()

    def _look(self) -> None:
        """Take up every job that may run now; then see what else there is to do."""
        for job_id in [job_id for job_id, task in self._driven.items() if task.done()]:
            self._ended(job_id, self._driven.pop(job_id))
        now = self.services.clock()
        self.births.go_on(self.services.store.live_jobs(), now)
        idle = [job for job in self.services.store.live_jobs() if job.id not in {*self._stops, *self._driven}]
        lacking = admitting.without_data(self.services, idle, now, self._fire)
        while chosen := self._next(now, lacking):
            task = asyncio.create_task(self._drive(chosen), name=chosen.id)
            self._driven[chosen.id] = task
            task.add_done_callback(lambda _: self._wake.set())
        if not self._recovered:
            return
        self._leave_in_time(now)
        self.births.look(now)

    def _leave_in_time(self, now: float) -> None:
        """A run of the night ends before its night does.

        A model that is being placed is placed: it is judged already, that takes seconds and no memory to speak of
        (at most REACTOR_DEPLOY_WAIT_S for a Prime to take it, and deploy_deadline_s in the worst case), and what is
        left half-way before Prime would stay there until the next night. ON_SHUTDOWN does not name it.
        """
        for job in self.services.store.live_jobs():
            trigger = ON_SHUTDOWN.get(State(job.state))
            if trigger and job.id not in self._stops and time_is_up(job.facts, now):
                self._stop_work(job.id, self.births.leave(job, trigger, now))

    def _next(self, now: float, lacking: Collection[str]) -> Job | None:
        """A job that was told to stop goes first: it only has to be buried."""
        live, at_once = self.services.store.live_jobs(), self.services.settings.max_concurrent_training_jobs
        live = [job for job in live if job.id not in lacking]
        if not self._recovered:  # who works already is adopted at once; what chooses records must wait
            live = [job for job in live if is_working(WorkDir(self.services.home.jobs / job.id))]
        if self.draining:
            live = [job for job in live if job.state != State.QUEUED or job.id in self._driven]
        stopped = (job for job in live if job.id in self._stops and job.id not in self._driven)
        chosen = next(stopped, None) or next_job(live, now, driven=self._driven, at_once=at_once)
        if chosen is None or self._held.get(chosen.id, 0.0) > asyncio.get_running_loop().time():
            return None
        return chosen

    def _ended(self, job_id: str, task: asyncio.Task[None]) -> None:
        """A job is driven no further now: it is finished, or queued, or waits for its turn, or met a trouble."""
        error = None if task.cancelled() else task.exception()
        if error is None:
            self._troubles.pop(job_id, None)
        elif isinstance(error, FencedOff):  # not ours any more; whatever it is told, this daemon leaves it alone
            self._held[job_id] = math.inf
            self._show(job_id, error)
        elif isinstance(error, Exception) and will_pass(error):
            self._held[job_id] = asyncio.get_running_loop().time() + TROUBLE_S
            self._show(job_id, error)
        else:
            raise error

    def _tidy(self, job: Job) -> None:
        """Free the scratch of a job that is over, beside everything else; what is missed here is done at a start."""
        task = asyncio.create_task(tidying.after(self.services, job), name=f"{job.id}:tidy")
        self._tidying.add(task)
        task.add_done_callback(self._tidied)

    def _tidied(self, task: asyncio.Task[None]) -> None:
        self._tidying.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.warning("%s: %s; the next start tries again", task.get_name(), error)

    async def _let_go(self) -> None:
        """The daemon stops: every worker checkpoints at the same time."""
        for task in self._driven.values():
            task.cancel()
        if self._driven:
            await asyncio.wait(self._driven.values())

    def _show(self, job_id: str, trouble: Exception) -> None:
        """The state that was being worked on is worked on again; until then everybody can read why it waits."""
        words = str(trouble) or type(trouble).__name__
        if words != self._troubles.get(job_id):
            log.error("the job waits: %s. It goes on by itself when the cause is gone.", words)
        self._troubles[job_id] = words

    def _born(self, job: Job) -> None:
        self.moved(job)
        self._wake.set()

    def _looked_at(self, job: Job) -> None:
        """No job is born again for records that one has looked at, even if it found nothing to learn in them."""
        inbox = self.services.inbox
        inbox.looked_upto = max(inbox.looked_upto, int(job.facts.get("upto", 0)))

    async def _drive(self, job: Job) -> None:
        """Take one job as far as it goes now: to a terminal state, or back into the queue."""
        fenced_off = False
        try:
            if job.state == State.QUEUED:
                job = await self._admit(job)
            elif job.id not in self._known:  # of an earlier life, which may only be asleep: it commits nothing
                fence = await reserving.next_fence(self.services)
                job = self.services.machine.refence(job, self.services.clock(), fence)
            self._known.add(job.id)
            while job.state in WORK and (job.id in self._stops or self._may_place(job)):
                job = self._go(job, await self._do(job))
        except FencedOff:
            fenced_off = True
            raise
        except IllegalTransition as moved:
            self._stops.pop(job.id, None)  # what it was told does not fit what it has become
            log.warning("job %s: %s", job.id, moved)
        finally:
            if self._placing == job.id:
                self._placing = None
            alone = all(task.done() for job_id, task in self._driven.items() if job_id != job.id)
            if alone and (fenced_off or job.state not in LIVE or job.state == State.QUEUED):
                await self.services.slot.release()

    async def _admit(self, job: Job) -> Job:
        """Begin, or learn why not."""
        now = self.services.clock()
        if job.id in self._stops:
            return self._fire(job, self._stops[job.id])
        found = await admitting.look(self.services, job, now)
        if isinstance(found, Next):
            return self._fire(job, found)
        return self.services.machine.learn(job, now, because=found.why, **found.facts)

    def _may_place(self, job: Job) -> bool:
        """One at a time is judged and deployed; the others wait in their state until it is their turn."""
        if job.state in PLACING:
            if self._placing not in (None, job.id):
                return False
            self._placing = job.id
        return True

    def _go(self, job: Job, what: Next) -> Job:
        """Fire what the work of a state said; if that cannot be, its author made a mistake."""
        try:
            return self._fire(job, what)
        except Exception as bug:
            if will_pass(bug) or isinstance(bug, FencedOff):
                raise
            return self._fire(job, _bug(job, bug))

    async def _do(self, job: Job) -> Next:
        """The work of one state; a cancelled job, a stopping daemon and a bug each have their way out."""
        workdir = WorkDir(self.services.home.jobs / job.id)
        if job.id in self._stops:
            await bury(workdir)
            return self._stops[job.id]
        work = self._work[job.id] = asyncio.create_task(self._in_time(job), name=f"{job.id}:{job.state}")
        try:
            what = await asyncio.shield(work)
            return self._stops.get(job.id, what)
        except asyncio.CancelledError:
            if job.id in self._stops and work.cancelled():
                await bury(workdir)
                return self._stops[job.id]
            await self._interrupt(job, workdir)
            raise
        except Exception as error:  # the task boundary: the job fails loudly, the daemon lives on
            if will_pass(error) and self.services.clock() - job.updated_at < ENVIRONMENT_PATIENCE_S:
                raise
            return _bug(job, error)
        finally:
            del self._work[job.id]

    async def _in_time(self, job: Job) -> Next:
        """The work of a state. What is not done in time is shown as a trouble, and done again from its start."""
        limit_s = time_limits_s(self.services.settings)[State(job.state)]
        try:
            async with asyncio.timeout(limit_s) as clock:
                return await WORK[job.state](self.services, job)
        except TimeoutError:
            if not clock.expired():
                raise
            raise EnvironmentTrouble(f"{job.state} took longer than {limit_s:.0f} s; see `reactord logs`") from None

    async def _interrupt(self, job: Job, workdir: WorkDir) -> None:
        """The daemon is stopping: the worker checkpoints and leaves, and the state says why."""
        work = self._work[job.id]
        if job.id not in self._stops:
            work.cancel()
        await asyncio.wait([work])
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
            job.id, what.trigger, self.services.clock(),
            cause=what.cause, attempt=what.attempt, held=job.fence, fence=fence, **facts,
        )  # fmt: skip
        self._stops.pop(job.id, None)
        self._troubles.pop(job.id, None)
        self._looked_at(moved)
        self.moved(moved)
        if moved.state not in LIVE:
            self._tidy(moved)
        return moved


def _bug(job: Job, error: Exception) -> Next:
    log.error("job %s: a bug while %s", job.id, job.state, exc_info=error)
    return Next("fail", f"{type(error).__name__}: {error}. This is a bug; see `reactord logs`", {"error": "bug"})
