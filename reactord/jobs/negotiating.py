"""May this job start now, in which form, and if not, why not?

`negotiate` is pure: what the machine has, what Prime and others hold and may grow to, and what the job would take go
in; a decision comes out. Never "try and see".

    free now     = available - what Prime may still take - what our running workers were granted and have not taken;
                   nothing while the kernel itself says that memory is short
    free at best = the smaller of the machine and MAX_TOTAL_MEMORY_GB, and of it TRAINING_MEMORY_RESERVE_GB at most

    as asked fits now                        Grant
    the same result in smaller pieces fits   Shrink
    out of patience, and one of these would fit if Prime lent its memory, which the settings allow
                                             Lease: ask Prime, look again
    only a lesser form fits, and nothing better ever will, or the job has waited its patience out
                                             Shrink (if Prime must lend for that, too: Lease)
    not even the smallest form ever fits     Offload where there is a cloud, else Refuse
    otherwise                                Wait; with a cloud and out of patience, Offload

What lies in swap is no claim on memory: a page that comes back leaves its place in swap to another, and most never do.
Linux and macOS leave them there for weeks; whoever waited for these bytes would wait as long. What counts is whether
anybody waits for memory now, and that the kernel knows (scarcity.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reactord.jobs.planning import GIB, Plan
from reactord.jobs.scarcity import Scarcity
from reactord.prime.memory import Holding

NO_PRIME = Holding(alive=False, held_bytes=None, may_reach_bytes=None)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the machine has, in bytes."""

    total_bytes: int
    available_bytes: int
    prime: Holding = NO_PRIME
    swap_used_bytes: int = 0  # told, not counted
    #: the kernel's own word that memory is short now; None: it does not say so
    scarcity: Scarcity | None = None
    #: what our own workers hold, and what they were granted and may still take
    ours_held_bytes: int = 0
    ours_to_come_bytes: int = 0
    #: another job of ours, to which Prime has lent its memory: what starts beside it would keep that from Prime
    lent_to: str | None = None
    #: other processes of the house (their services registry) by name; part of what is not available, told in reasons
    others: tuple[tuple[str, int], ...] = ()
    #: the graphics processor takes from the same memory: weights that Prime gave to it are not in its resident set
    unified: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """What the settings say, in bytes and seconds."""

    headroom_bytes: int
    limit_bytes: int  # MAX_TOTAL_MEMORY_GB: Prime and we together
    reserve_bytes: int  # TRAINING_MEMORY_RESERVE_GB: what training may take of it
    prime_threshold_bytes: int  # JPRIME_MEMORY_THRESHOLD_GB: with a Prime that holds more, nothing starts
    patience_s: float  # TRAINING_SLOT_TIMEOUT: so long for a better form, or for a place here
    look_again_s: float  # RESOURCE_CHECK_INTERVAL
    may_lease: bool = False  # REACTOR_PRIME_LEASE: whether Prime may be asked to lend its memory


@dataclass(frozen=True, slots=True)
class Request:
    """A job at the door: its forms, the one that was asked for first, each smaller than the one before."""

    plans: Sequence[Plan]
    policy: Policy
    now: float
    waited_s: float = 0.0
    cloud: str | None = None  # the launcher that could take it instead, where one is configured


@dataclass(frozen=True, slots=True)
class Grant:
    """The job fits as it was asked for. `granted_bytes` are its peak; for a guess, everything that is free."""

    plan: Plan
    granted_bytes: int


@dataclass(frozen=True, slots=True)
class Shrink:
    """A smaller form fits; in which way it is smaller, in words."""

    plan: Plan
    granted_bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class Lease:
    """The job would fit if Prime lent its memory; what it would make possible, in words."""

    plan: Plan
    why: str


@dataclass(frozen=True, slots=True)
class Wait:
    """The job does not fit now; the reason in words, and when to look again (epoch seconds)."""

    why: str
    until: float


