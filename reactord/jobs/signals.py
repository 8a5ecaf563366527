"""Is the served model worse than it was, or does Body want something practised?

Both are reasons to train before the threshold is reached, and both say only what was measured. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reactord.ledger.state import Event, Job, Model

#: (rate, number of questions it was measured on) in a summary of worker/measure.py, and what it is called
RATES = (
    ("exact_answer_rate", "verifiable", "right in"),
    ("preference_accuracy", "pairs", "preferred the better answer in"),
)
#: fewer questions say nothing
MIN_QUESTIONS = 20
#: one-sided, a chance of one in a hundred that nothing has changed
SURE_Z = 2.326
#: Body tells it every hour; one that is older was for other days
CURRICULUM_FRESH_S = 24 * 3600.0
MAX_NAME = 64
MAX_NAMES = 3


@dataclass(frozen=True, slots=True)
class Share:
    """A measured rate, and on how many questions."""

    rate: float
    of: int


def drift(deployed: Model | None, jobs: Sequence[Job]) -> str | None:
    """Why the deployed model is held to be worse than when it was deployed, or None.

    Every judgement measures the model that is served on what was held out for it. These are other questions than those
    at its own judgement: the users', of later days. So this measures whether it still fits what it is asked. `jobs` are
    the newest ones; once a job was born after that judgement, the drift has been acted on.
    """
    newest = max(jobs, key=lambda job: (job.created_at, job.id), default=None)
    if deployed is None or newest is None or newest.id == deployed.job_id or newest.created_at < deployed.created_at:
        return None
    then, since = deployed.facts.get("candidate"), newest.facts.get("incumbent")
    if not isinstance(then, dict) or not isinstance(since, dict):
        return None
    for rate, of, words in RATES:
        before, now = _share(then, rate, of), _share(since, rate, of)
        if before and now and is_worse(before, now):
            return (
                f"{deployed.version} was {words} {before.rate:.0%} of {before.of} when it was judged,"
                f" and in {now.rate:.0%} of {now.of} newer ones"
            )
    return None


def _share(summary: Mapping[str, Any], rate: str, of: str) -> Share | None:
    value, count = summary.get(rate), summary.get(of)
    if not isinstance(value, int | float) or not isinstance(count, int) or count < MIN_QUESTIONS:
        return None
    return Share(float(value), count)


def is_worse(before: Share, now: Share) -> bool:
    """Whether the second rate is lower by more than chance: the one-sided test of two proportions."""
    pooled = (before.rate * before.of + now.rate * now.of) / (before.of + now.of)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / before.of + 1 / now.of))
    return before.rate - now.rate > SURE_Z * deviation


def curriculum(event: Event | None, jobs: Iterable[Job], lowest: float, now: float) -> str | None:
    """What Body wants practised, if it said so after the newest job was born; `lowest` priority counts."""
    if event is None or not -CURRICULUM_FRESH_S < now - event.at < CURRICULUM_FRESH_S:
        return None
    if any(job.created_at >= event.at for job in jobs):
        return None
    facts = event.data.get("facts")
    wanted = facts.get("top_k") if isinstance(facts, dict) else None
    named = [task for entry in wanted if (task := _task(entry, lowest))] if isinstance(wanted, list) else []
    if not named:
        return None
    return "the curriculum asks for " + ", ".join(named[:MAX_NAMES])


def _task(entry: object, lowest: float) -> str | None:
    if not isinstance(entry, dict):
        return None
    task, priority, rate = entry.get("task_type"), entry.get("priority"), entry.get("failure_rate")
    if not isinstance(task, str) or not _is_number(priority) or priority < lowest:  # type: ignore[operator] # a number
        return None
    failed = f" (failed {rate:.0%})" if _is_number(rate) else ""
    return f"{task[:MAX_NAME]!a}{failed}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
