"""Has tonight's run happened, and what became of the nights before?

    a night is open, no job had it, something waits     its run is born, and must end before the night does
    it ended, and a job had it, or nothing waited       kept
    it ended otherwise                                  missed: told, and the newest one is owed
    no night is open, one is owed, the next is far      its run is made up, once, and ends before the next night begins

A run that a night was too short for checkpoints, and goes on in the next one. No timer is involved: every look asks
anew, so it does not matter whether a second, a sleep, a restart or a clock that was set lies between two looks. A run
carries the name of its night as its id, so no night can have two.

Pure. What must outlive the daemon is in jobs (their id and their facts) and in the events of the subject `schedule`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reactord.schedule import Night, Schedule

SUBJECT = "schedule"
SET, KEPT, MISSED = "schedule.set", "schedule.kept", "schedule.missed"

#: a run is told to leave so long before its night ends: the worker needs 8 s at most
END_BEFORE_S = 30.0
#: less than this, and less than half of the night, is too little to begin with
MIN_LEFT_S = 900.0
#: nights that ended before that are not looked for any more
LOOK_BACK_S = 62 * 86400.0
#: a run that is not done after so many nights never will be
MAX_NIGHTS = 14
#: of many missed nights the newest give their reasons
MAX_REASONS = 3
UNWATCHED = "the daemon did not run, or the machine slept"


@dataclass(frozen=True, slots=True)
class Account:
    """What we told of the nights up to a time: one event of the subject `schedule`."""

    text: str  # the schedule it is about
    era: float  # when that schedule was new: it is told from others by this
    upto: float  # every night that ended by then, and not before the schedule was new, is accounted for
    owed: Night | None = None  # the newest missed one, unless a run came after it
    last_missed: Mapping[str, Any] | None = None  # its night, when that ended, and why


@dataclass(frozen=True, slots=True)
class Entry:
    """An event to write down."""

    topic: str
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """A run to give birth to."""

    night: Night
    not_after: float
    cause: str
    made_up: bool = False

    @property
    def facts(self) -> dict[str, Any]:
        """What the driver must know of it."""
        return {
            "night": self.night.id,
            "nights": [self.night.id],
            "not_after": self.not_after,
            **({"made_up": True} if self.made_up else {}),
        }


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look needs to know besides the schedule and the time."""

    waits: int  # experiences that no job has looked at
    ran: Callable[[str], bool]  # whether a job had the night of this id
    hindrance: Callable[[Night], str] = lambda _: UNWATCHED  # what kept an ended night from its run
    idle: Callable[[str], bool] = lambda _: False  # whether we saw that nothing waited while there was time for a run


def applicable(entries: Iterable[Mapping[str, Any]], text: str, now: float) -> Account | None:
    """The account that counts at a time, of the facts of the events, newest first. None: the schedule is new.

    A clock that showed a time far ahead had us account for nights that are still to come: what was told then does not
    count before that time is really there. Nor does what was told by a clock that was far behind, once it is right.
    """
    era: float | None = None
    best: Mapping[str, Any] | None = None
    for facts in entries:
        if era is None and facts["text"] != text:
            return None
        era = facts["era"] if era is None else era
        if facts["era"] != era:
            break
        if facts["upto"] <= now and (best is None or facts["upto"] > best["upto"]):
            best = facts
    if era is None:
        return None
    if best is None:
        return Account(text, era, now)  # the clock is before our time
    owed = best["owed"]
    return Account(text, era, best["upto"], Night(**owed) if owed else None, best["last_missed"])


