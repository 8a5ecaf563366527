"""Which base and which examples does this job train on? Makes sure of the base, then builds the dataset version.

Without a conversion to do, this stage imports no torch: it needs the tokenizer and the ledger.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reactord import durable
from reactord.data.dataset import DatasetRecipe, DatasetVersion, LostParent, build
from reactord.errors import NothingToLearn
from reactord.ledger.reading import pending
from reactord.worker import recipes
from reactord.worker.base import Base, ensure_base
from reactord.worker.context import Context, Facts, peak_rss_mb
from reactord.worker.examples import Example, load

SCRATCH = ".building-"
#: what a chat template adds to a question and an answer, roughly; only the memory prediction uses it
TEMPLATE_TOKENS = 48


def run(context: Context) -> Facts:
    """Publish datasets/<sha256>/ and link it. Raises NothingToLearn, too, when there is nothing to judge by."""
    spec, work = context.spec, context.work
    recipe = recipes.load(spec.recipe)  # a wrong name is said before minutes of work
    base = ensure_base(
        context.home, spec.base, spec.threads, lambda text, done, total: context.done(text, done, total, "steps")
    )
    tokenize = _tokenizer(base)
    version = _publish(context, tokenize)
    counts: dict[str, Any] = version.manifest["counts"]
    context.note(f"{counts['train']} examples to learn from, {counts['holdout']} held out")
    _refuse_empty(version)
    directory = context.home.datasets / version.sha256
    durable.point_link(work.dataset, os.path.relpath(directory, work.root))
    examples = load(work.dataset / "train.jsonl")
    _refuse_unusable(recipe, spec.recipe, examples)
    sizes = recipes.Sizes.of(base.hf, spec.hyper.lora_rank)
    longest = max(_length(example, tokenize, both=recipe.needs_rejected()) for example in examples)
    return {
        "dataset": version.sha256,
        "base": base.root.name,
        "counts": counts,
        "not_paired": version.manifest["not_paired"],
        "length_bias": version.manifest["length_bias"],
        "longest_example_tokens": longest,
        "predicted_train_peak_mb": recipe.peak_bytes(sizes, spec.hyper, longest) // 1024**2,
        "peak_rss_mb": peak_rss_mb(),
    }


def _tokenizer(base: Base) -> Any:  # noqa: ANN401 - str -> list[int]
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(base.tokenizer_json))

    def tokenize(text: str) -> Sequence[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    return tokenize


def _publish(context: Context, tokenize: Any) -> DatasetVersion:  # noqa: ANN401 - str -> list[int]
    datasets = context.home.datasets
    datasets.mkdir(parents=True, exist_ok=True, mode=0o700)
    parent = context.spec.parent_dataset
    try:
        return _build(context, tokenize, datasets / parent if parent else None)
    except LostParent as lost:  # its records were decided on long ago; what it would carry on is gone either way
        context.note(str(lost).replace("train without it", "training without it"))
        return _build(context, tokenize, None)


def _build(context: Context, tokenize: Any, parent: Path | None) -> DatasetVersion:  # noqa: ANN401 - str -> list[int]
    spec, datasets = context.spec, context.home.datasets
    scratch = datasets / f"{SCRATCH}{spec.job_id}"
    durable.remove_tree(scratch)
    scratch.mkdir(mode=0o700)
    try:
        version = build(
            pending(context.home, spec.upto),
            DatasetRecipe(name="dpo" if recipes.load(spec.recipe).needs_rejected() else "sft", seed=spec.seed),
            upto=spec.upto,
            as_of=spec.as_of,
            parent=parent,
            tokenize=tokenize,
            into=scratch,
        )
        durable.publish_directory(scratch, datasets / version.sha256)
    finally:
        durable.remove_tree(scratch)
    return version


def _refuse_empty(version: DatasetVersion) -> None:
    counts, why = version.manifest["counts"], version.manifest["not_paired"]
    seen = f"{counts['records']} records, rejected {counts['records_rejected'] or 'none'}, not paired {why or 'none'}"
    if not counts["train"]:
        raise NothingToLearn(f"no example to learn from ({seen}); wait for more interactions, corrections or ratings")
    if not counts["holdout"]:
        raise NothingToLearn(f"only {counts['train']} examples, none held out ({seen}); wait for more interactions")


def _refuse_unusable(recipe: recipes.Recipe, name: str, examples: Sequence[Example]) -> None:
    reasons = Counter(reason for example in examples if (reason := recipe.unusable(example)))
    if reasons.total() == len(examples):
        raise NothingToLearn(f"none of {len(examples)} examples suits {name} ({dict(reasons)}); wait for more of them")


def _length(example: Example, tokenize: Any, *, both: bool) -> int:  # noqa: ANN401 - str -> list[int]
    answers = max(len(tokenize(answer or "")) for answer in (example.chosen, example.rejected if both else None))
    return len(tokenize(example.prompt)) + len(tokenize(example.system or "")) + answers + TEMPLATE_TOKENS
