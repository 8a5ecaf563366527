"""How do several processes train one job? `python -m reactord.worker.torchrun train <job_dir>`

This process is the worker that the daemon knows: it notes its process id, holds the lock, is told to leave. It trains
nothing: torchrun's agent runs in it, starts `python -m reactord.worker train <job_dir>` once for each process of
`hyper.ranks`, and ends the others when one dies. Nothing is restarted here: whether there is another run, and when, is
the daemon's business. So this process ends as the one did that died first, and the daemon sees what it knows already.

torchrun starts its processes in sessions of their own, where no signal to ours finds them, and hands on no descriptor
but the standard ones. So they inherit the worker's lock as their standard input, which nobody reads: the job directory
is occupied for as long as one of them lives. And they die with this process (worker/stopping.py).
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path

from reactord import durable
from reactord.workdir import EXIT_STOPPED, Stage, WorkDir
from reactord.worker import team
from reactord.worker.__main__ import attempt, command_line, leave, set_environment, take_up
from reactord.worker.stopping import StopSignal


def main(arguments: list[str] | None = None) -> int:
    """Run the stage the command line names in as many processes as the spec says.

    Returns the exit status; a negative one is the signal that ended a process.
    """
    stage, work = command_line(arguments)
    stop = StopSignal()
    stop.install()
    if not take_up(work, stage):
        return 0
    spec = work.spec()
    set_environment(max(1, spec.threads // spec.hyper.ranks), work.root / "scratch")
    return attempt(work, stage, lambda: _launch(work, stage, spec.hyper.ranks, stop))


def _launch(work: WorkDir, stage: Stage, ranks: int, stop: StopSignal) -> int:
    scratch = team.store_of(work).parent
    durable.remove_tree(scratch)
    scratch.mkdir(mode=0o700)
    _lend_lock(work)
    # torchrun looks up the machine's own name to write it into its events, and would wait for a network that is down
    socket.getfqdn = lambda name="": name or "localhost"
    # and it keeps no store of its own, which would listen on every interface
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    stop.defer()
    status = verdict(_run(work, stage, ranks, scratch))
    durable.remove_tree(scratch)
    if stop.requested:
        return EXIT_STOPPED
    if status < 0:
        name = signal.Signals(-status).name
        work.progress(stage, "note", text=f"one of {ranks} processes was ended by {name}, and so the others were")
    return status


def _run(work: WorkDir, stage: Stage, ranks: int, scratch: Path) -> Mapping[int, int]:
    """Exit status by rank of those that failed."""
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    options = {
        "nnodes": 1, "nproc-per-node": ranks, "max-restarts": 0, "local-addr": "127.0.0.1", "rdzv-id": work.root.name,
        "rdzv-backend": "c10d", "rdzv-conf": "store_type=file", "rdzv-endpoint": scratch / "agent", "log-dir": scratch,
        "signals-to-handle": "SIGTERM,SIGINT",
    }  # fmt: skip
    arguments = [f"--{name}={value}" for name, value in options.items()]
    try:
        torchrun.run(torchrun.parse_args([*arguments, "-m", "reactord.worker", stage, str(work.root)]))
    except ChildFailedError as failed:
        return {rank: failure.exitcode for rank, failure in failed.failures.items()}
    except SignalException:  # they were told, and have left
        return {0: EXIT_STOPPED}
    finally:  # from here on a signal sets `stop.requested` again, and raises nothing
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
    return {}


def verdict(statuses: Mapping[int, int]) -> int:
    """What ended the run: a signal rather than words, words rather than the loss of another process. Pure.

    Those who were asked to leave come last: the agent asks everybody who is left when one has ended.
    """
    order = {team.EXIT_LOST: 2, EXIT_STOPPED: 3}
    return min(statuses.values(), key=lambda status: order.get(status, int(status >= 0)), default=0)


def _lend_lock(work: WorkDir) -> None:
    """Make the lock that the daemon handed to us the standard input of everybody we start."""
    lock = work.root / "worker.lock"
    for path in Path("/dev/fd").iterdir() if lock.exists() else ():
        descriptor = int(path.name)
        try:
            if descriptor > 2 and os.path.samestat(os.fstat(descriptor), lock.stat()):
                os.dup2(descriptor, 0)
                return
        except OSError:  # the descriptor by which /dev/fd itself was read
            continue


if __name__ == "__main__":
    leave(main())
