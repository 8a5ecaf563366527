"""How do records become one dataset version on disk?

    records -> experiences -> groups -> verdicts -> examples -> split -> train.jsonl, holdout.jsonl, manifest.json

The same records, recipe and parent give the same bytes; the version is named by the sha256 of its manifest, which
holds the hashes of the files. The examples of the parent are carried on, so that a new model does not forget, and stay
on the side they were on. Every record gets exactly one fate: train, holdout, rejected with a reason, or waiting for a
counterpart until it is `window_days` old.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from reactord.data import clean, lengths, split
from reactord.data.example import Example, from_line
from reactord.data.experience import Experience, Refused, normalise
from reactord.data.groups import gather
from reactord.data.pairs import Verdict, judge
from reactord.data.query import read
from reactord.data.selection import Selection, select
from reactord.errors import BadInput, Conservation
from reactord.ledger.reading import StoredRecord

SCHEMA = 1
MANIFEST = "manifest.json"
SIDES: tuple[split.Side, ...] = ("train", "holdout")
DAY_S = 86_400

Tokenize = Callable[[str], Sequence[int]]


class DatasetRecipe(BaseModel):
    """What to build. Part of the manifest, so another recipe is another version."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Literal["dpo", "sft"] = "dpo"
    holdout_share: float = Field(0.15, ge=0, le=0.5)
    window_days: float = Field(7, gt=0, le=3650)
    max_pairs: int = Field(20_000, ge=1, le=10_000_000)
    seed: int = 7


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """A complete version in `directory`; publish it under the name `sha256`."""

    sha256: str
    directory: Path
    manifest: dict[str, Any]


class LostParent(BadInput):
    """The version that this one would go on from is gone, or not what it was."""


@dataclass(slots=True)
class _Parent:
    """The version this one goes on from."""

    shas: list[str] = field(default_factory=list)
    examples: dict[split.Side, list[Example]] = field(default_factory=lambda: {side: [] for side in SIDES})


def build(  # noqa: PLR0913 - a version depends on exactly these
    records: Iterable[StoredRecord],
    recipe: DatasetRecipe,
    *,
    upto: int,
    as_of: float,
    parent: Path | None,
    tokenize: Tokenize,
    into: Path,
) -> DatasetVersion:
    """Build one version in the existing, empty directory `into`.

    `records` are the pending records up to ledger position `upto`, in any order; `as_of` (epoch seconds) is "now" for
    the pairing window; `parent` is a published version's directory. Raises LostParent for a parent that does not verify
    and Conservation if a record got no fate or two.
    """
    ordered = sorted(records, key=lambda record: (record.seq, record.identity))
    tokens = cache(lambda text: tuple(tokenize(text)))
    known = [normalise(record) for record in ordered]
    gathered = gather([item for item in known if isinstance(item, Experience)])
    verdicts = judge(gathered.groups, lambda text: len(tokens(text)))
    selection = select(verdicts, recipe.name, tokens)
    before = _load_parent(parent)
    sides, carried_dropped = _place(selection, before, recipe)
    reasons = {r.identity: f"unpaired_after_{recipe.window_days:g}_days" for r in ordered if _late(r, recipe, as_of)}
    reasons |= {item.identity: item.reason for item in known if isinstance(item, Refused)}
    fates = _fates(ordered, gathered.follows, sides, reasons | selection.reasons)
    used = _used(ordered, fates)
    manifest = {
        "schema": SCHEMA,
        "recipe": recipe.model_dump(),
        "parents": before.shas,
        "upto": upto,
        "as_of": as_of,
        "counts": _counts(len(ordered), sides, fates, carried_dropped),
        "not_paired": _not_paired(verdicts, selection),
        "length_bias": lengths.bias([*sides["train"], *sides["holdout"]], lambda text: len(tokens(text))),
        "date_range": _date_range(used),
        "sources": _tally(record.format for record in used),
        "fates": fates,
    }
    return _write(manifest, sides, into)


def read_examples(path: Path) -> list[Example]:
    """The examples of a train.jsonl or holdout.jsonl. Raises BadInput when a line is not one."""
    try:
        return [from_line(line) for line in path.read_bytes().splitlines()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{path} is not a list of examples ({error}); build the dataset again: reactord train"
        ) from error