@dataclass(frozen=True, slots=True)
class Offload:
    """The job runs better elsewhere."""

    where: str
    why: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """The job never fits on this machine, whatever Prime does; the reason ends with what to change."""

    why: str


Decision = Grant | Shrink | Lease | Wait | Offload | Refuse


def negotiate(snapshot: Snapshot, request: Request) -> Decision:
    """Decide."""
    policy, plans = request.policy, request.plans
    ever, tired = _ever_bytes(snapshot, policy), request.waited_s >= policy.patience_s
    if plans[-1].peak_bytes > ever:
        why = f"needs {gib(plans[-1].peak_bytes)} in its smallest form; {_ever_words(snapshot, policy)}"
        if request.cloud:
            return Offload(request.cloud, why)
        return Refuse(
            f"{why}. Choose a smaller base model, lower hyper.max_length_tokens{_or_adapter(plans[0])}, or raise"
            " MAX_TOTAL_MEMORY_GB and TRAINING_MEMORY_RESERVE_GB if the machine has more"
        )
    room, why = room_now(snapshot, policy)
    lent = room_lent(snapshot, policy) if tired else None
    same_result_is_possible = any(plan.lossless and plan.peak_bytes <= ever for plan in plans)
    good = [plan for plan in plans if plan.lossless or not same_result_is_possible]
    for forms in (good, plans) if tired else (good,):
        if plan := _first(forms, room):
            return _granted(plan, plans[0], room)
        if lent is not None and (plan := _first(forms, lent)):
            given = f"{gib(max(0, room))} can be given, {gib(lent)} if Prime lends its memory"
            return Lease(plan, f"needs {gib(plan.peak_bytes)}, {given}: {why}")
    best = next(plan for plan in good if plan.peak_bytes <= ever)
    waits = f"needs {gib(best.peak_bytes)}, {gib(max(0, room))} can be given: {why}"
    if tired and request.cloud:
        return Offload(request.cloud, waits)
    return Wait(waits, request.now + policy.look_again_s)


def _or_adapter(asked: Plan) -> str:
    """What else would make it smaller."""
    if asked.hyper.full:
        return ", train an adapter instead of every weight (hyper.lora_rank above 0)"
    return " or hyper.lora_rank"


def _first(plans: Sequence[Plan], room: int) -> Plan | None:
    return next((plan for plan in plans if plan.peak_bytes <= room), None)


def _granted(plan: Plan, asked: Plan, room: int) -> Grant | Shrink:
    granted = plan.peak_bytes if plan.known else room
    if plan is asked:
        return Grant(plan, granted)
    smaller = plan.differs_from(asked.hyper)
    return Shrink(plan, granted, f"{smaller}: {gib(plan.peak_bytes)} fit, {gib(asked.peak_bytes)} do not")


def room_now(snapshot: Snapshot, policy: Policy) -> tuple[int, str]:
    """What a job may take now, and what of the machine is not free, in words with the measured numbers."""
    prime = snapshot.prime
    threshold = _scaled_threshold(snapshot, policy)
    prime_reach = _prime_reach(prime, threshold)
    prime_to_come = prime_reach - min(prime_reach, prime.held_bytes or 0)
    free = spare_bytes(snapshot, policy) - policy.headroom_bytes
    limit = min(policy.limit_bytes, snapshot.total_bytes)
    ours = snapshot.ours_held_bytes + snapshot.ours_to_come_bytes
    shared = limit - prime_reach - ours - policy.headroom_bytes
    reserve = policy.reserve_bytes - ours
    words = [f"{gib(snapshot.available_bytes)} of {gib(snapshot.total_bytes)} are available"]
    words += _prime_words(prime, prime_to_come, threshold)
    if snapshot.ours_to_come_bytes:
        words.append(f"{gib(snapshot.ours_to_come_bytes)} are promised to the job that runs")
    words.append(f"{gib(policy.headroom_bytes)} stay free")
    if shared < free:
        words.append(f"the limit for Prime and us is {gib(limit)} (MAX_TOTAL_MEMORY_GB)")
    if reserve < min(free, shared):
        words.append(f"training may take {gib(policy.reserve_bytes)} (TRAINING_MEMORY_RESERVE_GB)")
    words += [f"{name} holds {gib(size)}" for name, size in snapshot.others if size >= GIB]
    room = min(free, shared, reserve)
    if snapshot.scarcity:
        room = min(room, 0)
        words.append(f"nothing starts while memory is short: {snapshot.scarcity.words}")
    if snapshot.lent_to:
        room = min(room, 0)
        words.append(f"nothing starts beside {snapshot.lent_to}, to which Prime lends its memory")
    if prime.held_bytes is not None and prime.held_bytes > threshold:
        room = min(room, 0)
        words.append(f"no training starts beside a Prime above {gib(threshold)} (JPRIME_MEMORY_THRESHOLD_GB)")
    return room, ", ".join(words)


