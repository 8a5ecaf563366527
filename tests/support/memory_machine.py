"""A machine that is only modelled, in a modelled world (memory_world.py), with the real decisions.

`Ours` runs the jobs as the driver and the keeper do, `Naive` as one would who has never lost a machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from support.memory_world import LOOK_AGAIN_S, PATIENCE_S, SECONDS, Job, Timeline

from reactord.jobs.correction import factor
from reactord.jobs.keeping import allowance_of
from reactord.jobs.negotiating import (
    NO_PRIME,
    Grant,
    Lease,
    Refuse,
    Request,
    Shrink,
    Snapshot,
    negotiate,
    room_now,
    spare_bytes,
)
from reactord.jobs.planning import GIB, Plan
from reactord.jobs.pressure import Tier, next_tier
from reactord.jobs.scarcity import Scarcity
from reactord.ledger.peaks import KEPT, Peak
from reactord.prime.memory import Holding
from reactord.workdir import STAGES

#: a job that has waited so long is passed by nobody
AGED_S = 120
QUEUE_S = 900
LEAVE_S, PAUSE_MOST_S = 2, 24
CHECKPOINT_S = 5


@dataclass
class Result:
    """What came of a timeline."""

    out_of_memory: int = 0
    unfinished: int = 0
    most_deprived: int = 0
    finished: int = 0
    shrunk: int = 0
    waited: int = 0
    refused: int = 0
    ended_by_limit: int = 0
    preempted: int = 0
    gave_up: int = 0
    lent: int = 0
    lease_refused: int = 0
    lease_lost: int = 0
    history: dict[str, list[Peak]] = field(default_factory=dict)


class Machine:
    """One timeline under one rule."""

    def __init__(self, world: Timeline, concurrent: int) -> None:
        self.world, self.concurrent = world, concurrent
        self.jobs, self.result, self.loan = world.jobs(), Result(), world.loan()
        self.tier, self.second = Tier.NORMAL, 0

    def around(self, second: int) -> tuple[Holding, int, int]:
        """What is said of Prime, what it holds, what others hold; quiet after the end."""
        if second < SECONDS:
            return self.world.prime[second], self.world.prime_holds[second], self.world.others[second]
        return NO_PRIME, 0, 0

    def running(self) -> list[Job]:
        return [job for job in self.jobs if job.plan is not None and job.ended is None]

    def waiting(self) -> list[Job]:
        return [job for job in self.jobs if job.plan is None and job.ended is None and job.born <= self.second]

    def available(self) -> int:
        _, prime, others = self.around(self.second)
        return self.world.total - GIB // 2 - prime - others - sum(job.held for job in self.running())

    def snapshot(self, *, without_ours: bool = False) -> Snapshot:
        said, prime, others = Machine.around(self, self.second) if without_ours else self.around(self.second)
        ours = [] if without_ours else self.running()
        free = self.world.total - GIB // 2 - prime - others - sum(job.held for job in ours)
        return Snapshot(
            total_bytes=self.world.total,
            available_bytes=free,
            prime=said,
            swap_used_bytes=self.world.swapped,
            scarcity=self._cry(free),
            ours_held_bytes=sum(job.held for job in ours),
            ours_to_come_bytes=sum(max(0, job.plan.peak_bytes - job.held) for job in ours if job.plan),
        )

    def _cry(self, free: int) -> Scarcity | None:
        if free < self.world.policy.headroom_bytes // 8:
            return Scarcity("everything waits", severe=free < self.world.policy.headroom_bytes // 16)
        return self.world.alarms.get(self.second)

    def run(self) -> Result:
        most = SECONDS + 2 * QUEUE_S + 6 * 4 * 15 * 4
        while self.second < most and not all(job.ended for job in self.jobs):
            self.turn()
            if self.available() < 0:
                self.result.out_of_memory = 1
                break  # what follows is another world
            self.second += 1
        self.result.unfinished = sum(job.ended is None for job in self.jobs)
        self.result.finished = sum(job.ended == "done" for job in self.jobs)
        self.result.most_deprived = max(job.deprived for job in self.jobs)
        self.result.lent, self.result.lease_refused, self.result.lease_lost = (
            self.loan.lent, self.loan.refused, self.loan.lost,
        )  # fmt: skip
        return self.result

    def stop(self, job: Job) -> None:
        """Gone, with what its last checkpoint holds; it waits again."""
        job.plan, job.held, job.leaves_at, job.paused, job.since = None, 0, None, 0, None
        job.done -= job.done % CHECKPOINT_S
        job.look_at = self.second + LOOK_AGAIN_S

    def turn(self) -> None:
        raise NotImplementedError


class Ours(Machine):
    """The real `negotiate`, `factor`, `allowance_of` and `next_tier`."""

    def around(self, second: int) -> tuple[Holding, int, int]:
        said, prime, others = super().around(second)
        return (*self.loan.seen(second, said, prime), others)

    def turn(self) -> None:
        self._lend()
        self._start_some()
        self.tier = next_tier(
            self.tier, spare_bytes(self.snapshot(), self.world.policy), self.world.policy.headroom_bytes
        )
        for job in self.running():
            self._work(job)

    def _lend(self) -> None:
        """As in leasing.py: a lease belongs to a job, and goes back when that one does not need it."""
        alive = super().around(self.second)[0].alive
        if self.loan.job and (self.loan.job.plan is None or self.loan.job.ended):
            self.loan.give_back()
        if (robbed := self.loan.breaks(self.second, alive=alive)) and robbed.leaves_at is None:
            robbed.leaves_at = self.second + 1 + LEAVE_S  # the next look sees it
        job = self.loan.answer(self.second, alive=alive)
        if job is None or job.ended:
            return
        if self.loan.job is job:
            self._ask(job)  # what came free is measured, and decided about anew
            if job.plan is None:
                self.loan.give_back()
                self.loan.refuse(self.second)
        job.look_at = self.second + LOOK_AGAIN_S

    def _start_some(self) -> None:
        # both are modelled as in queue.py: the oldest first once it has aged, and then nobody passes it
        alone: Snapshot | None = None
        for turn, job in enumerate(self.waiting_in_turn()):
            job.since = self.second if job.since is None else job.since
            if self.second - job.since > QUEUE_S:
                job.ended = "gave up"
                self.result.gave_up += 1
            if self.second % 5 == 0 and turn == 0:
                alone = alone or self.snapshot(without_ours=True)
                smallest = self._forms(job)[-1] if self.second - job.since >= PATIENCE_S else self._forms(job)[0]
                job.deprived += 5 * (smallest.peak_bytes <= room_now(alone, self.world.policy)[0])
        for job in self.waiting_in_turn():
            asks = self.loan.asked is not None and self.loan.asked[0] is job
            if len(self.running()) >= self.concurrent or self.second < job.look_at or asks:
                if self._aged(job):
                    return
                continue
            self._ask(job)
            if job.plan is None and job.ended is None and self._aged(job):
                return

    def waiting_in_turn(self) -> list[Job]:
        return sorted(self.waiting(), key=lambda job: (not self._aged(job), job.born))

    def _aged(self, job: Job) -> bool:
        return self.second - job.born >= AGED_S

    def _forms(self, job: Job) -> tuple[Plan, ...]:
        past, left = self.result.history.get(job.kind.name, []), STAGES[job.stage :]
        return tuple(
            Plan(form.hyper, tuple((s, int(n * factor(n, past))) for s, n in form.stages if s in left), form.lossless)
            for form in job.kind.forms
        )

    def _ask(self, job: Job) -> None:
        forms, policy = self._forms(job), self.world.policy
        request = Request(forms, policy, self.second, self.second - (job.since or 0))
        lent_to = "another" if self.loan.job not in (None, job) else None
        match negotiate(replace(self.snapshot(), lent_to=lent_to), request):
            case Grant(plan, granted) | Shrink(plan, granted):
                job.plan, job.since = plan, None
                job.allowed = allowance_of({"granted_bytes": granted}, policy.headroom_bytes)
                job.raw = next(form.stages for form in job.kind.forms if form.hyper == plan.hyper)
                self.result.shrunk += plan is not forms[0]
            case Lease():
                self.loan.ask(job, self.second)
            case Refuse():
                job.ended = "refused"
                self.result.refused += 1
            case wait:
                job.look_at = int(wait.until)
                self.result.waited += 1

    def _work(self, job: Job) -> None:
        if job.leaves_at is not None:
            if self.second >= job.leaves_at:
                self.stop(job)
            return
        assert job.allowed
        limit, hard = job.allowed.limit_bytes(self.tier), job.allowed.hard_bytes(self.tier)
        job.held = min(job.wants(), job.held + max(GIB, job.wants() // 2))
        if job.held > limit:
            self._remember(job, min(job.held, hard), killed=True)
            self.result.ended_by_limit += 1
            if job.held > hard:
                job.held = hard  # its control group let it have no more
                self.result.out_of_memory |= self.available() < 0
                self.stop(job)
            else:
                job.leaves_at = self.second + LEAVE_S
            return
        if self.tier == Tier.CRITICAL or job.paused > PAUSE_MOST_S:
            job.leaves_at = self.second + LEAVE_S
            self.result.preempted += 1
            return
        job.paused = job.paused + 1 if self.tier == Tier.CONSTRAINED else 0
        job.done += {Tier.NORMAL: 1.0, Tier.ELEVATED: 0.5}.get(self.tier, 0.0)
        if job.done >= job.lasts:
            self._remember(job, job.wants(), killed=False)
            job.done, job.stage, job.held = 0.0, job.stage + 1, 0
            if job.stage == len(STAGES):
                job.ended = "done"

    def _remember(self, job: Job, took: int, *, killed: bool) -> None:
        kept = self.result.history.setdefault(job.kind.name, [])
        kept.insert(0, Peak(job.raw[job.stage][1], took, killed=killed))
        del kept[KEPT:]


class Naive(Machine):
    """Start when what is free exceeds the reserve; what nobody says is taken for zero; nothing is enforced."""

    def turn(self) -> None:
        for job in self.waiting():
            if len(self.running()) < self.concurrent and self.second >= job.look_at:
                if self.available() >= self.reserve():
                    job.plan, job.raw = job.kind.forms[0], job.kind.forms[0].stages
                else:
                    job.look_at = self.second + LOOK_AGAIN_S
        for job in self.running():
            job.held = min(job.wants(), job.held + max(GIB, job.wants() // 2))
            job.done += 1
            if job.done >= job.lasts:
                job.done, job.stage, job.held = 0.0, job.stage + 1, 0
                if job.stage == len(STAGES):
                    job.ended = "done"

    def reserve(self) -> int:
        """40 of 64 GB, on this machine."""
        return self.world.total * 40 // 64
