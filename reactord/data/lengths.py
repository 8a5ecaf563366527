"""Are the chosen answers shorter or longer than the rejected ones?

A preference set that always prefers the longer answer teaches length, not quality (direct-preference-optimization#35),
so every dataset version carries these numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, variance
from typing import TypedDict

from reactord.data.example import Example


class Bias(TypedDict):
    """Lengths in tokens; `cohens_d` is null where fewer than two pairs, or no spread, leave it undefined."""

    pairs: int
    mean_chosen: float | None
    mean_rejected: float | None
    cohens_d: float | None
    chosen_shorter: float | None


def bias(examples: Iterable[Example], count: Callable[[str], int]) -> dict[str, Bias]:
    """Length bias over all pairs ("all") and per kind of their first evidence; without `rejected` there is no pair."""
    lengths: dict[str, list[tuple[int, int]]] = {"all": []}
    for example in examples:
        if example.rejected is not None:
            pair = (count(example.chosen), count(example.rejected))
            lengths["all"].append(pair)
            lengths.setdefault(example.evidence[0].kind, []).append(pair)
    return {kind: _of(pairs) for kind, pairs in sorted(lengths.items())}


def _of(pairs: Sequence[tuple[int, int]]) -> Bias:
    if not pairs:
        return Bias(pairs=0, mean_chosen=None, mean_rejected=None, cohens_d=None, chosen_shorter=None)
    chosen, rejected = [a for a, _ in pairs], [b for _, b in pairs]
    return Bias(
        pairs=len(pairs),
        mean_chosen=round(fmean(chosen), 3),
        mean_rejected=round(fmean(rejected), 3),
        cohens_d=_cohens_d(chosen, rejected),
        chosen_shorter=round(sum(a < b for a, b in pairs) / len(pairs), 3),
    )


def _cohens_d(chosen: Sequence[int], rejected: Sequence[int]) -> float | None:
    """(mean chosen - mean rejected) / pooled standard deviation; negative when the chosen are shorter."""
    if len(chosen) < 2:
        return None
    pooled = math.sqrt((variance(chosen) + variance(rejected)) / 2)
    return round((fmean(chosen) - fmean(rejected)) / pooled, 3) if pooled else None
