"""What else of ours is at work, and what would the machine have left if everybody took what they may?"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from reactord.home import Home
from reactord.jobs.negotiating import Snapshot, spare_bytes
from reactord.jobs.states import State
from reactord.jobs.surveying import Heard, policy_of, survey
from reactord.jobs.worker_process import rss_bytes
from reactord.ledger.state import Job, Store
from reactord.settings import Settings
from reactord.workdir import WorkDir


def at_work(home: Home, store: Store, but: Job) -> list[tuple[int, int]]:
    """(held, granted) bytes of our other jobs that run."""
    return held_by(home, (job for job in store.live_jobs() if job.id != but.id))


def held_by(home: Home, jobs: Iterable[Job]) -> list[tuple[int, int]]:
    """(held, granted) bytes of those that run."""
    running = [job for job in jobs if job.state in (State.TRAINING, State.EXPORTING)]
    return [(rss_bytes(WorkDir(home.jobs / job.id)), int(job.facts.get("peak_bytes") or 0)) for job in running]


def spare_beside(  # noqa: PLR0913, PLR0917 - whom to ask, and about whom
    home: Home, store: Store, settings: Settings, job: Job, clock: Callable[[], float], heard: Callable[[], Heard]
) -> Callable[[int], int]:
    """What would be left beside this job, asked with what it holds now. `heard`: what Prime said last."""
    policy, granted = policy_of(settings), int(job.facts.get("peak_bytes") or 0)

    def spare(held: int) -> int:
        others = at_work(home, store, job) if settings.max_concurrent_training_jobs > 1 else []
        seen: Snapshot = survey(home, clock(), [(held, granted), *others], heard())
        return spare_bytes(seen, policy)

    return spare
