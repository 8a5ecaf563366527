"""Who is held out?

Never single examples, always whole clusters of near-duplicate prompts, so that nothing held out has a twin in training
(OpenRLHF#1089). A cluster that an earlier dataset put on one side stays there: what a model was trained on can no
longer test it. Within a task type the clusters with the smallest hashes are held out, so a re-run decides alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from reactord.data.example import Example
from reactord.data.query import read
from reactord.kernels.minhash import near_duplicates

Side = Literal["train", "holdout"]
#: a task type with fewer free clusters is too small to spare one
MIN_CLUSTERS = 4
THRESHOLD = 0.7


def clusters(keys: Iterable[str]) -> dict[str, str]:
    """Canonical prompt -> name of its near-duplicate cluster (a hash of the cluster's first prompt in order)."""
    ordered = sorted(set(keys))
    labels = near_duplicates(ordered, threshold=THRESHOLD)
    return {key: _digest(ordered[label])[:16] for key, label in zip(ordered, labels, strict=True)}


def assign(
    examples: Sequence[Example], inherited: Mapping[str, Side], *, holdout_share: float, seed: int
) -> dict[str, Side]:
    """The side of each cluster in `examples`. `inherited` clusters keep theirs.

    Per task type the held-out clusters cover at least `holdout_share` of the free examples, and at least one cluster
    where there are MIN_CLUSTERS. The share counts examples, so one large cluster does not become the whole test.
    """
    sides: dict[str, Side] = dict(inherited)
    sizes: dict[str, dict[str, int]] = {}
    home: dict[str, str] = {}
    for example in sorted(examples, key=lambda e: (e.cluster, e.task_type)):
        if example.cluster not in inherited:
            stratum = sizes.setdefault(home.setdefault(example.cluster, example.task_type), {})
            stratum[example.cluster] = stratum.get(example.cluster, 0) + 1
    for stratum in sizes.values():
        wanted = holdout_share * sum(stratum.values()) if len(stratum) >= MIN_CLUSTERS else 0.0
        held = 0
        for cluster in sorted(stratum, key=lambda name: _digest(f"{seed}:{name}")):
            take = held < wanted
            sides[cluster] = "holdout" if take else "train"
            held += stratum[cluster] if take else 0
    return sides


def overlap(train: Iterable[Example], holdout: Iterable[Example]) -> int:
    """How many held-out examples have a near-duplicate prompt in training: computed anew, and must be 0."""
    seen, tested = [read(e.prompt).key for e in train], [read(e.prompt).key for e in holdout]
    names = clusters([*seen, *tested])
    trained = {names[key] for key in seen}
    return sum(names[key] in trained for key in tested)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
