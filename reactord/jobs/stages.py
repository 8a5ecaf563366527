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
from reactord.jobs.machine import JobMachine
from reactord.jobs.slot import Slot
from reactord.jobs.worker_process import WorkerLost, bury, start
from reactord.ledger.state import Job, Store
from reactord.settings import Settings
from reactord.workdir import Stage, WorkDir

#: a broken environment (no disk, no model) is looked at again so often, for at most so long
ENVIRONMENT_RETRY_S = 30.0
ENVIRONMENT_PATIENCE_S = 24 * 3600.0
ENVIRONMENT_CAUSES = ("disk_full", "missing_model", "environment")
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
        if busy := await services.slot.take(job.fence, delegated=job.request["born_of"] == "http"):
            await bury(workdir)
            raise StageFailed(Next("preempt", busy))
        try:
            worker = await start(workdir, stage)
            outcome = await worker.finished(services.settings.stage_silence_s)
        except WorkerLost as lost:
            raise StageFailed(_after_loss(services, job, workdir, stage, lost)) from None
    if outcome.get("ok"):
        return outcome
    raise StageFailed(_after_refusal(services, job, workdir, outcome))


def _after_loss(services: Services, job: Job, workdir: WorkDir, stage: Stage, lost: WorkerLost) -> Next:
    """A worker that vanished is tried again from its checkpoint, a bounded number of times at one and the same place.

    A run that gets further between its deaths is not stuck: its attempts are counted anew.
    """
    if lost.reason == "stopped":
        return Next("preempt", str(lost), {"end_reason": lost.reason}, attempt=job.attempt)
    newest = max((path.name for path in workdir.checkpoints.glob("step-*")), default="no checkpoint")
    place, most = f"{stage}, {newest}", services.settings.max_attempts
    attempt = job.attempt + 1 if job.facts.get("lost_at") == place else 1
    facts = {"end_reason": lost.reason, "lost_at": place}
    if attempt >= most:
        return Next("fail", f"{lost} (attempt {attempt} of {most})", facts)
    return Next("preempt", str(lost), facts, attempt=attempt)


def _after_refusal(services: Services, job: Job, workdir: WorkDir, outcome: dict[str, Any]) -> Next:
    """A worker that says no is believed; a broken environment is looked at again until it is mended."""
    cause, message = outcome.get("cause"), str(outcome.get("message", "the worker gave no reason"))
    now = services.clock()
    if cause in ENVIRONMENT_CAUSES and now - job.created_at < ENVIRONMENT_PATIENCE_S:
        workdir.set_outcome_aside(outcome["stage"], job.fence)
        return Next("preempt", message, {"end_reason": cause, "not_before": now + ENVIRONMENT_RETRY_S})
    return Next("fail", message, {"end_reason": cause, "error": outcome.get("error"), "counts": outcome.get("counts")})
