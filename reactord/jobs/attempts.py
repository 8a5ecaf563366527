"""Why did a run end, and does another one make sense?

A run is one try at one stage. `RULES` is the whole policy, one row a cause; `after` reads it, and is pure. Another run
goes on from the newest checkpoint. Attempts are counted at one place (a stage and its newest checkpoint): a run that
gets further between its deaths is not stuck, and its attempts are counted anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from reactord.jobspec import Hyper


class Cause(StrEnum):
    """Why a run ended without having done its work. A worker reports some of them by itself (`errors.py`)."""

    PREEMPTED = "preempted"  # somebody asked it to leave: a shutdown, a checkpoint, a busier neighbour
    LOST_LOCK = "lost_lock"  # another process holds the training slot
    ENVIRONMENT = "environment"  # the machine is not in a state to do this now
    DISK_FULL = "disk_full"
    MISSING_MODEL = "missing_model"
    OUT_OF_MEMORY = "out_of_memory"  # it said so, or its limit or the kernel ended it for its size
    SIGNAL = "signal"  # killed from outside, nobody knows by whom
    CRASHED = "crashed"  # it ended by itself without a word: native code, mostly
    HANG = "hang"  # alive, and no step further
    DEADLINE = "deadline"  # its time was over
    NO_DATA = "no_data"  # there is nothing to learn from yet
    BAD_DATA = "bad_data"  # what was asked for, or sent, cannot be used
    BUG = "bug"  # our mistake


@dataclass(frozen=True, slots=True)
class Rule:
    """What follows from a cause."""

    again: bool  # whether another run makes sense at all
    counts: bool = False  # whether it uses up one of the attempts
    most: int | None = None  # never more runs than this at one place, whatever the settings allow
    wait_s: float = 0.0  # before the next run
    wait_grows: bool = False  # none before the second run; then `wait_s`, and twice as long each time
    patience_s: float | None = None  # for so long in all
    smaller: bool = False  # the same again would end the same way: take a smaller batch
    ends_as: Literal["fail", "skip"] = "fail"  # what is fired when there is no other run


DAY_S = 24 * 3600.0
MAX_WAIT_S = 600.0
_BROKEN = Rule(again=True, wait_s=30.0, patience_s=DAY_S)
_NEVER = Rule(again=False)

RULES: dict[Cause, Rule] = {
    Cause.PREEMPTED: Rule(again=True),
    Cause.LOST_LOCK: Rule(again=True),
    Cause.ENVIRONMENT: _BROKEN,
    Cause.DISK_FULL: _BROKEN,
    Cause.MISSING_MODEL: _BROKEN,
    Cause.OUT_OF_MEMORY: Rule(again=True, counts=True, wait_s=30.0, smaller=True),
    Cause.SIGNAL: Rule(again=True, counts=True, wait_s=10.0, wait_grows=True),
    Cause.CRASHED: Rule(again=True, counts=True, wait_s=10.0, wait_grows=True),
    # what hangs twice at one place hangs for a reason
    Cause.HANG: Rule(again=True, counts=True, most=2),
    Cause.DEADLINE: _NEVER,
    Cause.NO_DATA: Rule(again=False, ends_as="skip"),
    Cause.BAD_DATA: _NEVER,
    Cause.BUG: _NEVER,
}


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that ended without having done its work."""

    cause: Cause
    words: str
    place: str  # the stage and the newest checkpoint
    at: float


@dataclass(frozen=True, slots=True)
class Past:
    """What is remembered of the runs before it."""

    attempt: int = 0  # runs already used up at `place`
    place: str | None = None
    trouble_since: float | None = None  # when a broken environment was first met, if it was met the last time


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of the job: `preempt` queues it for another run, `fail` and `skip` end it."""

    trigger: Literal["preempt", "fail", "skip"]
    words: str
    attempt: int
    not_before: float = 0.0
    smaller: bool = False
    trouble_since: float | None = None


def cause_of(word: object) -> Cause:
    """The cause by the name that a worker gave it; a name that nobody knows is a bug."""
    try:
        return Cause(str(word))
    except ValueError:
        return Cause.BUG


def after(ended: Ended, past: Past, most_attempts: int) -> Verdict:
    """Whether there is another run, when, and what it costs. Pure."""
    rule = RULES[ended.cause]
    if not rule.again:
        return Verdict(rule.ends_as, ended.words, past.attempt)
    since = None
    if rule.patience_s is not None:
        since = ended.at if past.trouble_since is None else past.trouble_since
        if ended.at - since >= rule.patience_s:
            return Verdict("fail", f"{ended.words} (waited for {_hours(ended.at - since)})", past.attempt)
    if not rule.counts:
        return Verdict("preempt", ended.words, past.attempt, ended.at + rule.wait_s, trouble_since=since)
    attempt = past.attempt + 1 if past.place == ended.place else 1
    most = min(most_attempts, rule.most or most_attempts)
    if attempt >= most:
        return Verdict("fail", f"{ended.words} (attempt {attempt} of {most})", past.attempt)
    wait_s = rule.wait_s
    if rule.wait_grows:
        wait_s = 0.0 if attempt == 1 else min(MAX_WAIT_S, rule.wait_s * 2 ** (attempt - 2))
    return Verdict("preempt", ended.words, attempt, ended.at + wait_s, smaller=rule.smaller)


def smaller(hyper: Hyper) -> Hyper | None:
    """The same training in half as large pieces: the same pairs a step, one sum in another order. None: no smaller."""
    if hyper.batch == 1:
        return None
    return hyper.model_copy(update={"pairs_per_batch": hyper.batch // 2})


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.0f} h"
