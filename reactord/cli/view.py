"""What is there to see, right now? One look at every file, for `status` and for whoever watches a job.

Nothing here needs the daemon. A part that cannot be read is a problem that is shown; the others are shown all the same.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from reactord.cli import births, presence
from reactord.cli.text import path_text
from reactord.home import Home
from reactord.ipc.room import Room
from reactord.jobs.states import State
from reactord.ledger.counts import Counts, count, fresh
from reactord.ledger.sqlite import open_readonly
from reactord.ledger.state import Job, Model
from reactord.ledger.state import State as Rows
from reactord.workdir import WorkDir

T = TypeVar("T")

SCHEMA_VERSION = 1
#: failures older than this are history, not problems
RECENT_S = 7 * 24 * 3600.0
MAX_PROBLEMS = 3
#: what each kind of line in progress.jsonl tells
_SAID = {
    "note": ("text",),
    "work": ("text", "done", "total", "unit"),
    "step": ("step", "total_steps", "loss", "reward_accuracy", "eta_s", "rss_mb"),
}
SCORES = (
    "preference_accuracy", "exact_answer_rate", "median_reply_tokens_simple", "empty_replies", "neutral_perplexity",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that went wrong, and the command that explains it."""

    text: str
    command: str
    at: float | None = None


@dataclass(slots=True)
class Progress:
    """How far the worker of a job is, by its last lines. None: it has not said (yet)."""

    at: float | None = None
    stage: str | None = None
    text: str | None = None
    done: float | None = None
    total: float | None = None
    unit: str | None = None
    step: int | None = None
    total_steps: int | None = None
    loss: float | None = None
    reward_accuracy: float | None = None
    eta_s: float | None = None
    rss_mb: float | None = None

    @property
    def fraction(self) -> float | None:
        """The part of the stage that is done, 0 to 1."""
        done, total = (self.step, self.total_steps) if self.stage == "train" else (self.done, self.total)
        return done / total if done is not None and total else None


@dataclass(slots=True)
class View:
    """Everything `status` shows."""

    home: Home
    at: float
    daemon: presence.Daemon
    counts: Counts | None = None
    fresh: int | None = None  # pending records that no job has looked at
    jobs: list[Job] = field(default_factory=list)  # the newest, newest first
    live: list[Job] = field(default_factory=list)  # those that will move on, oldest first
    models: list[Model] = field(default_factory=list)  # newest first
    progress: Progress | None = None  # of the current job
    problems: list[Problem] = field(default_factory=list)
    births: births.Births = field(default_factory=births.Births)  # why a job is born next, or is not

    @property
    def job(self) -> Job | None:
        """The job at work, else the oldest in the queue."""
        return min(self.live, key=lambda job: job.state == State.QUEUED, default=None)

    @property
    def queued(self) -> int:
        return sum(job.state == State.QUEUED for job in self.live)

    @property
    def deployed(self) -> Model | None:
        return next((model for model in self.models if model.fate == "deployed"), None)

    @property
    def health(self) -> str:
        """healthy, degraded or down."""
        if not self.daemon.running:
            return "down"
        broken = any(problem.at is None for problem in self.problems)  # one without a time is there now
        return "degraded" if broken or self.daemon.state == "degraded" else "healthy"


def look(home: Home, now: float) -> View:
    """Look at everything once. Raises nothing that a broken file could cause."""
    problems: list[Problem] = []
    daemon = _attempt(lambda: presence.look(home), problems) or presence.Daemon(running=False, state="unknown")
    view = View(home, now, daemon, problems=problems)
    view.counts = _attempt(lambda: count(home), problems)
    if daemon.running:
        view.births = _attempt(lambda: births.look(home), problems) or view.births
    rows = _attempt(lambda: _read_rows(home), problems)
    if rows is not None:
        view.jobs, view.live, view.models = rows
        looked_upto = max((int(job.facts.get("upto", 0)) for job in view.jobs), default=0)
        if view.counts is not None:
            view.fresh = _attempt(lambda: fresh(home, looked_upto), problems)
    if view.job is not None:
        view.progress = progress_of(home, view.job)
    problems += _standing(view)
    problems += _recent(view)
    return view


