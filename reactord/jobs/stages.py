"""What does a state's work return, and what do all states share?"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from reactord.errors import EnvironmentTrouble
from reactord.home import Home
from reactord.ipc.inbox import Inbox
from reactord.jobs.attempts import DAY_S, Cause, Ended, Past, after, cause_of, smaller
from reactord.jobs.hanging import Limits
from reactord.jobs.keeping import Keeper, allowance_of
from reactord.jobs.launching import launcher_of
from reactord.jobs.learning import learn_peak
from reactord.jobs.leasing import Leasing
from reactord.jobs.machine import JobMachine
from reactord.jobs.neighbours import spare_beside
from reactord.jobs.slot import Slot
from reactord.jobs.states import State
from reactord.jobs.surveying import policy_of
from reactord.jobs.worker_process import WorkerLost, WorkerProcess, bury, is_working
from reactord.ledger.state import Job, Store
from reactord.settings import Settings
from reactord.workdir import Stage, WorkDir

#: a trouble of the daemon itself (no disk) is waited for at most so long
ENVIRONMENT_PATIENCE_S = DAY_S
#: what the stages of a state may take together beyond their own deadlines
SLACK_S = 600.0
ENVIRONMENT_ERRNOS = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN,
    errno.EACCES, errno.EPERM,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Services:
    """What the work of every state needs, built once by the daemon."""

    home: Home
    settings: Settings
    store: Store
    machine: JobMachine
    inbox: Inbox
    slot: Slot
    leasing: Leasing
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Next:
    """The trigger to fire after a state's work is done, why, and what was learned."""

    trigger: str
    cause: str
    facts: dict[str, Any] = field(default_factory=dict)
    attempt: int | None = None


class StageFailed(Exception):
    """A stage cannot go on; `next` says what becomes of the job."""

    def __init__(self, what: Next) -> None:
        super().__init__(what.cause)
        self.next = what


def will_pass(error: Exception) -> bool:
    """Whether the machine is to blame, so that the same work may succeed once somebody has mended it."""
    if isinstance(error, OSError):
        return isinstance(error, TimeoutError) or error.errno in ENVIRONMENT_ERRNOS
    return isinstance(error, sqlite3.OperationalError | EnvironmentTrouble)


async def run_stage(services: Services, job: Job, stage: Stage) -> dict[str, Any]:
    """Have a worker do `stage`, unless its outcome is there already. Returns the outcome's facts.

    Raises StageFailed when the job must leave its state because of it.
    """
    workdir = WorkDir(services.home.jobs / job.id)
    outcome = workdir.outcome(stage)
    if outcome is None:
        try:
            if not is_working(workdir):
                await take_slot(services, job)
            outcome = await _kept(services, job, workdir, stage)
        except WorkerLost as lost:
            raise StageFailed(_after(services, job, stage, lost.reason, str(lost))) from None
    if outcome.get("ok"):
        return outcome
    cause, words = cause_of(outcome.get("cause")), str(outcome.get("message", "the worker gave no reason"))
    what = _after(services, job, stage, cause, words)
    if what.trigger == "preempt":
        workdir.set_outcome_aside(stage, job.fence)
    else:
        what.facts.update(error=outcome.get("error"), counts=outcome.get("counts"))
    raise StageFailed(what)


async def take_slot(services: Services, job: Job, worker: int | None = None) -> None:
    """Have the slot, and hand it to the worker. Raises WorkerLost when somebody else has it; the worker gives way."""
    delegated = job.request["born_of"] == "http"
    if busy := await services.slot.take(job.fence, delegated=delegated, worker=worker):
        await bury(WorkDir(services.home.jobs / job.id))
        raise WorkerLost(Cause.LOST_LOCK, busy)


