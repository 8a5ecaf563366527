"""What is the score of the experiences that no job has looked at?

The bodies lie in the journal, and only what is newer than the last scored record is read, a portion at a look, in a
thread: neither the event loop nor the ingest waits for it, and once the score is enough nothing more is read. When a
job has looked, or after a restart, it begins anew with what is left: what a job looked at is not fresh any more, and is
not read again.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reactord.home import Home
from reactord.ipc.inbox import Intake
from reactord.ledger.state import Job
from reactord.threads import in_thread

if TYPE_CHECKING:
    from reactord.data.score import Scorer

log = logging.getLogger("reactord.jobs")

#: records at a look: a tenth of a second of one core
PORTION = 500


@dataclass(frozen=True, slots=True)
class Score:
    """The score of the fresh records up to `upto`."""

    total: float
    counts: dict[str, int]
    words: str  # what it is made of
    upto: int
    complete: bool = True  # there is nothing newer


class Scoring:
    """Keeps the score. `look` is called from the event loop and returns at once."""

    def __init__(self, home: Home, intake: Intake) -> None:
        self._home, self._intake = home, intake
        self._scorer: Scorer | None = None
        self._score: Score | None = None
        self._after = self._upto = 0  # scored is what lies between
        self._portion: asyncio.Task[None] | None = None
        self._broken = False

    def look(self, jobs: Iterable[Job], enough: float) -> Score | None:
        """The score as far as it is known; None before the first portion. Has the next portion read if that is of use.

        Nobody asks for a score of which 0 is enough.
        """
        intake = self._intake
        if self._portion is None and not self._broken:
            if self._after != intake.fresh_after or self._upto > intake.last_seq:
                self._scorer = self._score = None
                self._after = self._upto = intake.fresh_after
            total = self._score.total if self._score else 0.0
            if intake.fresh and self._upto < intake.last_seq and total < enough:
                read = self._read(intake.last_seq, known_tasks(jobs))
                self._portion = asyncio.create_task(read, name="score")
        if self._score is None or self._after != intake.fresh_after:
            return None
        return replace(self._score, complete=self._upto >= intake.last_seq)

    async def _read(self, upto: int, tasks: set[str]) -> None:
        try:
            done = await in_thread(_portion, self._home, self._scorer, tasks, self._upto, upto)
            self._scorer, self._score = done
            self._upto = self._score.upto
        except (OSError, sqlite3.Error) as trouble:  # the count still stands; the next look tries again
            log.warning("cannot score what is new: %s", trouble)
        except Exception:  # the task boundary: jobs are born by the count alone
            self._broken = True
            log.exception("a bug while scoring; see `reactord logs`. Jobs are born by their number until a restart")
        finally:
            self._portion = None


def _portion(home: Home, scorer: Scorer | None, tasks: set[str], after: int, upto: int) -> tuple[Scorer, Score]:
    """Score the next records; returns the scorer, and what it says now."""
    from reactord.data.score import Scorer, score, words  # noqa: PLC0415 - only a daemon to which something comes pays
    from reactord.ledger.reading import pending  # noqa: PLC0415

    scorer = scorer or Scorer(known_tasks=tasks)
    records = list(pending(home, upto, after=after, most=PORTION))
    last = scorer.add(records)
    counts = dict(scorer.counts)
    return scorer, Score(score(counts), counts, words(counts), last if len(records) == PORTION else upto)


def known_tasks(jobs: Iterable[Job]) -> set[str]:
    """The kinds of tasks that the datasets of earlier jobs held."""
    counted = (job.facts.get("counts") for job in jobs)
    kinds = (counts.get("by_task_type") for counts in counted if isinstance(counts, dict))
    return {kind for found in kinds if isinstance(found, dict) for kind in found}
