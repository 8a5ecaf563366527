"""Is the data there that a job was asked to wait for?

A request may say how many new experiences it needs (`needs_experiences`, else the setting REACTOR_MIN_EXPERIENCES), and
which dataset must exist before it begins (`needs_dataset`: its id, or the id of the job that makes it). Until then the
job stays queued with the reason, in nobody's way: it holds no place, and keeps no other job from being born.

What did not come in REACTOR_DATA_WAIT_S, or never will, ends it as `skipped`: nothing went wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reactord.jobs.states import LIVE
from reactord.ledger.state import Job, State
from reactord.settings import Settings

#: by whom a job is asked for; those that are born by themselves have thresholds of their own
ASKED = ("http", "cli", "command", "runner")
HOUR_S = 3600.0
#: a count that grows is told again so often: each telling is an event
TELL_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Lack:
    """What is not there, in words. `final`: it is not waited for any longer."""

    words: str
    final: bool = False


def lacks(job: Job, settings: Settings, fresh: int, state: State, now: float) -> Lack | None:
    """What a queued job waits for; None when it may begin. `fresh`: records that no job has looked at."""
    if "upto" in job.facts:  # it has begun, with what was there; now it only goes on
        return None
    missing = [lack for lack in (_experiences(job, settings, fresh), _dataset(job, state)) if lack]
    if not missing:
        return None
    words = " and ".join(lack.words for lack in missing)
    waits_s = min(settings.data_wait_s, settings.queue_deadline_s)
    if any(lack.final for lack in missing):
        return Lack(f"{words}: there is nothing to wait for", final=True)
    if now - job.created_at >= waits_s:
        return Lack(f"{words} after {waits_s / HOUR_S:.1f} h (REACTOR_DATA_WAIT_S)", final=True)
    return Lack(f"waits for data: {words}")


def awaits_data(job: Job) -> bool:
    """Whether a job only waits for its data: then it is in nobody's way."""
    return bool(job.facts.get("lacks"))


def in_the_way(jobs: Iterable[Job]) -> list[Job]:
    """The jobs that do not wait for their data."""
    return [job for job in jobs if not awaits_data(job)]


def is_news(job: Job, lack: Lack | None, now: float) -> bool:
    """Whether what a job lacks must be written down now."""
    told, words = job.facts.get("lacks"), lack and lack.words
    if told == words:
        return False
    return not told or not words or now - job.updated_at >= TELL_EVERY_S or now < job.updated_at


def _experiences(job: Job, settings: Settings, fresh: int) -> Lack | None:
    asked = job.request.get("needs_experiences")
    least = settings.min_experiences if asked is None and job.request.get("born_of") in ASKED else asked or 0
    return Lack(f"{fresh} of {least} new experiences are there") if fresh < least else None


def _dataset(job: Job, state: State) -> Lack | None:
    name = job.request.get("needs_dataset")
    if not name or state.has_dataset(name):
        return None
    maker = state.job(name)
    if maker is None:
        return Lack(f"the dataset {name} is not there")
    if maker.id == job.id:
        return Lack("it needs its own dataset", final=True)
    return Lack(f"{maker.id} has made no dataset ({maker.state})", final=maker.state not in LIVE)