def spare_bytes(snapshot: Snapshot, policy: Policy) -> int:
    """What would be left if everybody took what they may; a grant leaves the headroom, and less is pressure."""
    prime = snapshot.prime
    reach = _prime_reach(prime, _scaled_threshold(snapshot, policy))
    prime_to_come = reach - min(reach, prime.held_bytes or 0)
    spare = snapshot.available_bytes - prime_to_come - snapshot.ours_to_come_bytes
    return min(spare, 0) if snapshot.scarcity and snapshot.scarcity.severe else spare


def room_lent(snapshot: Snapshot, policy: Policy) -> int | None:
    """What a job may take once Prime has lent its memory; None where it may not be asked, or lends nothing now."""
    prime = snapshot.prime
    if not policy.may_lease or prime.leasable_bytes is None or prime.held_bytes is None:
        return None
    left = prime.held_bytes - min(prime.held_bytes, prime.leasable_bytes)
    after = replace(prime, held_bytes=left, may_reach_bytes=left, leasable_bytes=None)
    free = snapshot.available_bytes + prime.leasable_bytes
    return room_now(replace(snapshot, available_bytes=free, prime=after), policy)[0]


def _prime_reach(prime: Holding, threshold: int) -> int:
    """What Prime may come to hold; of one that lives and does not say, as much as is set aside for it."""
    if not prime.alive:
        return 0
    known = [size for size in (prime.held_bytes, prime.may_reach_bytes) if size is not None]
    return max(known) if prime.may_reach_bytes is not None else max([threshold, *known])


def _prime_words(prime: Holding, to_come: int, threshold: int) -> list[str]:
    if not prime.alive:
        return []
    held = f"Prime holds {gib(prime.held_bytes)}" if prime.held_bytes is not None else "Prime lives and does not say"
    grows = f"{held} and may take {gib(to_come)} more" if to_come else held
    unknown = prime.may_reach_bytes is None
    return [f"{grows} (unknown, so all of the {gib(threshold)} set aside for it)" if unknown and to_come else grows]


def _scaled_threshold(snapshot: Snapshot, policy: Policy) -> int:
    """The setting is for a machine of MAX_TOTAL_MEMORY_GB; a smaller one sets aside the same part of what it has."""
    part = min(1.0, snapshot.total_bytes / policy.limit_bytes) if policy.limit_bytes else 1.0
    return int(policy.prime_threshold_bytes * part)


def _ever_bytes(snapshot: Snapshot, policy: Policy) -> int:
    """What a job may take with nobody else on the machine."""
    return min(min(policy.limit_bytes, snapshot.total_bytes) - policy.headroom_bytes, policy.reserve_bytes)


def _ever_words(snapshot: Snapshot, policy: Policy) -> str:
    return (
        f"the machine has {gib(snapshot.total_bytes)}, MAX_TOTAL_MEMORY_GB allows {gib(policy.limit_bytes)} of which"
        f" {gib(policy.headroom_bytes)} stay free, TRAINING_MEMORY_RESERVE_GB {gib(policy.reserve_bytes)}"
    )


def gib(size: int) -> str:
    """Bytes for a person."""
    return f"{size / GIB:.1f} GiB"
