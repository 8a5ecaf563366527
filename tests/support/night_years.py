"""A machine that sleeps, is restarted and has its clock set, for years; its nights are decided by the real functions.

`Machine` models what surrounds the decisions: true time, what the clock shows, jobs that work, the events written down.
Only it knows the true time. The judge reads the wall clock for itself: it knows nothing of instants and leaps.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import Any

from reactord.jobs import nights
from reactord.jobs.births import CLOCK_LEAPT_S, MOST_ENTRIES
from reactord.jobs.nights import Account, Seen
from reactord.schedule import Schedule

HOUR = 3600.0
DAY = 86400.0
LOOK_S = 1.0
#: a spell of anything else than plain running, on average one in so many days
EVERY_DAYS = 12.0


@dataclass
class Job:
    """A run: `facts` are what the daemon wrote down; `work_s` is what is left to do."""

    id: str
    facts: dict[str, Any]
    work_s: float
    state: str = "queued"
    began: float | None = None  # true time since when it works


@dataclass
class Found:
    """What the judge found."""

    nights: int = 0
    ran: int = 0
    reported: int = 0
    quiet: int = 0
    made_up: int = 0
    went_on: int = 0
    spells: int = 0
    missed: list[str] = field(default_factory=list)  # neither run, nor reported, nor quiet; or nothing was in its way
    doubled: list[str] = field(default_factory=list)
    overrun: list[str] = field(default_factory=list)


class Machine:
    """Ten years of one machine. `begin` and `end` are minutes of the day, as the owner wrote them."""

    def __init__(self, schedule: Schedule, zone: tzinfo, begin: int, end: int, seed: int) -> None:
        self.schedule, self.zone, self.begin, self.end = schedule, zone, begin, end
        self.random = random.Random(seed)
        self.true, self.offset = 0.0, 0.0
        self.waits = 5
        self.jobs: dict[str, Job] = {}
        self.entries: list[tuple[str, dict[str, Any]]] = []
        self.account: Account | None = None
        self.looked_at = 0.0
        self.live: Job | None = None
        self.found = Found()
        self.spells: list[tuple[float, float]] = []  # true times at which something was in the way
        self.births: list[tuple[float, str, bool]] = []  # (true time, id, the clock was right)
        self.worked: list[tuple[float, float, Job]] = []

    # -- the daemon --------------------------------------------------------------------------------------------------
    @property
    def clock(self) -> float:
        return self.true + self.offset

    def ran(self, night: str) -> bool:
        return night in self.jobs or any(night in job.facts["nights"] for job in list(self.jobs.values())[-20:])

    def restart(self) -> None:
        """Everything in memory is gone; the jobs and the newest event are read again."""
        if self.live and self.live.state == "working":
            self._stop("queued")
        self.account = None
        self.schedule._held = self.schedule._none = None

    def look(self) -> None:
        """What Driver._look and Births.look do, in their order."""
        now, job = self.clock, self.live
        if job and job.state == "queued":
            if facts := nights.go_on(self.schedule, job.facts, now):
                job.facts |= facts
            if job.facts.get("not_before", 0.0) <= now:
                job.state, job.began = "working", self.true
        if job and job.state == "working" and nights.time_is_up(job.facts, now):
            self._stop("queued")
            job.facts |= nights.go_on(self.schedule, job.facts, now) or {}
        seen, known = Seen(self.waits, self.ran), self.account
        if known is None or known.upto > now or abs(now - self.looked_at) > CLOCK_LEAPT_S:
            newest_first = (facts for _, facts in reversed(self.entries[-MOST_ENTRIES:]))
            known = nights.applicable(newest_first, self.schedule.text, now)
        self.account, entry = nights.account(self.schedule, known, seen, now)
        self.looked_at = now
        if entry:
            self.entries.append((entry.topic, entry.facts))
        run = nights.tonight(self.schedule, self.account, seen, now, make_up=True)
        if run and self.live is None:
            self.births.append((self.true, run.night.id, self.offset == 0))
            if run.night.id in self.jobs:
                self.found.doubled.append(f"{run.night.id} was born twice")
            self.found.made_up += run.made_up
            # an asked-for time that some nights are too short for
            work_s = self.random.choice((0.2, 0.5, 3.0)) * HOUR
            self.live = self.jobs[run.night.id] = Job(run.night.id, run.facts, work_s)

    def _stop(self, state: str) -> None:
        job = self.live
        assert job
        assert job.began is not None
        if self.true > job.began:
            self.worked.append((job.began, self.true, job))
            job.work_s -= self.true - job.began
        job.state, job.began = state, None
        self.found.went_on += state == "queued"
        if state == "done":
            self.live = None

    # -- the world ---------------------------------------------------------------------------------------------------
    def run(self, first: datetime, years: int) -> Found:
        """Live from a day on, and judge."""
        self.true = begin = first.replace(tzinfo=self.zone).timestamp()
        until = begin + years * 365.25 * DAY
        spell_at = begin + DAY
        while self.true < until:
            self.look()
            if self.true >= spell_at:
                self._spell()
                self.look()
                spell_at = self.true + self.random.expovariate(1 / EVERY_DAYS) * DAY
            self._step(spell_at)
        self.look()
        Judge(self, begin, until).judge()
        return self.found

    def _step(self, most: float) -> None:
        """On to the next look at which something can happen; those between find nothing to do."""
        look = self.schedule.look(self.clock)
        turns = [self.clock + self.random.uniform(2, 16) * HOUR]
        turns += [night.opens for night in [look.next] if night] + [night.closes for night in look.open]
        if self.live and self.live.state == "queued":
            turns.append(max(self.live.facts.get("not_before", 0.0), self.clock))
        if self.live and self.live.state == "working":
            turns += [self.live.facts["not_after"] - nights.END_BEFORE_S, self.clock + self.live.work_s]
        wanted = min(turn for turn in turns if turn >= self.clock) - self.offset + self.random.random() * LOOK_S
        self._pass(max(min(wanted, most), self.true + LOOK_S))
        self.looked_at = self.clock - LOOK_S

    def _pass(self, until: float) -> None:
        job = self.live
        if job and job.state == "working" and job.began is not None and self.true < job.began + job.work_s <= until:
            self.true = job.began + job.work_s
            self._stop("done")
        self.true = max(self.true, until)

    def _spell(self) -> None:
        """Something happens: the machine sleeps, is restarted, has its clock set, or nothing arrives."""
        self.found.spells += 1
        began = self.true
        kind = self.random.choice(("sleep", "long sleep", "restart", "crash", "set", "far", "quiet"))
        if kind in ("sleep", "long sleep"):
            length = self.random.uniform(0.1, 30) * HOUR if kind == "sleep" else self.random.uniform(1, 20) * DAY
            job = self.live
            if job and job.state == "working":  # whoever sleeps does not work
                self._stop("queued")
                job.state, job.began = "working", self.true + length
            self.true += length
        elif kind == "restart":
            self.restart()
        elif kind == "crash":
            self.true += self.random.uniform(0, 12) * HOUR
            self._lost(dies=True)
            self.restart()
        elif kind in ("set", "far"):
            far = self.random.choice((-4000, -300, 300, 4000)) * DAY
            self.offset = far if kind == "far" else self.random.choice((-1, 1)) * self.random.uniform(10, 20 * HOUR)
            for _ in range(self.random.randint(1, 6)):
                self.look()
                self._step(self.true + 4 * HOUR)
            self._lost(dies=False)
            self.offset = 0.0
        else:
            self.waits = 0
            until = self.true + self.random.uniform(0.5, 4) * DAY
            while self.true < until:
                self.look()
                self._step(until)
            self.waits = 5
        self.spells.append((began, self.true))

    def _lost(self, *, dies: bool) -> None:
        """What a run worked since it began is not judged: it ended with the machine, or nobody knew the time."""
        if self.live and self.live.state == "working":
            self.live.state, self.live.began = ("queued", None) if dies else ("working", self.true)


class Judge:
    """Compares what happened with what the wall clock showed."""

    def __init__(self, machine: Machine, begin: float, until: float) -> None:
        self.machine, self.begin, self.until, self.found = machine, begin, until, machine.found
        self.spells = ([a for a, _ in machine.spells], [b for _, b in machine.spells])
        self.worked = ([a for a, _, _ in machine.worked], [b for _, b, _ in machine.worked])

    def judge(self) -> None:
        self._overruns()
        self._doubles()
        self._nights()

    def _wall(self, at: float) -> datetime:
        return datetime.fromtimestamp(at, self.machine.zone)

    def _turns(self, at: float) -> bool:
        """Whether the clock was changed for summer or winter around that time."""
        return self._wall(at - 3 * HOUR).utcoffset() != self._wall(at + 3 * HOUR).utcoffset()

    def _inside(self, at: float) -> bool:
        """Whether the wall clock shows a time of the window."""
        shown, m = self._wall(at), self.machine
        minute = shown.hour * 60 + shown.minute
        return m.begin <= minute < m.end if m.begin < m.end else minute >= m.begin or minute < m.end

    def _near_an_edge(self, at: float) -> bool:
        """Whether the clock was changed so near to the begin or the end that the wall alone does not tell."""
        shown, m = self._wall(at), self.machine
        minute = shown.hour * 60 + shown.minute
        return self._turns(at) and any(abs((minute - edge + 720) % 1440 - 720) <= 181 for edge in (m.begin, m.end))

    def _calm(self, begin: float, end: float) -> bool:
        return not _overlaps(self.spells, begin, end)

    def _overruns(self) -> None:
        made_up = {i for topic, facts in self.machine.entries if (i := (facts.get("owed") or {}).get("id"))}
        for began, ended, job in self.machine.worked:
            if not self._calm(began - 2 * LOOK_S, ended + 2 * LOOK_S) or job.id in made_up:
                continue
            if not self._inside(ended - 1) and not self._near_an_edge(ended):
                self.found.overrun.append(f"{job.id} worked until {self._wall(ended)}")
            if not self._inside(began) and not self._near_an_edge(began):
                self.found.overrun.append(f"{job.id} worked from {self._wall(began)}")

    def _doubles(self) -> None:
        """Two births in one time of the window."""
        before: tuple[float, str] | None = None
        for at, job, right in self.machine.births:
            if right and self._inside(at) and self._calm(at, at):
                length = ((self.machine.end - self.machine.begin) % 1440) * 60
                if before and at - before[0] < min(length, 12 * HOUR) and self._calm(before[0], at):
                    self.found.doubled.append(f"{before[1]} and {job} at {self._wall(at)}")
                before = (at, job)

    def _nights(self) -> None:
        """Every day that there was has its night: it ran, or was reported, or had nothing to do."""
        machine, day = self.machine, self._wall(self.begin).date() + timedelta(days=2)
        told: list[tuple[str, str, str]] = []
        for topic, facts in machine.entries:
            if topic != nights.SET:
                told.append((facts["first"], facts["last"], topic))
                self.found.reported += facts["missed"]
                self.found.quiet += facts["quiet"]
        served = {_day(name) for job in machine.jobs.values() for name in (job.id, *job.facts["nights"])}
        reported = {name for first, last, _ in told for name in _names(first, last)}
        while (
            noon := datetime(day.year, day.month, day.day, 12, tzinfo=machine.zone).timestamp()
        ) < self.until - 3 * DAY:
            name = str(day)
            if self._wall(noon).date() == day:
                self.found.nights += 1
                self.found.ran += name in served
                if name not in served and name not in reported:
                    self.found.missed.append(f"{name} is not accounted for")
                if name not in served and self._could_run(datetime(day.year, day.month, day.day, tzinfo=machine.zone)):
                    self.found.missed.append(f"nothing was in the way of {name}")
            day += timedelta(days=1)

    def _could_run(self, midnight: datetime) -> bool:
        """Whether the machine was there, with the right time and no other work, for the last 60 % of the window."""
        m = self.machine
        begin = (midnight + timedelta(minutes=m.begin)).timestamp()
        length = ((m.end - m.begin) % 1440) * 60
        if self._turns(begin) or self._turns(begin + length):
            return False  # other tests look at those
        begin += 0.4 * length
        until = begin + 0.6 * length
        return self._calm(begin - 2 * LOOK_S, until) and not _overlaps(self.worked, begin, until)


def _overlaps(spans: tuple[list[float], list[float]], begin: float, end: float) -> bool:
    """Whether one of the spans, (when they begin, when they end), in order, has something of this one."""
    first = bisect_left(spans[1], begin)
    return first < len(spans[1]) and spans[0][first] <= end


def _day(name: str) -> str:
    """The day on which a night of this name begins."""
    return re.search(r"\d{4}-\d\d-\d\d", name)[0]  # type: ignore[index] # every name has one


def _names(first: str, last: str) -> list[str]:
    """All days from one to the other."""
    a, b = (datetime.strptime(_day(name), "%Y-%m-%d").date() for name in (first, last))  # noqa: DTZ007
    return [str(a + timedelta(days=n)) for n in range((b - a).days + 1)]
