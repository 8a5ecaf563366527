"""How is one stage run? `python -m reactord.worker <stage> <job_dir>`

Exit status: 0 the outcome says ok, 1 the outcome says what went wrong and what to do, 75 stopped on request, run again.
Everything printed by anyone, C libraries included, goes to worker.log in the job directory.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, get_args

import orjson
import psutil

from reactord import durable
from reactord.errors import ReactordError, Stopped
from reactord.home import Home
from reactord.workdir import EXIT_STOPPED, STAGES, Stage, WorkDir, boot_id
from reactord.worker import team
from reactord.worker.context import Context, Facts, peak_rss_mb
from reactord.worker.limits import keep_to
from reactord.worker.politeness import step_back
from reactord.worker.stopping import StopSignal, die_with

EXIT_FAILED = 1
#: oneDNN keeps the kernels of the newest 1024 shapes, and a batch of another length is dozens of other shapes: a dozen
#: steps of a usual day made 300 MiB of them. Those of a few lengths are enough.
KERNELS = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128"}
#: a process that lost another one leaves after it, so that it is seen who was first
LAST_S = 1.0
#: how torch, safetensors, mmap and their C libraries say it, whatever class of error they raise
OUT_OF_MEMORY = (
    "unable to mmap", "can't allocate memory", "cannot allocate memory", "not enough memory",
    "could not create a primitive",  # oneDNN, when its scratch memory is refused
)  # fmt: skip
DISK_FULL = ("no space left on device", "pytorchstreamwriter failed", "disk quota exceeded")
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def set_environment(threads: int, scratch: Path) -> None:
    """What the libraries read when they are imported.

    OpenMP threads that spin while they wait cost a factor of ten as soon as another process wants the cores: 8 answers
    of 24 tokens took 79 to 105 s on two busy cores with the default, 7 s with threads that sleep.
    """
    os.environ.update(OFFLINE)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["HF_HOME"] = str(scratch)
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.update(KERNELS)


def say_who_works(work: WorkDir, stage: Stage) -> None:
    """Write worker.json: enough for the daemon to adopt this process, or to bury it."""
    process = psutil.Process()
    note = {"pid": process.pid, "started": process.create_time(), "boot_id": boot_id(), "stage": stage}
    durable.publish(work.worker_path, orjson.dumps(note))


def failure(error: BaseException) -> Facts:
    """The outcome of a stage that ended with `error`."""
    message, cause = str(error), "bug"
    if isinstance(error, ReactordError):
        cause = error.cause
    elif _is(error, DISK_FULL) or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)):
        cause, message = "disk_full", f"{error}; free some disk space, the job can be run again from this stage"
    elif _is(error, OUT_OF_MEMORY) or isinstance(error, MemoryError):
        cause, message = "out_of_memory", f"{error}; lower hyper.pairs_per_batch or hyper.max_length_tokens"
    else:
        message = f"{message}; this is a bug: worker.log in the job directory has the traceback"
    return {"ok": False, "error": type(error).__name__, "message": message, "cause": cause}


def _is(error: BaseException, words: tuple[str, ...]) -> bool:
    return any(word in str(error).lower() for word in words)


def command_line(arguments: list[str] | None) -> tuple[Stage, WorkDir]:
    """Which stage of which job."""
    parser = argparse.ArgumentParser(prog="python -m reactord.worker", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("job_dir", type=Path)
    options = parser.parse_args(arguments)
    assert options.stage in get_args(Stage)
    return options.stage, WorkDir(options.job_dir.resolve())


def take_up(work: WorkDir, stage: Stage) -> bool:
    """Become the worker that the daemon knows; False when there is nothing left to do."""
    earlier = work.outcome(stage)
    if earlier and earlier["ok"]:
        return False
    if earlier:  # it failed before and was started again: this run may say something else
        durable.remove(work.outcome_path(stage))
    log = os.open(work.worker_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    say_who_works(work, stage)
    step_back()
    return True


def main(arguments: list[str] | None = None) -> int:
    """Run the stage the command line names."""
    stage, work = command_line(arguments)
    stop = StopSignal()
    stop.install()
    us = team.seat(work)
    if us.size > 1:
        die_with(int(orjson.loads(work.worker_path.read_bytes())["pid"]))
    elif not take_up(work, stage):
        return 0
    spec = work.spec()
    set_environment(max(1, spec.threads // us.size), work.root / "scratch")
    keep_to(work, us.size)
    context = Context(stage, work, spec, Home(spec.home), stop, us)
    return attempt(work, stage, lambda: _run(context), us)


def _run(context: Context) -> int:
    facts = importlib.import_module(f"reactord.worker.{context.stage}").run(context)
    if context.team.first:
        context.work.write_outcome(context.stage, {"ok": True, **facts})
    return 0


def attempt(work: WorkDir, stage: Stage, do: Callable[[], int], us: team.Team = team.ALONE) -> int:
    """The exit status of `do`; however it fails, the outcome says so."""
    try:
        return do()
    except Stopped:
        return EXIT_STOPPED
    except BaseException as error:  # noqa: BLE001 - the boundary of the process: the outcome records it
        traceback.print_exc()
        if team.is_lost(error, us):
            time.sleep(LAST_S)
            return team.EXIT_LOST
        work.write_outcome(stage, {**failure(error), "peak_rss_mb": peak_rss_mb()})
        return EXIT_FAILED


def leave(status: int) -> NoReturn:
    """End this process now: threads of numerical libraries have kept finished workers alive for ever.

    Everything is on disk by now. A negative status is the signal to end by.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


if __name__ == "__main__":
    leave(main())
