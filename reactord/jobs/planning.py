"""How much memory will this job take, and in which smaller forms could it run?

A plan is a set of numbers to train with and the peak that is foretold for it: the coefficients of `reactord.memory`,
corrected by what earlier runs took. Pure, but for the base's config.json and the ledger that are read once.

Smaller forms, in the order in which they are tried:

    only the choice of examples    while nobody knows how long they are; the rest is reserved for then
    smaller micro-batch            nothing changes but the time: the step holds the same pairs
    then one process               the same
    then shorter examples          what is longer is cut; never below the settings' REACTOR_MIN_LENGTH_TOKENS
    then a smaller adapter         learns less; never below REACTOR_MIN_LORA_RANK

A job in which every weight learns is never made one that trains an adapter: that is another result, to be asked for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reactord import memory
from reactord.jobs.correction import factor
from reactord.jobspec import Hyper
from reactord.ledger import peaks
from reactord.ledger.peaks import Kind, Peak
from reactord.memory import Sizes
from reactord.workdir import STAGES, Stage
from reactord.worker import recipes

GIB = 1024**3
#: what earlier runs of each stage took, newest first
History = Mapping[Stage, Sequence[Peak]]
#: what a job is assumed to need before its base has been converted and can be planned for
UNKNOWN_BASE_BYTES = 4 * GIB


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be run: all that a prediction depends on."""

    recipe: str
    base_hf: Path
    hyper: Hyper
    longest_tokens: int | None = None  # of the dataset, once there is one
    ended: frozenset[Stage] = frozenset()  # stages whose outcome is there


@dataclass(frozen=True, slots=True)
class Plan:
    """Numbers to train with, and what each stage will take at its peak with them."""

    hyper: Hyper
    stages: tuple[tuple[Stage, int], ...]
    lossless: bool = True  # the result is that of the plan as it was asked for
    known: bool = True  # False: the base was never converted, the peak is a guess

    @property
    def peak_bytes(self) -> int:
        return max((size for _, size in self.stages), default=0)

    def differs_from(self, asked: Hyper) -> str:
        """What is smaller, in words; where no number is, it is the part of the work."""
        names = {
            "pairs_per_batch": "pairs a micro-batch (a step still holds as many)",
            "max_length_tokens": "tokens an example",
            "lora_rank": "as the adapter's rank",
            "processes": "process",
        }
        changed = [(getattr(self.hyper, name), getattr(asked, name), text) for name, text in names.items()]
        words = ", ".join(f"{now} {text} instead of {was}" for now, was, text in changed if now != was)
        return words or "only the examples for now, the rest when their length is known"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a plan may shrink."""

    min_length_tokens: int
    min_lora_rank: int
    only_batch: bool = False  # there is a checkpoint: the adapter and the examples stay as they are


def predicted(work: Work) -> dict[Stage, int]:
    """Peak of each stage, uncorrected. Raises FileNotFoundError while the base was never converted."""
    sizes = Sizes.of(work.base_hf, work.hyper.lora_rank)
    longest = work.hyper.max_length_tokens if work.longest_tokens is None else work.longest_tokens
    one = recipes.load(work.recipe).peak_bytes(sizes, work.hyper, longest)
    return {
        "prepare": memory.prepare_peak_bytes(sizes),
        "train": memory.together_bytes(one, work.hyper.ranks),
        "export": memory.export_peak_bytes(sizes),
        "judge": memory.judge_peak_bytes(sizes, longest),
    }


def kind_of(stage: Stage, work: Work) -> Kind:
    """What runs of this stage are compared with."""
    method = f"train/{work.recipe}/{'full' if work.hyper.full else 'lora'}" if stage == "train" else stage
    return Kind(memory.platform_name(), method, work.base_hf.parent.name)


def history_of(db: sqlite3.Connection | None, work: Work) -> History:
    """What the ledger knows of each stage."""
    return {stage: peaks.recent(db, kind_of(stage, work)) if db else () for stage in STAGES}


def factors_of(work: Work, history: History) -> dict[Stage, float]:
    """By how much each stage's prediction is corrected; empty while the base was never converted."""
    try:
        return {stage: factor(size, history[stage]) for stage, size in predicted(work).items()}
    except FileNotFoundError:
        return {}


def plan(work: Work, history: History) -> Plan:
    """What the stages that are left will take."""
    left = [stage for stage in STAGES if stage not in work.ended]
    try:
        found = predicted(work)
    except FileNotFoundError:
        return Plan(work.hyper, tuple((stage, UNKNOWN_BASE_BYTES) for stage in left), known=False)
    corrected = {stage: int(size * factor(size, history[stage])) for stage, size in found.items()}
    return Plan(work.hyper, tuple((stage, corrected[stage]) for stage in left))


def plans(work: Work, history: History, bounds: Bounds) -> tuple[Plan, ...]:
    """The plan as it was asked for, then the smaller forms, each with a lower peak than the one before."""
    asked = plan(work, history)
    found = [asked]
    if not asked.known or "train" in work.ended:
        return (asked,)
    if work.longest_tokens is None and "prepare" not in work.ended:  # nobody shrinks for examples that may be short
        return asked, Plan(work.hyper, tuple(one for one in asked.stages if one[0] == "prepare"))
    for hyper, lossless in _smaller(work.hyper, bounds):
        smaller = plan(Work(work.recipe, work.base_hf, hyper, work.longest_tokens, work.ended), history)
        if smaller.peak_bytes < found[-1].peak_bytes:
            found.append(Plan(hyper, smaller.stages, lossless=lossless))
    return tuple(found)


def _smaller(hyper: Hyper, bounds: Bounds) -> Collection[tuple[Hyper, bool]]:
    """(numbers, whether the result is the same), each smaller than the one before."""
    share = hyper.pairs_per_step // hyper.ranks
    pieces = [size for size in range(hyper.batch - 1, 0, -1) if share % size == 0]  # the worker's are all equal
    found = [(hyper.model_copy(update={"pairs_per_batch": size}), True) for size in pieces]
    if bounds.only_batch:
        return found
    if hyper.ranks > 1:
        found.append(((found[-1][0] if found else hyper).model_copy(update={"processes": 1}), True))
    last = found[-1][0] if found else hyper
    for name, least in (("max_length_tokens", bounds.min_length_tokens), ("lora_rank", bounds.min_lora_rank)):
        while getattr(last, name) > least:
            last = last.model_copy(update={name: max(least, getattr(last, name) // 2)})
            found.append((last, False))
    return found
