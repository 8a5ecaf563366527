"""Does the whole loop work here? `reactord demo`: telemetry in, a better model deployed, on a real model.

    write the telemetry -> start the real daemon -> it finds the data by itself -> watch -> stop it -> one page

Everything happens in a home of its own. The exit status is 0 only if a candidate passed the gate and was deployed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import psutil

from reactord import durable
from reactord.cli import text
from reactord.cli.exits import ERROR, OK
from reactord.cli.text import Paint, path_text
from reactord.cli.view import View, look
from reactord.demo import figures, page
from reactord.demo.sample import write_sample
from reactord.demo.watch import Live, Memory
from reactord.errors import BadInput, EnvironmentTrouble
from reactord.home import Home
from reactord.jobs.states import TERMINAL, State

DAEMON = (sys.executable, "-m", "reactord.cli", "run")
SAMPLE_EVERY_S = 0.2
START_S = 30.0
STOP_S = 15.0
#: all data taken in, and still no job: nothing in it can be learned from
BARREN_S = 60.0
#: these would lead the demo's files into the house of somebody else
FOREIGN = (
    "JARVIS_HOME", "TELEMETRY_OUTPUT_DIR", "JARVIS_REGISTRY_DIR", "JARVIS_LOCK_DIR", "JPRIME_MODELS_DIR",
    "JARVIS_PRIME_MODELS_DIR", "JPRIME_REPO_DIR", "REACTOR_CORE_WATCH_DIR", "REACTOR_PIPELINE_EVENTS_DIR",
)  # fmt: skip
#: a broken environment is waited for by the daemon, but not by a demo
BROKEN = ("missing_model", "disk_full", "environment")


@dataclass(frozen=True, slots=True)
class Ended:
    """How the watching ended."""

    job_id: str | None
    ready_at: float | None
    trouble: str | None


def command(home: Home, options: argparse.Namespace) -> int:
    """Run the loop once. Raises BadInput and EnvironmentTrouble before anything was started."""
    del home  # the demo never touches the home of every day
    for name in FOREIGN:
        os.environ.pop(name, None)
    report = _report_path(options.report or os.environ.get("REACTOR_DEMO_REPORT"))
    if options.telemetry and not Path(options.telemetry).expanduser().is_file():
        raise BadInput(
            f"{path_text(options.telemetry)} is no file. Give a file of interactions, one JSON object a line."
        )
    ours = _own_home(options.home)
    text.tell(f"the demo lives in {path_text(ours.root)}")
    lines = _copy(Path(options.telemetry), ours) if options.telemetry else write_sample(ours.telemetry)["lines"]
    kind = "interactions" if options.telemetry else "synthetic interactions"
    text.tell(f"{lines} {kind} are in {path_text(ours.telemetry)}")
    environment = {**os.environ, "REACTOR_KEEP_JOB_ARTIFACTS": str(int(options.keep))}
    if options.telemetry:  # somebody's own day may be short: whatever there is starts the job
        environment["REACTOR_EXPERIENCE_BUFFER_THRESHOLD"] = "1"
    with _interruptible():
        lap, ended = _run(ours, options, environment)
    found = figures.gather(ours, ended.job_id, lap)
    text.say(*page.lines(found, text.screen_width(sys.stdout), Paint.on_stream(sys.stdout)))
    if report:
        durable.publish(report, orjson.dumps(found, option=orjson.OPT_INDENT_2), mode=0o644)
        text.tell(f"the same figures are in {path_text(report)}")
    return OK if found["deployed"] else ERROR


# -- before ------------------------------------------------------------------------------------------------------------
def _own_home(chosen: str | None) -> Home:
    """A fresh directory: made-up data in somebody's ledger could never be taken out again."""
    name = f"home-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    root = Path(chosen).expanduser().absolute() if chosen else Path.cwd() / ".demo" / name
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise BadInput(f"{path_text(root)} is not empty. Choose a new directory: reactord demo --home DIR")
    root.mkdir(parents=True, exist_ok=True)
    return Home(root)


def _report_path(chosen: str | None) -> Path | None:
    """Where the figures go; found out before minutes are spent."""
    if not chosen:
        return None
    path = Path(chosen).expanduser().absolute()
    if path.is_dir():
        raise BadInput(f"{path_text(path)} is a directory. Name a file: reactord demo --report FILE")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):
        raise EnvironmentTrouble(f"{path_text(path.parent)} is not writable. Choose another --report FILE.")
    return path