async def _kept(services: Services, job: Job, workdir: WorkDir, stage: Stage) -> dict[str, Any]:
    """Run a worker within what the job was granted; what it took is remembered, however it ended."""
    headroom = policy_of(services.settings).headroom_bytes
    spare = spare_beside(services.home, services.store, services.settings, job, services.clock, services.leasing.heard)
    keeper = Keeper(workdir, allowance_of(job.facts, headroom), headroom, spare=spare)
    pid: int | None = None
    try:
        worker = await launcher_of(workdir, stage).start(workdir, stage)
        pid = worker.pid
        keeper.admit(pid)
        _tell(services, job, worker)
        await take_slot(services, job, pid)
        outcome = await worker.finished(limits_of(services.settings, stage), keeper)
    except WorkerLost as lost:
        if lost.reason == Cause.OUT_OF_MEMORY:
            _learn(services, workdir, stage, keeper.wanted_bytes(), killed=True)
        raise
    finally:
        keeper.close()
        await services.slot.left(pid)
    took = int(outcome.get("peak_rss_mb") or 0) * 1024**2
    if outcome.get("ok") or outcome.get("cause") == Cause.OUT_OF_MEMORY:
        _learn(services, workdir, stage, max(took, keeper.most_bytes), killed=not outcome.get("ok"))
    return outcome


def _learn(services: Services, workdir: WorkDir, stage: Stage, measured_bytes: int, *, killed: bool) -> None:
    learn_peak(services.home, services.store, workdir, stage, measured_bytes, now=services.clock(), killed=killed)


def time_limits_s(settings: Settings) -> dict[State, float]:
    """How long the work of each state may take: its stages (which have deadlines of their own), and a bit."""
    return {
        State.RESERVING: settings.training_slot_timeout_s + SLACK_S,
        State.TRAINING: settings.prepare_deadline_s + settings.train_deadline_s + SLACK_S,
        State.EXPORTING: settings.export_deadline_s + settings.judge_deadline_s + SLACK_S,
        State.DEPLOYING: settings.deploy_deadline_s,
    }


def limits_of(settings: Settings, stage: Stage) -> Limits:
    """How long a worker may take for a stage, and for its next step."""
    deadlines = {
        "prepare": settings.prepare_deadline_s,
        "train": settings.train_deadline_s,
        "export": settings.export_deadline_s,
        "judge": settings.judge_deadline_s,
    }
    return Limits(deadlines[stage], settings.stage_silence_s, settings.step_silence_s, settings.step_silence_factor)


def _tell(services: Services, job: Job, worker: WorkerProcess) -> None:
    """A run begins, or goes on without us having noticed our own absence: an event, whoever wants to know."""
    topic = "run.started" if worker.child else "run.adopted"
    with services.store.transaction():
        services.store.note(
            topic, job.id, services.clock(), stage=worker.stage, pid=worker.pid, fence=job.fence, attempt=job.attempt
        )


def _after(services: Services, job: Job, stage: Stage, cause: Cause, words: str) -> Next:
    """What becomes of the job after a run that did not do its work: the table in attempts.py, carried out."""
    workdir = WorkDir(services.home.jobs / job.id)
    newest = max((path.name for path in workdir.checkpoints.glob("step-*")), default="no checkpoint")
    place, facts = f"{stage}, {newest}", job.facts
    past = Past(job.attempt, facts.get("lost_at"), facts.get("trouble_since"))
    verdict = after(Ended(cause, words, place, services.clock()), past, services.settings.max_attempts)
    trigger: str = verdict.trigger
    words = verdict.words
    if verdict.smaller and stage == "train":
        trigger, words = _shrink(workdir, verdict.trigger, words)
    learned = {"end_reason": cause, "lost_at": place, "trouble_since": verdict.trouble_since}
    if trigger == "preempt":
        learned["not_before"] = verdict.not_before
    return Next(trigger, words, learned, attempt=verdict.attempt)


def _shrink(workdir: WorkDir, trigger: str, words: str) -> tuple[str, str]:
    """The next run takes half as large pieces, from the same checkpoint.

    Where there is no half, the prediction was too low: it knows better now, and more is asked for (correction.py).
    """
    spec = workdir.spec()
    hyper = smaller(spec.hyper)
    if hyper is None:
        return trigger, f"{words}; it takes one pair at a time already (or lower hyper.max_length_tokens)"
    workdir.create(spec.model_copy(update={"hyper": hyper}))
    return trigger, f"{words}; the next run takes {hyper.pairs_per_batch} pairs at a time"
