"""A machine that is only modelled, with the real decisions: what happens to it in a random second after the other?

What is taken for granted of the world, and nothing else:

* Without us the machine never runs out: Prime, other processes and the system always leave the headroom free.
* Prime may reach what it says at any moment, all at once; when it says something new, NOTICE_S later. What nobody
  foretold (another process) comes at up to a sixteenth of the headroom in a second; it may come at the same time.
* Each kind of job takes a fixed multiple of what the coefficients foretell, between a half and twice, unknown to us.
* The watcher looks every second. A worker that is asked to leave is gone two seconds later; one that is above its hard
  limit at once.
* A job that found no place for QUEUE_S gives up, as in queue.py.
* In the end the world is quiet for long enough to finish what is left.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from reactord.jobs.correction import factor
from reactord.jobs.keeping import Allowance, allowance_of
from reactord.jobs.negotiating import (
    NO_PRIME,
    Grant,
    Policy,
    Refuse,
    Request,
    Shrink,
    Snapshot,
    negotiate,
    room_now,
    spare_bytes,
)
from reactord.jobs.planning import GIB, Bounds, Plan, Work, plans
from reactord.jobs.pressure import Tier, next_tier
from reactord.jobspec import Hyper
from reactord.ledger.peaks import KEPT, Peak
from reactord.prime.memory import Holding
from reactord.workdir import STAGES

SECONDS = 360
LOOK_AGAIN_S, PATIENCE_S = 10, 60
#: a job that has waited so long is passed by nobody
AGED_S = 120
NOTICE_S = 4
QUEUE_S = 900
LEAVE_S, PAUSE_MOST_S = 2, 24
CHECKPOINT_S = 5
BOUNDS = Bounds(min_length_tokens=128, min_lora_rank=4)
NOTHING = dict.fromkeys(STAGES, ())
#: (layers, hidden, vocabulary, inner, heads): 135M, 360M, 1.7B
BASES = ((30, 576, 49152, 1536, 9), (32, 960, 49152, 2560, 15), (24, 2048, 49152, 8192, 32))
HYPERS = (Hyper(), Hyper(pairs_per_batch=8), Hyper(max_length_tokens=1024), Hyper(lora_rank=128, pairs_per_batch=4))


@dataclass(frozen=True)
class Kind:
    """A way to train a base, with the uncorrected plans: as asked for, then smaller."""

    name: str
    forms: tuple[Plan, ...]


def kinds(folder: Path) -> list[Kind]:
    """Every base with every set of numbers, by both recipes."""
    made = []
    for number, (layers, hidden, vocabulary, inner, heads) in enumerate(BASES):
        base = folder / str(number) / "hf"
        base.mkdir(parents=True)
        config = {"num_hidden_layers": layers, "hidden_size": hidden, "vocab_size": vocabulary,
                  "intermediate_size": inner, "num_attention_heads": heads, "tie_word_embeddings": True}  # fmt: skip
        (base / "config.json").write_bytes(orjson.dumps(config))
        for recipe in ("dpo", "sft"):
            made += [
                Kind(f"{number}/{recipe}", plans(Work(recipe, base, h, h.max_length_tokens), NOTHING, BOUNDS))
                for h in HYPERS
            ]
    return made


@dataclass
class Job:
    """A job of the model: how long each stage takes, how far it is, what it holds."""

    number: int
    kind: Kind
    born: int
    lasts: int  # seconds each stage
    truth: float  # of what is foretold
    stage: int = 0
    done: float = 0.0
    plan: Plan | None = None
    allowed: Allowance | None = None
    held: int = 0
    leaves_at: int | None = None
    ended: str | None = None
    since: int | None = None  # when it began to wait
    look_at: int = 0
    deprived: int = 0  # seconds in which it was the next, and could have run had none of ours been there
    paused: int = 0
    raw: tuple[tuple[str, int], ...] = ()

    def wants(self, share: float = 1.0) -> int:
        """What this stage takes, with the form it runs in."""
        return int(self.raw[self.stage][1] * self.truth * share)


@dataclass(frozen=True)
class Timeline:
    """What happens around us, second by second; and the jobs that are born."""

    total: int
    policy: Policy
    prime: list[Holding]
    prime_holds: list[int]
    others: list[int]
    jobs: Callable[[], list[Job]]


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
    history: dict[str, list[Peak]] = field(default_factory=dict)


def timeline(seed: int, all_kinds: list[Kind]) -> Timeline:
    """A random world."""
    chance = random.Random(seed)
    total = chance.choice((8, 16, 16, 24, 32, 64)) * GIB
    headroom = chance.choice((GIB // 2, GIB, 2 * GIB))
    reserve = int(total * chance.uniform(0.6, 1.0))
    policy = Policy(headroom_bytes=headroom, limit_bytes=total, reserve_bytes=reserve, patience_s=PATIENCE_S,
                    prime_threshold_bytes=int(0.375 * total), look_again_s=LOOK_AGAIN_S)  # fmt: skip
    room = total - headroom - GIB // 2  # for Prime and others
    primes, holds = _prime(chance, room, policy)
    others = _others(chance, room, holds, headroom)
    pool = chance.sample(all_kinds, 3)
    truths = {kind.name: chance.uniform(0.5, 2.0) for kind in pool}
    born = [
        (chance.choice(pool), chance.randrange(SECONDS // 2), chance.randint(3, 15))
        for _ in range(chance.randint(2, 6))
    ]
    return Timeline(total, policy, primes, holds, others, lambda: [
        Job(number, kind, at, lasts, truths[kind.name]) for number, (kind, at, lasts) in enumerate(sorted(
            born, key=lambda one: one[1]))
    ])  # fmt: skip


def _prime(chance: random.Random, room: int, policy: Policy) -> tuple[list[Holding], list[int]]:
    """A Prime that comes, loads, serves, swaps, is silent about itself, and goes."""
    said: list[Holding] = []
    holds: list[int] = []
    alive, held = chance.random() < 0.7, 0
    while len(said) < SECONDS:
        alive = alive if chance.random() < 0.7 else not alive
        tells = chance.choice(("all", "all", "held", "nothing"))
        most = room // 2 if tells == "all" else min(room // 2, policy.prime_threshold_bytes)
        reach = chance.randint(0, most) if alive else 0
        for second in range(chance.randint(20, 120)):
            if second >= NOTICE_S:  # by now everybody has read what it says
                held = chance.choice((held, held, reach, reach // 2))
            elif not alive or held > reach:
                held = min(held, reach)
            said.append(Holding(
                alive=alive,
                held_bytes=held if tells != "nothing" else None,
                may_reach_bytes=reach if tells == "all" else None,
            ) if alive else NO_PRIME)  # fmt: skip
            holds.append(held)
    return said[:SECONDS], holds[:SECONDS]


def _others(chance: random.Random, room: int, prime: list[int], headroom: int) -> list[int]:
    """Processes that come and go."""
    pace, now, target, found = headroom // 16, 0, 0, []
    worst = max(prime)
    for second in range(SECONDS):
        if second % 30 == 0:
            target = chance.randint(0, max(0, room - worst)) if chance.random() < 0.8 else 0
        now = min(target, now + pace) if target > now else target
        found.append(now)
    return found


# -- ours --------------------------------------------------------------------------------------------------------------
class Machine:
    """One timeline under one rule."""

    def __init__(self, world: Timeline, concurrent: int) -> None:
        self.world, self.concurrent = world, concurrent
        self.jobs, self.result = world.jobs(), Result()
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
        said, _, _ = self.around(self.second)
        ours = [] if without_ours else self.running()
        held = sum(job.held for job in self.running())
        return Snapshot(
            total_bytes=self.world.total,
            available_bytes=self.available() + (held if without_ours else 0),
            prime=said,
            ours_held_bytes=sum(job.held for job in ours),
            ours_to_come_bytes=sum(max(0, job.plan.peak_bytes - job.held) for job in ours if job.plan),
        )

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

    def turn(self) -> None:
        self._start_some()
        self.tier = next_tier(
            self.tier, spare_bytes(self.snapshot(), self.world.policy), self.world.policy.headroom_bytes
        )
        for job in self.running():
            self._work(job)

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
            if len(self.running()) >= self.concurrent or self.second < job.look_at:
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
        match negotiate(self.snapshot(), request):
            case Grant(plan, granted) | Shrink(plan, granted):
                job.plan, job.since = plan, None
                job.allowed = allowance_of({"granted_bytes": granted}, policy.headroom_bytes)
                job.raw = next(form.stages for form in job.kind.forms if form.hyper == plan.hyper)
                self.result.shrunk += plan is not forms[0]
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
