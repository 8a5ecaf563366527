"""Where is this job best trained: here, or in the cloud?

Pure. Size, deadline and cost speak, in this order; every one that spoke is among the reasons. Only then comes what is
configured: a job that would be better off in a cloud nobody has configured runs here, or waits here, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reactord.jobs.negotiating import Decision, Grant, Lease, Offload, Refuse, Shrink, Wait

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What the settings say, in MB of weights."""

    local_max_mb: float
    cloud_min_mb: float


@dataclass(frozen=True, slots=True)
class Cloud:
    """What a configured cloud would take for this job. None = it cannot tell."""

    name: str
    seconds: float | None
    usd: float | None


@dataclass(frozen=True, slots=True)
class Question:
    """A job, and what is known of it."""

    size_mb: float | None  # of the weights as they are trained; None: the base was never converted
    here: Decision  # what `negotiate` says now
    seconds: float | None = None  # as earlier runs of this machine took, per step; None: none has run
    deadline_s: float | None = None  # from now
    max_usd: float | None = None
    cloud: Cloud | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where it runs, where it would be best, and why."""

    where: str  # "local", a cloud's name, or "nowhere"
    best: Literal["local", "cloud"]
    reasons: Sequence[str]


def decide(question: Question, limits: Limits) -> Placement:
    """Decide."""
    wishes = [*_by_memory(question.here), *_by_size(question.size_mb, limits), *_by_deadline(question)]
    wanting = [why for best, why in wishes if best == "cloud"]
    reasons = [why for _, why in wishes]
    cloud = question.cloud
    if not wanting:
        return Placement("local", "local", reasons or ["nothing speaks against this machine"])
    if cloud is None:
        nowhere = isinstance(question.here, Refuse)
        what = "it can run nowhere" if nowhere else _here_instead(question.here)
        reasons.append(f"it would be offloaded, but no cloud is configured: {what}")
        return Placement("nowhere" if nowhere else "local", "cloud", reasons)
    if question.max_usd is not None and (cloud.usd is None or cloud.usd > question.max_usd):
        price = "does not say its price" if cloud.usd is None else f"would cost {cloud.usd:.2f} USD"
        reasons.append(f"{cloud.name} {price}, at most {question.max_usd:.2f} USD may be spent")
        here = "nowhere" if isinstance(question.here, Refuse) else "local"
        return Placement(here, "cloud", reasons)
    cost = "" if cloud.usd is None else f" for {cloud.usd:.2f} USD"
    return Placement(cloud.name, "cloud", [*reasons, f"{cloud.name} takes it{cost}"])


def _by_memory(here: Decision) -> list[tuple[str, str]]:
    match here:
        case Grant():
            return [("local", "it fits into this machine's memory now")]
        case Shrink(why=why):
            return [("local", f"it fits in a smaller form: {why}")]
        case Lease(why=why):
            return [("local", f"it fits with what Prime would lend: {why}")]
        case Wait(why=why):
            return [("local", f"it does not fit now: {why}")]
        case Offload(why=why) | Refuse(why=why):
            return [("cloud", why)]


def _by_size(size_mb: float | None, limits: Limits) -> list[tuple[str, str]]:
    if size_mb is None:
        return [("local", "its size is unknown until its base has been converted")]
    if size_mb > limits.local_max_mb:
        return [("cloud", f"{size_mb:.0f} MB of weights, above LOCAL_TRAINING_MAX_SIZE_MB ({limits.local_max_mb:.0f})")]
    if size_mb < limits.cloud_min_mb:
        why = f"below CLOUD_TRAINING_MIN_SIZE_MB ({limits.cloud_min_mb:.0f})"
        return [("local", f"{size_mb:.0f} MB of weights, {why}: not worth the way to a cloud")]
    return [("local", f"{size_mb:.0f} MB of weights: small enough for here, large enough for a cloud")]


def _by_deadline(question: Question) -> list[tuple[str, str]]:
    seconds, deadline_s, cloud = question.seconds, question.deadline_s, question.cloud
    if deadline_s is None:
        return [] if seconds is None else [("local", f"about {_hours(seconds)} here, and no deadline")]
    if seconds is None:
        return [("local", f"due in {_hours(deadline_s)}; no run here has shown how long it takes")]
    if seconds <= deadline_s:
        return [("local", f"about {_hours(seconds)} here, due in {_hours(deadline_s)}")]
    late = f"about {_hours(seconds)} here, later than {_hours(deadline_s)} from now"
    if cloud is not None and cloud.seconds is not None and cloud.seconds > deadline_s:
        return [("local", f"{late}; {cloud.name} would be late too ({_hours(cloud.seconds)})")]
    return [("cloud", late)]


def _here_instead(here: Decision) -> str:
    if isinstance(here, Wait):
        return f"it waits here because it {here.why}"
    return "it runs here because it fits"


def _hours(seconds: float) -> str:
    return f"{seconds / HOUR_S:.1f} h" if seconds >= HOUR_S else f"{seconds / 60:.0f} min"