def account(schedule: Schedule, known: Account | None, seen: Seen, now: float) -> tuple[Account, Entry | None]:
    """What became of the nights that ended since the last look. `known` is what is applicable now."""
    if known is None:
        new = Account(schedule.text, now, now)
        return new, Entry(SET, {"cause": f"the schedule is new: {schedule.text or 'no nights'}", **_facts(new)})
    ended = schedule.ended(max(known.upto, now - LOOK_BACK_S), now)
    if not ended:
        return known, None
    ran = [night for night in ended if seen.ran(night.id)]
    missed = [night for night in ended if night not in ran and not seen.idle(night.id)] if seen.waits else []
    last = missed[-1] if missed else None
    since = max((night.closes for night in ran), default=0.0)
    owed = last if last and last.closes > since else None if ran else known.owed
    upto = max(night.closes for night in ended)
    told, cause = known.last_missed, "no run was missed"
    if last:
        why = "; ".join(dict.fromkeys(seen.hindrance(night) for night in missed[-MAX_REASONS:]))
        told = {"night": last.id, "ended": last.closes, "why": why}
        cause = f"{len(missed)} without a run, the last one {last.id}: {why}"
    after = Account(known.text, known.era, upto, owed, told)
    facts = {
        "cause": cause,
        **_facts(after),
        "ran": len(ran),
        "quiet": len(ended) - len(ran) - len(missed),
        "missed": len(missed),
        "first": ended[0].id,
        "last": ended[-1].id,
    }
    if missed:
        facts["waiting"] = seen.waits
    return after, Entry(MISSED if missed else KEPT, facts)


def _facts(known: Account) -> dict[str, Any]:
    owed = known.owed and {"id": known.owed.id, "opens": known.owed.opens, "closes": known.owed.closes}
    return {"text": known.text, "era": known.era, "upto": known.upto, "owed": owed, "last_missed": known.last_missed}


def tonight(schedule: Schedule, known: Account, seen: Seen, now: float, *, make_up: bool) -> Run | None:
    """The run that is to be born now, if one is."""
    if not seen.waits:
        return None
    look = schedule.look(now)
    for night in look.open:
        if not seen.ran(night.id) and is_enough(night, now):
            return Run(night, night.closes, f"its time has come: {night.id}, {_waiting(seen)}")
    owed = known.owed
    if look.open or owed is None or not make_up or seen.ran(owed.id):
        return None
    until = min(now + owed.length_s, look.next.opens if look.next else now + owed.length_s)
    if until - now < owed.length_s / 2:
        return None  # the next night is near enough
    return Run(owed, until, f"made up for {owed.id}, which was missed; {_waiting(seen)}", made_up=True)


def _waiting(seen: Seen) -> str:
    return f"{seen.waits} new experiences wait"


def is_enough(night: Night, now: float) -> bool:
    """Whether what is left of an open night is worth beginning with."""
    return night.closes - now >= min(MIN_LEFT_S, night.length_s / 2)


def time_is_up(facts: Mapping[str, Any], now: float) -> bool:
    """Whether a run must leave now."""
    not_after = facts.get("not_after")
    return not_after is not None and now >= not_after - END_BEFORE_S


def go_on(schedule: Schedule, facts: Mapping[str, Any], now: float) -> dict[str, Any] | None:
    """The facts that a job with a deadline must learn while it does not run; None when it knows them.

    It waits for the next night, belongs to it once that is open, and to no night when there are none any more. Asked
    every second, so a clock that was set leaves no job waiting for a night years ahead.
    """
    if facts.get("not_after") is None:
        return None
    look = schedule.look(now) if schedule else None
    if facts.get("made_up") and not time_is_up(facts, now) and look and _is_near(facts, look.next):
        return None
    opened = next((night for night in look.open if is_enough(night, now)), None) if look else None
    night = opened or (look.next if look else None)
    if night is None:
        return {"night": None, "not_after": None, "not_before": 0.0, "made_up": False}
    nights: Sequence[str] = facts.get("nights", ())
    not_before = float(facts.get("not_before", 0.0))
    told = facts.get("night") == night.id and facts["not_after"] == night.closes
    if opened:
        if told and night.id in nights and not_before < night.closes:
            return None
        nights = [*(name for name in nights if name != night.id), night.id]
    elif told and not_before >= night.opens:
        return None
    return {
        "night": night.id,
        "nights": list(nights),
        "not_after": night.closes,
        "not_before": 0.0 if opened else night.opens,
        "made_up": False,
    }


def _is_near(facts: Mapping[str, Any], following: Night | None) -> bool:
    """A run that is made up ends before the next night begins; else it was given its time by a wrong clock."""
    return following is None or float(facts["not_after"]) <= following.opens