def _load_parent(parent: Path | None) -> _Parent:
    """Read and verify a published version: the manifest against its name, each file against the manifest."""
    if parent is None:
        return _Parent()
    try:
        raw = (parent / MANIFEST).read_bytes()
        manifest = orjson.loads(raw)
        good = hashlib.sha256(raw).hexdigest() == parent.name and all(
            hashlib.sha256((parent / name).read_bytes()).hexdigest() == facts["sha256"]
            for name, facts in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LostParent(f"the parent dataset {parent} cannot be read ({error}); train without it") from error
    if not good:
        raise LostParent(f"the parent dataset {parent} was changed after it was made; train without it")
    return _Parent([parent.name], {side: read_examples(parent / f"{side}.jsonl") for side in SIDES})


def _question(example: Example) -> tuple[str, str]:
    return example.system or "", read(example.prompt).key


def _place(
    selection: Selection, before: _Parent, recipe: DatasetRecipe
) -> tuple[dict[split.Side, list[Example]], Counter[str]]:
    """Cluster, cap, split and bound the new examples, then carry the parent's on; marks what it drops."""
    dropped: Counter[str] = Counter()
    new = selection.examples
    carried = {side: _carried(before.examples[side], new, recipe, dropped) for side in SIDES}
    name = split.clusters(read(e.prompt).key for e in [*new, *carried["train"], *carried["holdout"]])

    def named(examples: Iterable[Example]) -> list[Example]:
        return [replace(e, cluster=name[read(e.prompt).key]) for e in examples]

    new, over = clean.capped(named(new), lambda e: e.cluster, clean.MAX_PER_CLUSTER)
    selection.drop(over, "cluster_cap")
    carried = {side: named(carried[side]) for side in SIDES}
    trained = {e.cluster for e in carried["train"]}
    # two clusters of the parent have grown together: what has a twin in training can no longer be a test
    twins = [e for e in carried["holdout"] if e.cluster in trained]
    dropped["twin_in_train"] += len(twins)
    carried["holdout"] = [e for e in carried["holdout"] if e.cluster not in trained]
    inherited: dict[str, split.Side] = {e.cluster: side for side in SIDES for e in carried[side]}
    assigned = split.assign(new, inherited, holdout_share=recipe.holdout_share, seed=recipe.seed)
    held = round(recipe.max_pairs * recipe.holdout_share)
    rooms: dict[split.Side, int] = {"train": recipe.max_pairs - held, "holdout": held}
    sides: dict[split.Side, list[Example]] = {}
    for side, room in rooms.items():
        fresh, over = _newest([e for e in new if assigned[e.cluster] == side], room)
        selection.drop(over, "dataset_full")
        kept, over = _newest(carried[side], room - len(fresh))
        dropped["dataset_full"] += len(over)
        sides[side] = sorted([*fresh, *kept], key=Example.line)
    if split.overlap(sides["train"], sides["holdout"]):
        raise Conservation("a held-out prompt has a near-duplicate in training; please report this: it is a bug")
    return sides, dropped


def _carried(
    examples: list[Example], new: Sequence[Example], recipe: DatasetRecipe, dropped: Counter[str]
) -> list[Example]:
    """The parent's examples that go on: in this recipe's form, and without questions that have newer answers."""
    if recipe.name == "sft":
        answered = {(*_question(e), e.chosen): e for e in examples}
        usable = [replace(e, rejected=None, rejected_model=None) for e in answered.values()]
    else:
        usable = [e for e in examples if e.rejected is not None]
        dropped["no_rejected"] += len(examples) - len(usable)
    newer = {_question(e) for e in new}
    kept = [e for e in usable if _question(e) not in newer]
    dropped["newer_answer"] += len(usable) - len(kept)
    return kept


def _newest(examples: list[Example], room: int) -> tuple[list[Example], list[Example]]:
    order = sorted(examples, key=lambda e: (-e.at, e.line()))
    return order[: max(room, 0)], order[max(room, 0) :]


def _late(record: StoredRecord, recipe: DatasetRecipe, as_of: float) -> bool:
    return as_of - record.arrived_at > recipe.window_days * DAY_S


def _fates(
    ordered: Sequence[StoredRecord],
    follows: Mapping[str, str],
    sides: Mapping[split.Side, Sequence[Example]],
    reasons: Mapping[str, str],
) -> dict[str, Any]:
    """One fate for each record: being used beats every reason, a reason beats waiting; feedback shares its answer's."""
    mine = {record.identity for record in ordered}
    side_of = {record: side for side in SIDES for e in sides[side] for record in e.records if record in mine}
    fates: dict[str, Any] = {"train": [], "holdout": [], "rejected": {}, "waiting": []}
    for record in ordered:
        subject = follows.get(record.identity, record.identity)
        reason = reasons.get(subject) or reasons.get(record.identity)
        if subject in side_of:
            fates[side_of[subject]].append(record.identity)
        elif reason:
            fates["rejected"].setdefault(reason, []).append(record.identity)
        else:
            fates["waiting"].append(record.identity)
    decided = [
        *fates["train"],
        *fates["holdout"],
        *fates["waiting"],
        *(i for ids in fates["rejected"].values() for i in ids),
    ]
    if len(decided) != len(ordered) or set(decided) != mine or len(mine) != len(ordered):
        raise Conservation(
            f"{len(ordered)} records were read, {len(set(decided))} accounted for; the dataset was not written. "
            "Run `reactord ledger` and report this: it is a bug"
        )
    return fates


def _counts(
    records: int, sides: Mapping[split.Side, Sequence[Example]], fates: Mapping[str, Any], dropped: Counter[str]
) -> dict[str, Any]:
    examples = [*sides["train"], *sides["holdout"]]
    return {
        "records": records,
        "records_train": len(fates["train"]),
        "records_holdout": len(fates["holdout"]),
        "records_rejected": {reason: len(ids) for reason, ids in sorted(fates["rejected"].items())},
        "records_waiting": len(fates["waiting"]),
        "train": len(sides["train"]),
        "holdout": len(sides["holdout"]),
        "by_evidence": _tally(e.evidence[0].kind for e in examples if e.evidence),
        "by_task_type": _tally(e.task_type for e in examples),
        "holdout_by_task_type": _tally(e.task_type for e in sides["holdout"]),
        "carried_dropped": _tally(dropped.elements()),
    }


def _not_paired(verdicts: Sequence[Verdict], selection: Selection) -> dict[str, int]:
    """Pairs (and lone answers) that did not become examples, by reason."""
    counts = Counter(selection.dropped)
    for verdict in verdicts:
        counts["conflicting_evidence"] += len(verdict.conflicts)
        counts["no_evidence"] += len(verdict.undecided)
        counts["winner_known_wrong"] += len(verdict.vetoed)
        counts["alone"] += len(verdict.group.answers) == 1
    return _tally(counts.elements())


def _used(ordered: Sequence[StoredRecord], fates: Mapping[str, Any]) -> list[StoredRecord]:
    used = {*fates["train"], *fates["holdout"]}
    return [record for record in ordered if record.identity in used]


def _date_range(used: Sequence[StoredRecord]) -> list[str] | None:
    """When the first and the last of the used records arrived, ISO 8601 in UTC; None when all examples are carried."""
    at = [record.arrived_at for record in used]
    return [datetime.fromtimestamp(t, UTC).isoformat() for t in (min(at), max(at))] if at else None


def _tally(items: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(items).items()))


def _write(manifest: dict[str, Any], sides: Mapping[split.Side, Sequence[Example]], into: Path) -> DatasetVersion:
    files = {}
    for side in SIDES:
        data = b"".join(example.line() for example in sides[side])
        (into / f"{side}.jsonl").write_bytes(data)
        files[f"{side}.jsonl"] = {"sha256": hashlib.sha256(data).hexdigest(), "lines": len(sides[side])}
    manifest = {**manifest, "files": files}
    raw = orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)
    (into / MANIFEST).write_bytes(raw)
    return DatasetVersion(hashlib.sha256(raw).hexdigest(), into, manifest)
