"""A modelled world around a machine: what happens to it in a random second after the other (memory_machine.py)?

What is taken for granted of the world, and nothing else:

* Without us the machine never runs out: Prime, other processes and the system always leave the headroom free.
* Prime may reach what it says at any moment, all at once; when it says something new, NOTICE_S later. What nobody
  foretold (another process) comes at up to a sixteenth of the headroom in a second; it may come at the same time.
* Each kind of job takes a fixed multiple of what the coefficients foretell, between a half and twice, unknown to us.
* The watcher looks every second. A worker that is asked to leave is gone two seconds later; one that is above its hard
  limit at once.
* A Prime may lend its memory (prime_loan.py); in half of these worlds its owner allows that.
* Cold pages lie in swap, and the kernel cries for memory when little is left, and sometimes for no reason.
* A job that found no place for QUEUE_S gives up, as in queue.py.
* In the end the world is quiet for long enough to finish what is left.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson
from support.prime_loan import NOTICE_S, Loan

from reactord.jobs.keeping import Allowance
from reactord.jobs.negotiating import NO_PRIME, Policy
from reactord.jobs.planning import GIB, Bounds, Plan, Work, plans
from reactord.jobs.scarcity import Scarcity
from reactord.jobspec import Hyper
from reactord.prime.memory import Holding
from reactord.workdir import STAGES

SECONDS = 360
LOOK_AGAIN_S, PATIENCE_S = 10, 60
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
    loan: Callable[[], Loan]
    swapped: int  # cold pages that nobody wants back
    alarms: dict[int, Scarcity]  # what the kernel cries without a reason, by second


def timeline(seed: int, all_kinds: list[Kind]) -> Timeline:
    """A random world."""
    chance = random.Random(seed)
    total = chance.choice((8, 16, 16, 24, 32, 64)) * GIB
    headroom = chance.choice((GIB // 2, GIB, 2 * GIB))
    reserve = int(total * chance.uniform(0.6, 1.0))
    lends, may_lease = chance.random() < 0.5, chance.random() < 0.5
    policy = Policy(headroom_bytes=headroom, limit_bytes=total, reserve_bytes=reserve, patience_s=PATIENCE_S,
                    prime_threshold_bytes=int(0.375 * total), look_again_s=LOOK_AGAIN_S,
                    may_lease=may_lease)  # fmt: skip
    room = total - headroom - GIB // 2  # for Prime and others
    primes, holds = _prime(chance, room, policy, lends=lends)
    others = _others(chance, room, holds, headroom)
    pool = chance.sample(all_kinds, 3)
    truths = {kind.name: chance.uniform(0.5, 2.0) for kind in pool}
    born = [
        (chance.choice(pool), chance.randrange(SECONDS // 2), chance.randint(3, 15))
        for _ in range(chance.randint(2, 6))
    ]
    cries = [Scarcity("some", severe=False)] * 5 + [Scarcity("all", severe=True)]
    alarms = {chance.randrange(SECONDS): chance.choice(cries) for _ in range(chance.randint(0, 8))}
    return Timeline(total, policy, primes, holds, others, lambda: [
        Job(number, kind, at, lasts, truths[kind.name]) for number, (kind, at, lasts) in enumerate(sorted(
            born, key=lambda one: one[1]))
    ], lambda: Loan(seed, lends=lends), chance.randint(0, 8) * GIB, alarms)  # fmt: skip


def _prime(chance: random.Random, room: int, policy: Policy, *, lends: bool) -> tuple[list[Holding], list[int]]:
    """A Prime that comes, loads, serves, swaps, is silent about itself, and goes."""
    said: list[Holding] = []
    holds: list[int] = []
    alive, held = chance.random() < 0.7, 0
    while len(said) < SECONDS:
        alive = alive if chance.random() < 0.7 else not alive
        tells = chance.choice(("held", "held", "nothing") if lends else ("all", "all", "held", "nothing"))
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
