"""Does this worker get anywhere, and has it time left? Read from its lines of progress; pure.

That a process lives proves nothing: one that waits for itself lives, too. Only a line that says something new counts.
Once a run has made a step, only steps and checkpoints count, and the patience is a multiple of what its steps took.
Times are those of a monotonic clock, which stands still while the machine sleeps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

#: how many steps the median is of
RECENT = 33
#: what says that a run of steps gets further
STEPS = ("step", "checkpoint")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a worker may take: for its next step max(step_floor_s, step_factor x the median of its steps)."""

    deadline_s: float
    quiet_s: float = 1800.0  # before the first step, and in the stages that make none
    step_floor_s: float = 600.0
    step_factor: float = 5.0


@dataclass(frozen=True, slots=True)
class Progress:
    """What a worker has said so far, and when it last said something new."""

    news_at: float
    last: Mapping[str, object] = field(default_factory=dict)  # kind -> what its newest line said
    steps_s: tuple[float, ...] = ()


def hear(progress: Progress, line: Mapping[str, Any], at: float) -> Progress:
    """Take in one line."""
    kind = str(line.get("kind"))
    said = _said(kind, line)
    if said is None or progress.last.get(kind) == said or ("step" in progress.last and kind not in STEPS):
        return progress
    steps_s = progress.steps_s
    if kind == "step" and (took_s := _seconds(line.get("step_s"))) is not None:
        steps_s = (*steps_s, took_s)[-RECENT:]
    return replace(progress, news_at=at, last={**progress.last, kind: said}, steps_s=steps_s)


def patience_s(progress: Progress, limits: Limits) -> float:
    """How long the next news may take."""
    if "step" not in progress.last:
        return limits.quiet_s
    typical = median(progress.steps_s) if progress.steps_s else 0.0
    return max(limits.step_floor_s, limits.step_factor * typical)


def hangs(progress: Progress, limits: Limits, at: float) -> str | None:
    """Why this worker is thought to hang, or None."""
    silent_s, allowed_s = at - progress.news_at, patience_s(progress, limits)
    if silent_s <= allowed_s:
        return None
    last = progress.last.get("step")
    where = "it said nothing new" if last is None else f"no step after step {last}"
    return f"{where} for {silent_s:.0f} s ({allowed_s:.0f} s are allowed)"


def _said(kind: str, line: Mapping[str, Any]) -> object:
    """What a line says, without when it says it; None for one that says nothing."""
    match kind:
        case "step" | "checkpoint":
            return line.get("step")
        case "work":
            return (line.get("text"), line.get("done"))
        case "note":
            return line.get("text")
        case _:
            return None


def _seconds(value: object) -> float | None:
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return None
    return float(value)
