"""How does a job change its state? Through `fire`, and through nothing else."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from transitions import Machine, MachineError

from reactord.errors import ReactordError
from reactord.jobs.states import TRANSITIONS, State
from reactord.ledger.state import Job, Store

log = logging.getLogger("reactord.jobs")


class IllegalTransition(ReactordError):
    """The table in states.py has no such edge."""


class FencedOff(IllegalTransition):
    """A newer run has the job. The ledger has one writer, so this daemon slept while another took its place."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} was moved by a newer run; this one must stop: restart this daemon, or end it")


class _Walker:
    """What `transitions` moves: a thing with a state."""

    state: str


class JobMachine:
    """Fires triggers on jobs. Single-threaded, like the store it writes to."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._table = Machine(
            model=None, states=[str(s) for s in State], transitions=TRANSITIONS, initial=None, auto_transitions=False
        )

    def target(self, state: str, trigger: str) -> str:
        """Where `trigger` leads from `state`. Raises IllegalTransition."""
        walker = _Walker()
        self._table.add_model(walker, initial=state)
        try:
            self._table.events[trigger].trigger(walker)
        except (MachineError, KeyError):
            raise IllegalTransition(f"a job that is {state} cannot {trigger}; see `reactord jobs`") from None
        finally:
            self._table.remove_model(walker)
        return walker.state

    def fire(  # noqa: PLR0913 - what a transition commits
        self,
        job_id: str,
        trigger: str,
        now: float,
        *,
        cause: str,
        held: int | None = None,
        fence: int | None = None,
        attempt: int | None = None,
        **facts: Any,  # noqa: ANN401 - JSON values
    ) -> Job:
        """Commit a transition with its cause and facts, and the event that tells of it, in one transaction.

        `held` is the fence under which the caller did the work, `fence` the one that the job has from now on. Raises
        IllegalTransition when the table has no such edge, or when the job moved or was fenced off in between; then
        nothing is changed.
        """
        with self.store.transaction():
            job = self.store.job(job_id)
            if job is None:
                raise IllegalTransition(f"there is no job {job_id}; see `reactord jobs`")
            moved = replace(
                job,
                state=self.target(job.state, trigger),
                cause=cause,
                updated_at=now,
                fence=job.fence if fence is None else fence,
                attempt=job.attempt if attempt is None else attempt,
                facts={**job.facts, **facts},
            )
            if not self.store.update_job(moved, was=job.state, held=held):
                raise FencedOff(job_id)
            self.store.note(
                f"job.{moved.state}", job_id, now,
                trigger=trigger, source=job.state, cause=cause, attempt=moved.attempt, facts=facts,
            )  # fmt: skip
        log.info("job %s: %s -> %s (%s)", job_id, job.state, moved.state, cause)
        return moved

    def refence(self, job: Job, now: float, fence: int) -> Job:
        """Number a job anew without moving it: whoever worked on it under an older number commits nothing any more."""
        with self.store.transaction():
            if not self.store.update_job(moved := replace(job, fence=fence), was=job.state, held=job.fence):
                raise FencedOff(job.id)
            self.store.note("job.fact", job.id, now, fence=fence)
        return moved

    def learn(self, job: Job, now: float, because: str | None = None, **facts: Any) -> Job:  # noqa: ANN401 - JSON values
        """Add facts to a job without moving it; `because` is why it is still where it is."""
        known = replace(job, cause=because or job.cause, facts={**job.facts, **facts}, updated_at=now)
        with self.store.transaction():
            if not self.store.update_job(known, was=job.state, held=job.fence):
                raise FencedOff(job.id)
            self.store.note("job.fact", job.id, now, **facts)
        return known
