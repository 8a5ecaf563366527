"""Is there a worker in this job directory, and how do we start, adopt and stop it?

A worker inherits a locked descriptor of `worker.lock` from the daemon. The kernel keeps the lock for as long as the
worker lives, whoever its parent is by then, so "is there a worker?" has an exact answer after any crash, without
trusting process ids. `worker.json` (written by the worker) says which process to signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psutil

from reactord.errors import ReactordError
from reactord.jobs.attempts import Cause
from reactord.jobs.hanging import Limits, Progress, hangs, hear
from reactord.jobs.keeping import Keeper, family_bytes
from reactord.workdir import EXIT_STOPPED, Stage, WorkDir, boot_id, parse_progress

log = logging.getLogger("reactord.jobs")

POLL_S = 0.2
#: SIGTERM, then so long for a checkpoint, then SIGKILL. The daemon itself must be gone within 8 s.
GRACE_S = 6.0
KILL_S = 1.0
START_TOLERANCE_S = 1.0
#: a worker whose outcome is written has so long to leave by itself: numerical libraries have kept some alive for ever
LINGER_S = 10.0
#: signals that a process brings upon itself
OWN_FAULT = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP})
#: counts every process that the kernel ended for want of memory
VMSTAT = Path("/proc/vmstat")
#: followed by the stage and the job directory
WORKER_COMMAND = (sys.executable, "-m", "reactord.worker")
TORCHRUN_COMMAND = (sys.executable, "-m", "reactord.worker.torchrun")


class WorkerLost(ReactordError):
    """A worker ended without an outcome."""

    def __init__(self, reason: Cause, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Tail:
    """The lines that a worker appends to its progress.jsonl."""

    def __init__(self, path: Path) -> None:
        self.path, self.rest = path, b""
        self.offset = path.stat().st_size if path.exists() else 0

    def lines(self) -> list[dict[str, Any]]:
        """The whole lines that came since the last look."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return []
        self.offset += len(data)
        *whole, self.rest = (self.rest + data).split(b"\n")
        return [line for raw in whole if (line := parse_progress(raw)) is not None]


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A stage at work in a job directory, started here or found there."""

    workdir: WorkDir
    stage: Stage
    child: asyncio.subprocess.Process | None  # None: adopted
    oom_kills: int | None = None  # how many the kernel had counted before

    @property
    def pid(self) -> int | None:
        return self.child.pid if self.child else _noted_pid(self.workdir)

    async def finished(self, limits: Limits, keeper: Keeper | None = None) -> dict[str, Any]:
        """Wait for the outcome of the stage. Raises WorkerLost when the worker ends, or is ended, without one.

        Cancelling this stops the worker: checkpoint, and gone within GRACE_S.
        """
        pid = self.pid
        try:
            reason = await self._watch(limits, keeper)
        except asyncio.CancelledError:
            await self.stop()
            raise
        if reason is not None:
            await self.stop()
        outcome = self.workdir.outcome(self.stage)
        if outcome is None and reason is not None:
            raise reason
        status = await self.child.wait() if self.child else None
        _kill(_left_behind(pid))
        if outcome is not None:
            return outcome
        if keeper and keeper.ended_by_kernel():
            raise WorkerLost(Cause.OUT_OF_MEMORY, _too_large(self.stage, keeper))
        raise _lost(self.workdir, self.stage, status, oom=_more_oom_kills(self.oom_kills))

    async def _watch(self, limits: Limits, keeper: Keeper | None) -> WorkerLost | None:
        """Until the worker is gone (None), or must be ended, and why."""
        began, ended_at = time.monotonic() - self._age_s(), None
        tail, progress = Tail(self.workdir.progress_path), self._so_far()
        while is_working(self.workdir):
            await asyncio.sleep(POLL_S)
            now = time.monotonic()
            for line in tail.lines():
                progress = hear(progress, line, now) if line.get("stage", self.stage) == self.stage else progress
            if self.workdir.outcome_path(self.stage).exists():
                ended_at = now if ended_at is None else ended_at
                if now - ended_at > LINGER_S:
                    return WorkerLost(Cause.HANG, f"{self.stage} is done and its worker does not leave")
            elif words := hangs(progress, limits, now):
                return WorkerLost(Cause.HANG, f"{self.stage} hangs: {words}; it was ended")
            elif keeper and (over := keeper.look(self.pid)):
                if over.at_once and (pid := self.pid) is not None:
                    _signal_session(pid, signal.SIGKILL)
                return WorkerLost(over.cause, f"{self.stage} was ended: {over.words}")
            elif now - began > limits.deadline_s:
                return WorkerLost(Cause.DEADLINE, _too_late(self.stage, limits.deadline_s, progress))
        return None

    def _so_far(self) -> Progress:
        """An adopted worker has told of itself already; one that starts has everything before it."""
        now = time.monotonic()
        progress = Progress(now)
        for line in self.workdir.recent_progress() if self.child is None else ():
            if line.get("stage") == self.stage:
                progress = hear(progress, line, now)
        return progress

    def _age_s(self) -> float:
        pid = None if self.child else _noted_pid(self.workdir)
        try:
            return max(0.0, time.time() - psutil.Process(pid).create_time()) if pid else 0.0
        except psutil.Error:
            return 0.0

    async def stop(self) -> None:
        await bury(self.workdir, self.child)


async def bury(workdir: WorkDir, child: asyncio.subprocess.Process | None = None) -> None:
    """End the worker of this directory, if there is one, whoever started it, what it started, and nobody else.

    SIGTERM, GRACE_S for a checkpoint, then SIGKILL; to its whole session. A worker that leaves politely may leave a
    child that does not.
    """
    family: list[psutil.Process] = []
    if not await _signalled(workdir, child, signal.SIGTERM, GRACE_S, family):
        log.warning("job %s: the worker did not leave in %.0f s and is killed", workdir.root.name, GRACE_S)
        await _signalled(workdir, child, signal.SIGKILL, KILL_S, family)
    _kill(family)
    if child:
        with contextlib.suppress(TimeoutError):  # not even SIGKILL ends a process that hangs in the kernel
            async with asyncio.timeout(KILL_S):
                await child.wait()


async def _signalled(
    workdir: WorkDir,
    child: asyncio.subprocess.Process | None,
    sign: signal.Signals,
    patience_s: float,
    family: list[psutil.Process],
) -> bool:
    """Send a signal once the worker can be found; True when it is gone within `patience_s`."""
    deadline, sent = time.monotonic() + patience_s, False
    while is_working(workdir):
        if time.monotonic() > deadline:
            return False
        if not sent and (pid := child.pid if child else _noted_pid(workdir)) is not None:
            family += _descendants(pid)
            _signal_session(pid, sign)
            sent = True
        await asyncio.sleep(POLL_S)
    return True


def _descendants(pid: int) -> list[psutil.Process]:
    """Everything that this process started, in sessions of their own, too."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _left_behind(pid: int | None) -> list[psutil.Process]:
    """Who is still in the session of a worker that is gone.

    The kernel gives a number to nobody else while a session bears it; whoever has it now began a session of its own.
    """
    if pid is None or _lives(pid):
        return []
    return [process for process in psutil.process_iter() if _session(process.pid) == pid and process.pid != pid]


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _kill(processes: list[psutil.Process]) -> None:
    """SIGKILL to those that are still the processes they were: psutil compares their start times first."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


async def start(workdir: WorkDir, stage: Stage, command: Sequence[str] | None = None) -> WorkerProcess:
    """Start a worker for `stage`, or adopt the one that is there (for whatever stage it works at)."""
    descriptor = os.open(_lock_path(workdir), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    oom_kills = count_oom_kills()
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("job %s: adopting the worker that is there", workdir.root.name)
            return WorkerProcess(workdir, stage, None, oom_kills)
        with workdir.worker_log.open("ab") as output:
            child = await asyncio.create_subprocess_exec(
                *(command or WORKER_COMMAND), stage, str(workdir.root),
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True, pass_fds=(descriptor,), cwd=workdir.root,
            )  # fmt: skip
    finally:
        os.close(descriptor)
    return WorkerProcess(workdir, stage, child, oom_kills)


def is_working(workdir: WorkDir) -> bool:
    """True iff a worker lives in this directory: nobody else can hold its lock."""
    try:
        descriptor = os.open(_lock_path(workdir), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def rss_bytes(workdir: WorkDir) -> int:
    """Resident bytes of the worker in this directory and of those it started; 0 when there is none."""
    pid = _noted_pid(workdir)
    return family_bytes(pid) if pid else 0


def _lock_path(workdir: WorkDir) -> Path:
    return workdir.root / "worker.lock"


def _noted_pid(workdir: WorkDir) -> int | None:
    """The worker's process id from its own note, if that very process is still alive.

    A number is given out again, after a boot soon: it is the worker only with the same start time in the same boot.
    """
    try:
        note = orjson.loads(workdir.worker_path.read_bytes())
        process = psutil.Process(int(note["pid"]))
        same = abs(process.create_time() - float(note["started"])) <= START_TOLERANCE_S
        booted = str(note.get("boot_id", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, psutil.Error):
        return None
    return process.pid if same and booted in ("", boot_id()) else None


def _signal_session(pid: int, sign: signal.Signals) -> None:
    try:
        os.killpg(pid, sign)  # a worker leads its own session, so its group is its pid
    except (ProcessLookupError, PermissionError):
        return


def count_oom_kills() -> int | None:
    """How many processes the kernel has ended for want of memory since it booted; None where it does not tell."""
    try:
        lines = VMSTAT.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def _more_oom_kills(before: int | None) -> bool:
    now = count_oom_kills()
    return before is not None and now is not None and now > before


def _too_late(stage: Stage, deadline_s: float, progress: Progress) -> str:
    reached = f"it was at step {step}" if (step := progress.last.get("step")) is not None else "it was not done"
    return (
        f"{stage} was given {deadline_s:.0f} s, and {reached} when they were over; raise {stage}_deadline_s in the"
        " settings or ask for less work (hyper.max_steps)"
    )


def _too_large(stage: Stage, keeper: Keeper) -> str:
    allowed = f"{keeper.allowance.hard_bytes(keeper.tier) / 2**30:.2f} GiB" if keeper.allowance else "its limit"
    return f"{stage} was ended by the kernel when it wanted more than {allowed}; the next prediction knows of it"


def _lost(workdir: WorkDir, stage: Stage, status: int | None, *, oom: bool) -> WorkerLost:
    """Say how a worker without an outcome ended, and where to read more."""
    more = f"its output is in {workdir.worker_log}"
    if status == EXIT_STOPPED:
        return WorkerLost(Cause.PREEMPTED, f"{stage} was asked to stop and left at a checkpoint")
    if oom and status in (None, -signal.SIGKILL):
        return WorkerLost(
            Cause.OUT_OF_MEMORY,
            f"{stage} was ended by the kernel, which ran out of memory; lower hyper.pairs_per_batch or"
            f" hyper.max_length_tokens, or make room; {more}",
        )
    if status is None:
        return WorkerLost(Cause.SIGNAL, f"{stage} ended without an outcome while no daemon watched; {more}")
    if status < 0:
        cause = Cause.CRASHED if -status in OWN_FAULT else Cause.SIGNAL
        hint = " (often the kernel, out of memory: see `dmesg`)" if -status == signal.SIGKILL else ""
        return WorkerLost(cause, f"{stage} was killed by {signal.Signals(-status).name}{hint}; {more}")
    return WorkerLost(Cause.CRASHED, f"{stage} ended with status {status} and no outcome; {more}")
