"""How are a dataset, a training curve and a judgement drawn? Blocks of lines that a job's page and the demo share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reactord.cli.text import NOTHING, cells, chart, clip, number, pad, safe, table

CURVE_HEIGHT = 4
#: the five that every judgement has, then what explains them
SCORE_NAMES = {
    "preference_accuracy": "preference accuracy",
    "exact_answer_rate": "exact answer rate",
    "median_reply_tokens_simple": "median reply tokens, simple",
    "empty_replies": "empty replies",
    "neutral_perplexity": "neutral perplexity",
}
MORE_SCORES = {
    "looping_replies": "looping replies",
    "unfinished_replies": "unfinished replies",
    "pairs": "held-out pairs",
    "prompts": "held-out prompts",
    "verifiable": "of them verifiable",
    "simple_prompts": "of them simple",
}


def counts(values: Mapping[str, Any], width: int) -> list[str]:
    """Named numbers, one a line; a group of numbers on the line of its name, largest first."""
    lines = []
    names = max((cells(safe(name)) for name in values), default=0)
    for name, value in values.items():
        head = pad(safe(name.replace("_", " ")), names) + "  "
        if isinstance(value, Mapping):
            order = sorted(value.items(), key=lambda item: -item[1] if isinstance(item[1], int | float) else 0)
            items = [f"{safe(key)} {_value(item)}" for key, item in order]
            lines += wrapped(head, items or ["none"], width)
        else:
            lines.append(head + _value(value))
    return lines


def dataset(manifest: Mapping[str, Any], width: int) -> list[str]:
    """What a dataset is made of: examples by evidence, what was not paired and why, and how long the answers are."""
    found = dict(manifest.get("counts") or {})
    if isinstance(manifest.get("not_paired"), Mapping):
        found["not_paired"] = manifest["not_paired"]
    lines = counts(found, width)
    bias = manifest.get("length_bias")
    if not isinstance(bias, Mapping) or not bias:
        return lines
    columns = ("pairs", "mean_chosen", "mean_rejected", "chosen_shorter", "cohens_d")
    rows = [[kind, *(number(of.get(c)) for c in columns)] for kind, of in bias.items() if isinstance(of, Mapping)]
    header = ["length in tokens", "pairs", "chosen", "rejected", "chosen is shorter", "Cohen's d"]
    return [*lines, *table(header, rows, width)]


def _value(value: object) -> str:
    """A number, or what else there is, in few words."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value, 3)
    return NOTHING if value is None else safe(value)


def wrapped(head: str, items: Sequence[str], width: int) -> list[str]:
    """`items` behind `head`, separated by dots, on as many lines as they need."""
    indent = " " * min(cells(head), width // 2)
    lines, line = [], head
    for i, item in enumerate(items):
        if i and cells(line) + 3 + cells(item) > width:
            lines.append(line)
            line = indent + item
        else:
            line += f" · {item}" if i else item
    return [*lines, line]


def curve(points: Sequence[Sequence[Any]], width: int) -> list[str]:
    """[[step, loss, reward accuracy or None], ...] as blocks, with the first, last and extreme values in words."""
    losses = [float(p[1]) for p in points if _is_number(p[1])]
    if not losses:
        return ["no step was reported"]
    columns = min(60, max(8, width - 12))
    blocks = chart(losses, columns, CURVE_HEIGHT)
    lines = [f"loss over {len(points)} steps"]
    labels = [f"{max(losses):8.4f}", *[""] * (CURVE_HEIGHT - 2), f"{min(losses):8.4f}"]
    lines += [f"{label:>8} ┤{row}" for label, row in zip(labels, blocks, strict=True)]
    lines.append(f"{'':8} └ step {points[0][0]}: {losses[0]:.4f}, step {points[-1][0]}: {losses[-1]:.4f}")
    accuracies = [float(p[2]) for p in points if len(p) > 2 and _is_number(p[2])]
    if accuracies:
        (row,) = chart(accuracies, columns, bounds=(0.0, 1.0))
        lines.append(f"{'accuracy':>8} ┤{row}")
        lines.append(f"{'':8} └ of rewards: {accuracies[0]:.2f} at first, {accuracies[-1]:.2f} at last, of 1")
    return [clip(line, width) for line in lines]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def judgement(columns: Mapping[str, object], width: int) -> list[str]:
    """One row a measure, one column a model ({"base": {...}, "candidate": {...}}); `-` where nothing was measured."""
    found = {name: scores if isinstance(scores, Mapping) else {} for name, scores in columns.items()}
    more = {key: name for key, name in MORE_SCORES.items() if any(key in scores for scores in found.values())}
    rows = [
        [name, *(number(scores.get(key), 3) for scores in found.values())] for key, name in (SCORE_NAMES | more).items()
    ]
    return table(["", *found], rows, width)
