"""On what can a job directory be run?

A launcher starts or adopts a worker for one stage; whoever it started is watched through the directory alone, so a
worker on another machine looks the same as one here. Two are for this machine: one process, and one that has torchrun
start several to train together. Either way there is one to adopt, to stop and to bury.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from reactord.workdir import Stage, WorkDir

if TYPE_CHECKING:
    from reactord.jobs.worker_process import WorkerProcess

LOCAL, TORCHRUN = "local", "torchrun"


class Launcher(Protocol):
    """Who can start a worker."""

    name: str

    async def start(self, workdir: WorkDir, stage: Stage) -> WorkerProcess:
        """Start a worker for `stage`, or adopt the one that is there."""


class LocalLauncher:
    """A process of its own on this machine."""

    name = LOCAL

    async def start(self, workdir: WorkDir, stage: Stage) -> WorkerProcess:
        """Start a worker for `stage`, or adopt the one that is there."""
        from reactord.jobs import worker_process  # noqa: PLC0415 - asyncio is a third of what `reactord plan` may cost

        return await worker_process.start(workdir, stage)


class TorchrunLauncher:
    """Several processes on this machine, which divide every step among them (worker/torchrun.py)."""

    name = TORCHRUN

    async def start(self, workdir: WorkDir, stage: Stage) -> WorkerProcess:
        """Start the process that starts the others for `stage`, or adopt the one that is there."""
        from reactord.jobs import worker_process  # noqa: PLC0415 - as above

        return await worker_process.start(workdir, stage, worker_process.TORCHRUN_COMMAND)


LAUNCHERS: dict[str, Launcher] = {LOCAL: LocalLauncher(), TORCHRUN: TorchrunLauncher()}


def launcher_of(workdir: WorkDir, stage: Stage) -> Launcher:
    """Who starts this stage here: only training is divided."""
    together = stage == "train" and workdir.spec().hyper.ranks > 1
    return LAUNCHERS[TORCHRUN if together else LOCAL]


def cloud_of() -> str | None:
    """The launcher that could take a job off this machine; None while only this machine's own is installed."""
    return next((name for name in LAUNCHERS if name not in (LOCAL, TORCHRUN)), None)