def _copy(source: Path, home: Home) -> int:
    """Put somebody's interactions where the daemon looks for today's. Returns how many lines there are."""
    home.telemetry.mkdir(parents=True, exist_ok=True)
    target = home.telemetry / f"interactions_{time.strftime('%Y%m%d')}.jsonl"
    shutil.copyfile(source.expanduser(), target)
    with target.open("rb+") as file:
        lines, last = 0, b""
        for line in file:
            lines, last = lines + bool(line.strip()), line
        if lines == 0:
            raise BadInput(f"{path_text(source)} is empty. Give a file of interactions, one JSON object a line.")
        if not last.endswith(b"\n"):  # the daemon reads whole lines only: the last one may still be growing
            file.write(b"\n")
    return lines


# -- during ------------------------------------------------------------------------------------------------------------
def _run(home: Home, options: argparse.Namespace, environment: dict[str, str]) -> tuple[figures.Lap, Ended]:
    """Start the daemon, watch its first job to the end, stop it."""
    began_at = time.time()
    output = home.root / "daemon.out"
    argv = [*DAEMON, "--home", str(home.root), "--port", str(options.port)]
    with output.open("wb") as file:
        daemon = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment)
    memory = Memory(psutil.Process(daemon.pid))
    try:
        ended = _watch(home, daemon, memory, options.deadline)
        if daemon.poll() is not None:
            words = output.read_text("utf-8", "backslashreplace").strip().splitlines()
            said = words[-1] if words else f"see {path_text(home.logs)}"
            ended = replace(ended, trouble=f"the daemon ended with status {daemon.returncode}: {said}")
    finally:
        stop_s = _stop(daemon)
    return figures.Lap(
        began_at, ended.ready_at, memory.peak_bytes, memory.peak_worker_bytes, stop_s, ended.trouble
    ), ended  # fmt: skip


def _watch(home: Home, daemon: subprocess.Popen[bytes], memory: Memory, deadline_s: float) -> Ended:
    """Until the first job is finished, the daemon is gone, or it takes too long."""
    live, began = Live(home.root, deadline_s), time.monotonic()
    ready_at: float | None = None
    while True:
        passed = time.monotonic() - began
        memory.sample()
        view = look(home, time.time())
        live.show(view, memory)
        if ready_at is None and view.daemon.running and view.daemon.state in ("ready", "active"):
            ready_at = time.time()
        job = view.jobs[-1] if view.jobs else None  # the first one: whatever is born after it is not the demo's
        job_id = job.id if job else None
        if job is not None and job.state in TERMINAL:
            return Ended(job_id, ready_at, None)
        trouble = _hopeless(view, passed, deadline_s, ready=ready_at is not None)
        if trouble or daemon.poll() is not None:
            return Ended(job_id, ready_at, trouble)
        time.sleep(SAMPLE_EVERY_S)


def _hopeless(view: View, passed_s: float, deadline_s: float, *, ready: bool) -> str | None:
    """Why there is no use in waiting on, or None."""
    if passed_s > deadline_s:
        return f"not finished after {deadline_s:.0f} s; give it longer: reactord demo --deadline S"
    if not ready and passed_s > START_S:
        return f"the daemon was not ready after {START_S:.0f} s"
    job = view.job
    if job is not None and job.state == State.QUEUED and job.facts.get("end_reason") in BROKEN:
        return job.cause
    if job is None and passed_s > BARREN_S and view.counts is not None and not view.fresh:
        refused = ", ".join(f"{reason} ({n})" for reason, n in view.counts.rejected.items())
        return f"none of {view.counts.received} records can be learned from{': ' if refused else ''}{refused}"
    return None


# -- after -------------------------------------------------------------------------------------------------------------
def _stop(daemon: subprocess.Popen[bytes]) -> float | None:
    """SIGTERM our own daemon and wait; how long it took, None if it was gone already or had to be killed."""
    if daemon.poll() is not None:
        return None
    began = time.monotonic()
    daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(STOP_S)
    except subprocess.TimeoutExpired:
        text.tell(f"the daemon did not leave within {STOP_S:.0f} s and is killed")
        daemon.kill()
        daemon.wait()
        return None
    return time.monotonic() - began


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as ^C does: through `finally`, which stops the daemon."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
