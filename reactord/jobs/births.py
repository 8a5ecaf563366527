"""Is a job to be born now by itself, and if not, what is it waiting for?

    ended nights --> accounted for (an event each time)      nights.py
    too many failures --> paused                             breaker.py
    tonight's run --> enough is new --> the served model     nights.py, triggers.py, signals.py
    got worse --> Body's curriculum

The decisions are pure functions of the other modules; here they are fed, in this order, and carried out. Every look
publishes what it found, for `reactord status`, when that has changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from reactord import durable
from reactord.formats.curriculum import TOPIC as CURRICULUM
from reactord.ipc.inbox import Inbox
from reactord.jobs import nights, signals, timetable
from reactord.jobs.breaker import Pause, pause
from reactord.jobs.nights import Account, Run, Seen
from reactord.jobs.scoring import Score, Scoring
from reactord.jobs.stages import Next, Services
from reactord.jobs.states import State
from reactord.jobs.triggers import (
    Growth,
    JobRequest,
    busy,
    due,
    new_job_id,
    score_threshold,
    submit,
    wanted,
)  # fmt: skip
from reactord.ledger import told
from reactord.ledger.state import Event, Job
from reactord.schedule import Night

#: what changes all the time (a score, while experiences come) is published so often
PUBLISH_EVERY_S = 10.0
MAX_TEXT = 300
#: after so long between two looks the machine slept, or the clock was set: what we told of the nights is read again
CLOCK_LEAPT_S = 600.0
#: of what we told, so much is read: more than a year of nights
MOST_ENTRIES = 500


class Births:
    """Gives birth to jobs. `look` is called by the driver once a second, on its loop."""

    def __init__(self, services: Services, born: Callable[[Job], None]) -> None:
        self.services, self._born = services, born
        self.schedule = timetable.schedule_of(services.settings, timetable.asked(services.home))
        self._scoring = Scoring(services.home, services.inbox.intake)
        self._account: Account | None = None
        self._looked_at = 0.0  # when the account was looked at
        self._hindered: tuple[str, str] | None = None  # (a night, what keeps it from its run)
        self._idle: set[str] = set()  # open nights in which nothing has waited so far
        self._curriculum: Event | None = None
        self._heard_upto = 0
        self._published: dict[str, Any] | None = None
        self._publish_at = 0.0

    def ask(self, name: str, cron: str | None) -> None:
        """Another time for training, or one less (None). Raises BadRequest."""
        known = timetable.ask(self.services.home, self.services.settings, name, cron)
        self.schedule, self._account = timetable.schedule_of(self.services.settings, known), None

    def look(self, now: float) -> None:
        """One look; at most one birth."""
        store, inbox = self.services.store, self.services.inbox
        jobs = store.jobs()
        counted = inbox.intake.fresh_after >= inbox.looked_upto  # else the ingest thread is about to count anew
        score = self._scoring.look(jobs, score_threshold(self.services.settings)) if counted else None
        paused = pause(jobs, now, self.services.settings.breaker_failures, self.services.settings.breaker_wait_s)
        if counted:
            growth = _growth(inbox, score)
            self._tell_of_nights(jobs, growth, now)
            if not self._night_run(jobs, growth, paused, now) and paused is None:
                self._other_run(jobs, growth, now)
            self._publish(score, paused, now)

    # -- nights ------------------------------------------------------------------------------------------------------
    def go_on(self, live: list[Job], now: float) -> None:
        """Tell jobs that wait for a night which one it is now."""
        for job in live:
            if job.state == State.QUEUED and (facts := nights.go_on(self.schedule, job.facts, now)):
                self.services.machine.learn(job, now, **facts)

    def leave(self, job: Job, trigger: str, now: float) -> Next:
        """What becomes of a run whose night is over."""
        had = len(job.facts.get("nights", ()))
        if had >= nights.MAX_NIGHTS:
            words = f"not done after {had} nights; make them longer (night_shift), or run: reactord train"
            return Next("fail", words, {"end_reason": "deadline"})
        facts = nights.go_on(self.schedule, job.facts, now) or {}
        return Next(trigger, "its time was over; it goes on in the next night", facts)

    def _tell_of_nights(self, jobs: list[Job], growth: Growth, now: float) -> None:
        known = self._account
        if not self.schedule and known:
            return
        if known is None or known.upto > now or abs(now - self._looked_at) > CLOCK_LEAPT_S:
            entries = told.about(self.services.store, nights.SUBJECT, MOST_ENTRIES)
            known = nights.applicable((entry.data for entry in entries), self.schedule.text, now)
            if not self.schedule and not entries:
                known = Account("", now, now)  # there never were nights, and nobody need know
        after, entry = nights.account(self.schedule, known, self._seen(jobs, growth), now)
        if entry:
            with self.services.store.transaction():
                self.services.store.note(entry.topic, nights.SUBJECT, now, **entry.facts)
        self._account, self._looked_at = after, now
        opened = self.schedule.look(now).open
        self._idle &= {night.id for night in opened}
        for night in opened:
            if nights.is_enough(night, now):  # what comes later is for the next night
                (self._idle.discard if growth.fresh else self._idle.add)(night.id)

    def _night_run(self, jobs: list[Job], growth: Growth, paused: Pause | None, now: float) -> bool:
        if not self.schedule or self._account is None:
            return False
        make_up = self.services.settings.night_shift_make_up
        run = nights.tonight(self.schedule, self._account, self._seen(jobs, growth), now, make_up=make_up)
        if run is None:
            return False
        if paused or busy(jobs):
            if not run.made_up:
                self._hindered = (run.night.id, _paused(paused) if paused else "another job was at work")
            return False
        self._bear("schedule", run.cause, now, run)
        return True

    def _seen(self, jobs: list[Job], growth: Growth) -> Seen:
        def ran(night: str) -> bool:
            return self.services.store.job(night) is not None or any(
                night in job.facts.get("nights", ()) for job in jobs
            )

        def hindrance(night: Night) -> str:
            if self._hindered and self._hindered[0] == night.id:
                return self._hindered[1]
            if any(job.created_at < night.closes and job.updated_at > night.opens for job in jobs):
                return "another job was at work"
            return nights.UNWATCHED

        return Seen(growth.fresh, ran, hindrance, self._idle.__contains__)

    # -- other reasons -----------------------------------------------------------------------------------------------
    def _other_run(self, jobs: list[Job], growth: Growth, now: float) -> None:
        settings, store = self.services.settings, self.services.store
        if cause := due(settings, growth, jobs, now):
            self._bear("threshold", cause, now)
        elif wanted(settings, growth, jobs, now):
            if cause := signals.drift(store.deployed(), jobs):
                self._bear("drift", cause, now)
            elif cause := signals.curriculum(self._last_curriculum(), jobs, settings.curriculum_priority, now):
                self._bear("curriculum", cause, now)

    def _last_curriculum(self) -> Event | None:
        """The newest one. All events are looked at once, then only the new ones."""
        store = self.services.store
        upto = store.last_event()
        if upto > self._heard_upto:
            self._curriculum = told.of(store, CURRICULUM, self._heard_upto) or self._curriculum
            self._heard_upto = upto
        return self._curriculum

    def _bear(self, why: Any, cause: str, now: float, run: Run | None = None) -> None:  # noqa: ANN401 - a literal
        request = JobRequest(job_id=run.night.id if run else new_job_id(now), born_of=why)
        job, new = submit(self.services.store, request, now, cause, run.facts if run else None)
        if new:
            self._born(job)

    # -- what is shown -----------------------------------------------------------------------------------------------
    def _publish(self, score: Score | None, paused: Pause | None, now: float) -> None:
        """Write births.json when it says something new; at once if that is no mere count."""
        shown = {
            "score": score and {"total": score.total, "counts": score.counts, "complete": score.complete},
            "score_threshold": score_threshold(self.services.settings),
            "schedule": self._shown_schedule(now) if self.schedule else None,
            "paused": paused and {"failures": paused.failures, "until": paused.until, "job_id": paused.job_id,
                                  "cause": paused.cause[:MAX_TEXT]},
        }  # fmt: skip
        known = self._known() if self._published is None else self._published
        same = all(known.get(key) == value for key, value in shown.items() if key != "score")
        same &= (shown["score"] is None) == (known.get("score") is None)
        if same and (shown["score"] == known.get("score") or time.monotonic() < self._publish_at):
            return
        durable.publish(self.services.home.births, orjson.dumps({"at": now, **shown}))
        self._published, self._publish_at = shown, time.monotonic() + PUBLISH_EVERY_S

    def _known(self) -> dict[str, Any]:
        """What the daemon before us published; nothing that can be read is nothing."""
        try:
            known = orjson.loads(self.services.home.births.read_bytes())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _shown_schedule(self, now: float) -> Mapping[str, Any]:
        look, known = self.schedule.look(now), self._account
        owed = known.owed if known else None
        return {
            "text": self.schedule.text,
            "open_until": look.open[0].closes if look.open else None,
            "next": look.next.opens if look.next else None,
            "last_missed": known and known.last_missed,
            "owed": owed.id if owed and self.services.store.job(owed.id) is None else None,
        }


def _growth(inbox: Inbox, score: Score | None) -> Growth:
    intake = inbox.intake
    if score is None:
        return Growth(intake.fresh, intake.last_arrival_at)
    return Growth(intake.fresh, intake.last_arrival_at, score.total, score.words)


def _paused(paused: Pause) -> str:
    return f"{paused.failures} jobs in a row had failed"
