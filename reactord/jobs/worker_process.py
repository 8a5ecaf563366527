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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psutil

from reactord.errors import ReactordError
from reactord.workdir import EXIT_STOPPED, Stage, WorkDir

log = logging.getLogger("reactord.jobs")

POLL_S = 0.2
#: SIGTERM, then so long for a checkpoint, then SIGKILL. The daemon itself must be gone within 8 s.
GRACE_S = 6.0
KILL_S = 1.0
START_TOLERANCE_S = 1.0
#: followed by the stage and the job directory
WORKER_COMMAND = (sys.executable, "-m", "reactord.worker")


class WorkerLost(ReactordError):
    """A worker ended without an outcome; `reason` is one of stopped, killed, crashed, hung."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A stage at work in a job directory, started here or found there."""

    workdir: WorkDir
    stage: Stage
    child: asyncio.subprocess.Process | None  # None: adopted

    async def finished(self, silence_s: float) -> dict[str, Any]:
        """Wait for the outcome of the stage. Raises WorkerLost when the worker ends, or is ended, without one.

        Cancelling this stops the worker: checkpoint, and gone within GRACE_S.
        """
        heard, heard_at = _last_word(self.workdir), time.monotonic()  # which stands still while the machine sleeps
        try:
            while is_working(self.workdir):
                await asyncio.sleep(POLL_S)
                if (word := _last_word(self.workdir)) != heard:
                    heard, heard_at = word, time.monotonic()
                if time.monotonic() - heard_at > silence_s:
                    await self.stop()
                    raise WorkerLost("hung", f"{self.stage} reported nothing for {silence_s:.0f} s and was killed")
        except asyncio.CancelledError:
            await self.stop()
            raise
        status = await self.child.wait() if self.child else None
        if (outcome := self.workdir.outcome(self.stage)) is not None:
            return outcome
        raise _lost(self.workdir, self.stage, status)

    async def stop(self) -> None:
        await bury(self.workdir, self.child)


async def bury(workdir: WorkDir, child: asyncio.subprocess.Process | None = None) -> None:
    """End the worker of this directory, if there is one, whoever started it, and nobody else.

    SIGTERM, GRACE_S for a checkpoint, then SIGKILL; to its whole session.
    """
    if not await _signalled(workdir, child, signal.SIGTERM, GRACE_S):
        log.warning("job %s: the worker did not leave in %.0f s and is killed", workdir.root.name, GRACE_S)
        await _signalled(workdir, child, signal.SIGKILL, KILL_S)
    if child:
        with contextlib.suppress(TimeoutError):  # not even SIGKILL ends a process that hangs in the kernel
            async with asyncio.timeout(KILL_S):
                await child.wait()


async def _signalled(
    workdir: WorkDir, child: asyncio.subprocess.Process | None, sign: signal.Signals, patience_s: float
) -> bool:
    """Send a signal once the worker can be found; True when it is gone within `patience_s`."""
    deadline, sent = time.monotonic() + patience_s, False
    while is_working(workdir):
        if time.monotonic() > deadline:
            return False
        if not sent and (pid := child.pid if child else _noted_pid(workdir)) is not None:
            _signal_session(pid, sign)
            sent = True
        await asyncio.sleep(POLL_S)
    return True


async def start(workdir: WorkDir, stage: Stage) -> WorkerProcess:
    """Start a worker for `stage`, or adopt the one that is there (for whatever stage it works at)."""
    descriptor = os.open(_lock_path(workdir), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("job %s: adopting the worker that is there", workdir.root.name)
            return WorkerProcess(workdir, stage, None)
        with workdir.worker_log.open("ab") as output:
            child = await asyncio.create_subprocess_exec(
                *WORKER_COMMAND, stage, str(workdir.root),
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True, pass_fds=(descriptor,), cwd=workdir.root,
            )  # fmt: skip
    finally:
        os.close(descriptor)
    return WorkerProcess(workdir, stage, child)


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
    """Resident bytes of the worker in this directory; 0 when there is none."""
    pid = _noted_pid(workdir)
    try:
        return int(psutil.Process(pid).memory_info().rss) if pid else 0
    except psutil.Error:
        return 0


def _lock_path(workdir: WorkDir) -> Path:
    return workdir.root / "worker.lock"


def _noted_pid(workdir: WorkDir) -> int | None:
    """The worker's process id from its own note, if that very process is still alive."""
    try:
        note = orjson.loads(workdir.worker_path.read_bytes())
        process = psutil.Process(int(note["pid"]))
        same = abs(process.create_time() - float(note["started"])) <= START_TOLERANCE_S
    except (OSError, ValueError, KeyError, TypeError, OverflowError, psutil.Error):
        return None
    return process.pid if same else None


def _signal_session(pid: int, sign: signal.Signals) -> None:
    try:
        os.killpg(pid, sign)  # a worker leads its own session, so its group is its pid
    except (ProcessLookupError, PermissionError):
        return


def _last_word(workdir: WorkDir) -> int | None:
    """When the worker wrote to progress.jsonl, as the file system tells it."""
    try:
        return workdir.progress_path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _lost(workdir: WorkDir, stage: Stage, status: int | None) -> WorkerLost:
    """Say how a worker without an outcome ended, and where to read more."""
    more = f"its output is in {workdir.worker_log}"
    if status == EXIT_STOPPED:
        return WorkerLost("stopped", f"{stage} was asked to stop and left at a checkpoint")
    if status is None:
        return WorkerLost("killed", f"{stage} ended without an outcome while no daemon watched; {more}")
    if status < 0:
        name = signal.Signals(-status).name
        hint = " (often the kernel, out of memory: see `dmesg`)" if -status == signal.SIGKILL else ""
        return WorkerLost("killed", f"{stage} was killed by {name}{hint}; {more}")
    return WorkerLost("crashed", f"{stage} ended with status {status} and no outcome; {more}")
