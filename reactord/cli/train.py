"""How does a person start a job, watch it, or stop it? `reactord train` and `reactord cancel`, through the daemon."""

from __future__ import annotations

import argparse
import os
import sys
import time

from reactord.cli import presence, text
from reactord.cli.exits import JOB_FAILED, NOT_RUNNING, OK
from reactord.cli.jobs import find, row_of
from reactord.cli.remote import ask
from reactord.cli.status import job_line, progress_lines
from reactord.cli.text import Paint, safe
from reactord.cli.view import SCHEMA_VERSION, progress_of
from reactord.errors import EnvironmentTrouble
from reactord.home import Home
from reactord.jobs.states import TERMINAL, State
from reactord.ledger.state import Job

POLL_S = 0.5
#: tells the daemon that a person asks, and not Body, which would hold the training slot for us
SOURCE = "reactord-cli"
#: a daemon that went away may come back (a restart); a job is not waited for longer than that without one
PATIENCE_S = 15.0
#: a job that was accepted appears in the ledger within a blink
APPEARS_S = 10.0


def train(home: Home, options: argparse.Namespace) -> int:
    """Ask for a job; with --wait stay until it ended (exit 5 when it did not end well)."""
    # our own id makes the request safe to repeat: an answer that got lost is not a second job
    job_id = f"cli-{int(time.time())}-{os.urandom(4).hex()}"
    body = {"job_id": job_id, "model_type": "llm", "experiences": [], "config": {}, "source": SOURCE}
    asked = {"recipe": options.recipe, "needs_experiences": options.needs, "needs_dataset": options.after}
    body |= {key: value for key, value in asked.items() if value is not None}
    answer = ask(home, "/api/training/start", body)
    job_id = str(answer.get("job_id") or job_id)
    if not options.wait:
        if options.json:
            text.say(text.json_text({"schema_version": SCHEMA_VERSION, "job_id": job_id, "state": "queued"}))
        else:
            text.say(f"{safe(job_id)} is queued; watch it: reactord status -w")
        return OK
    return _wait(home, job_id, as_json=options.json)


def _wait(home: Home, job_id: str, *, as_json: bool) -> int:
    block = text.Block(sys.stderr) if sys.stderr.isatty() else None
    last, gone_since = "", None
    while True:
        job = _appeared(home, job_id)
        progress = progress_of(home, job)
        line = job_line(job, progress)
        if block:
            width = text.screen_width(sys.stderr)
            block.draw([text.clip(part, width) for part in (line, *progress_lines(job, progress))])
        elif line != last:
            text.tell(line)
            last = line
        if job.state in TERMINAL:
            return _ended(job, as_json=as_json)
        gone_since = None if presence.is_alive(home) else gone_since or time.monotonic()
        if gone_since is not None and time.monotonic() - gone_since > PATIENCE_S:
            text.tell(f"the daemon stopped; {safe(job_id)} goes on when it is started again: reactord run")
            return NOT_RUNNING
        time.sleep(POLL_S)


def _appeared(home: Home, job_id: str) -> Job:
    """The job's row, once it is there."""
    deadline = time.monotonic() + APPEARS_S
    while (job := row_of(home, job_id)) is None:
        if time.monotonic() > deadline:
            raise EnvironmentTrouble(f"{safe(job_id)} was accepted but is not in the ledger. See: reactord logs")
        time.sleep(POLL_S)
    return job


def _ended(job: Job, *, as_json: bool) -> int:
    if as_json:
        ended = {"schema_version": SCHEMA_VERSION, "job_id": job.id, "state": job.state, "cause": job.cause}
        text.say(text.json_text(ended | {"version": job.facts.get("version")}))
    else:
        paint = Paint.on_stream(sys.stdout)
        text.say(f"{safe(job.id)} {paint.state(job.state)}: {safe(job.cause)}", f"more: reactord jobs {safe(job.id)}")
    return OK if job.state == State.COMPLETED else JOB_FAILED


def cancel(home: Home, options: argparse.Namespace) -> int:
    """Ask for a job to be stopped; what is finished stays as it is."""
    job, _ = find(home, options.id)
    if job.state in TERMINAL:
        text.tell(f"{safe(job.id)} is {job.state} already; nothing to cancel")
        return OK
    ask(home, f"/api/training/cancel/{job.id}", {})
    text.say(f"{job.id} is told to stop; see: reactord jobs {job.id}")
    return OK
