"""Should jobs still be born by themselves, after so many that failed?

    jobs end well ------ most_failures in a row ------> paused until the last failure + wait
      ^                                                   |            wait doubles with every further failure
      +------------- any job ends well <------------- one is tried

It is read from the jobs themselves: nothing else has to be remembered, and a restart changes nothing. Who asks for a
job gets it, paused or not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reactord.jobs.states import State
from reactord.ledger.state import Job

MAX_WAIT_S = 24 * 3600.0
ENDS_WELL = (State.COMPLETED, State.REJECTED)  # a candidate that was not better was trained and judged all the same
ENDS_BADLY = (State.FAILED, State.ROLLED_BACK)
#: these say something about the data, and nothing about us
NOT_OURS = ("no_data", "bad_data")


@dataclass(frozen=True, slots=True)
class Pause:
    """Why no job is born by itself, and until when."""

    failures: int
    until: float
    job_id: str
    cause: str


def pause(jobs: Iterable[Job], now: float, most_failures: int, first_wait_s: float) -> Pause | None:
    """The pause that the jobs' ends command now. Never, when `most_failures` is 0. Pure."""
    # what a clock far ahead has dated says nothing about now
    streak = failures_in_a_row(job for job in jobs if job.updated_at <= now + MAX_WAIT_S)
    if not most_failures or len(streak) < most_failures:
        return None
    wait_s = min(first_wait_s * 2.0 ** (len(streak) - most_failures), MAX_WAIT_S)
    last = streak[0]
    # a failure of a time to come: the clock was set back, and when it happened is not known
    if not now - wait_s < last.updated_at <= now + wait_s:
        return None
    return Pause(len(streak), last.updated_at + wait_s, last.id, last.cause)


def failures_in_a_row(jobs: Iterable[Job]) -> list[Job]:
    """The jobs that failed since the last one that ended well, newest first."""
    found = []
    for job in sorted(jobs, key=lambda job: (job.updated_at, job.id), reverse=True):
        if job.state in ENDS_WELL:
            break
        if job.state in ENDS_BADLY and job.facts.get("end_reason") not in NOT_OURS:
            found.append(job)
    return found