@contextmanager
def rows_of(home: Home) -> Iterator[Rows | None]:
    """The rows of state.db; None before the first start. Raises sqlite3.Error, OSError."""
    try:
        db = open_readonly(home.state_db)
    except FileNotFoundError:
        yield None
        return
    with closing(db):
        yield Rows(db)


def _read_rows(home: Home) -> tuple[list[Job], list[Job], list[Model]]:
    with rows_of(home) as rows:
        return (rows.jobs(), rows.live_jobs(), rows.models()) if rows else ([], [], [])


def progress_of(home: Home, job: Job) -> Progress:
    """What the worker of `job` said last."""
    try:
        lines = WorkDir(home.jobs / job.id).recent_progress()
    except (OSError, ValueError):  # a line that is no JSON costs a picture, not the answer
        lines = []
    progress = Progress()
    if not lines:
        return progress
    progress.stage = str(lines[-1].get("stage"))
    for line in lines:
        if line.get("stage") != progress.stage:
            continue
        for name in _SAID.get(str(line.get("kind")), ()):
            setattr(progress, name, line.get(name))
        progress.at = line.get("at")
    return progress


def scores_of(model: Model) -> tuple[dict[str, Any], dict[str, Any]]:
    """(candidate's, base's) measured scores of a version."""
    candidate, base = model.facts.get("candidate"), model.facts.get("base")
    return candidate if isinstance(candidate, dict) else {}, base if isinstance(base, dict) else {}


def _attempt(read: Callable[[], T], problems: list[Problem]) -> T | None:
    """What `read` returns, or None and one more problem."""
    try:
        return read()
    except OSError as trouble:
        problems.append(Problem(f"{path_text(trouble.filename or '')}: {trouble.strerror}", "reactord doctor"))
    except sqlite3.Error as trouble:
        problems.append(Problem(f"the ledger cannot be read: {trouble}", "reactord doctor"))
    except ValueError as trouble:
        problems.append(Problem(f"the ledger holds something that is no JSON: {trouble}", "reactord doctor"))
    return None


def _standing(view: View) -> list[Problem]:
    """What is wrong now."""
    daemon = view.daemon
    found = [Problem(error, "reactord logs") for error in daemon.errors]
    if daemon.running and daemon.heard_at is not None and view.at - daemon.heard_at > presence.SILENT_S:
        found.append(Problem(f"the daemon has said nothing for {view.at - daemon.heard_at:.0f} s", "reactord logs"))
    if (trouble := _attempt(lambda: _room(view.home), found)) and trouble not in daemon.errors:
        found.append(Problem(trouble, "free some space: reactord doctor"))
    if view.counts is not None and not view.counts.balanced:
        found.append(Problem("the ledger does not balance; please report it", "reactord ledger --json"))
    if view.births.is_paused(view.at):
        found.append(Problem(view.births.pause_words, f"reactord jobs {view.births.paused_by}"))
    return found


def _room(home: Home) -> str | None:
    """What the daemon says of the disk, or would say."""
    place = next((path for path in (home.ledger, home.root) if path.is_dir()), None)
    if place is None:
        return None
    room = Room(place)
    room.look()
    return room.trouble


def _recent(view: View) -> list[Problem]:
    """The last jobs that did not end well, newest first."""
    ended = [
        Problem(f"{job.id} {job.state}: {job.cause}", f"reactord jobs {job.id}", job.updated_at)
        for job in sorted(view.jobs, key=lambda job: -job.updated_at)
        if job.state in (State.FAILED, State.REJECTED, State.ROLLED_BACK) and view.at - job.updated_at < RECENT_S
    ]
    if view.births.missed_at is not None and view.at - view.births.missed_at < RECENT_S:
        ended.insert(0, Problem(view.births.missed_words, "reactord train", view.births.missed_at))
    return ended[:MAX_PROBLEMS]
