"""Which examples does a recipe take from the verdicts, and why not the others?

`dpo` takes, for each question, its best answer against every answer that it beats. `sft` takes good answers alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from reactord.data import clean
from reactord.data.example import Evidence, Example
from reactord.data.groups import Answer
from reactord.data.pairs import Preference, Verdict

GOOD_RATING = 4


@dataclass(slots=True)
class Selection:
    """The examples (no cluster yet), the reasons of records that are in none, and the dropped pairs counted."""

    examples: list[Example] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)

    def drop(self, examples: Iterable[Example], reason: str) -> None:
        """Take examples out again (they may carry a cluster by now) and remember why."""
        for example in examples:
            self.dropped[reason] += 1
            self.refuse(example.records, reason)

    def refuse(self, records: Iterable[str], reason: str) -> None:
        for record in records:
            self.reasons.setdefault(record, reason)


def select(
    verdicts: Sequence[Verdict], recipe: Literal["dpo", "sft"], tokens: Callable[[str], Sequence[int]]
) -> Selection:
    """Turn verdicts into examples. `tokens` is the tokenizer of the model that will be trained."""
    selection = Selection()
    for verdict in verdicts:
        selection.refuse(verdict.group.left_out, "answers_per_query")
        found = _pairs(verdict) if recipe == "dpo" else _good(verdict, selection)
        kept = []
        for example in found:
            reason = clean.emptiness(example, tokens)
            if reason:
                selection.drop([example], reason)
            else:
                kept.append(example)
        kept, over = clean.capped(kept, lambda _: None, clean.MAX_PER_QUERY)
        selection.drop(over, "query_cap")
        selection.examples += kept
        for a, b in verdict.conflicts:
            selection.refuse((*a.records, *b.records), "conflicting_evidence")
    return selection


def _pairs(verdict: Verdict) -> list[Example]:
    best = verdict.best()
    if not best:
        return []
    return [_example(verdict, best, preference) for preference in verdict.beats if preference.winner is best]


def _good(verdict: Verdict, selection: Selection) -> list[Example]:
    """The best answer, or where answers were never compared the only one, if it is good enough alone."""
    best = verdict.best()
    if best:
        reasons = next(preference.evidence for preference in verdict.beats if preference.winner is best)
    else:
        candidates = [(a, reasons) for a in verdict.group.answers if (reasons := _merits(a))]
        if len(verdict.group.answers) > 1:  # they disagree, so "nobody complained" is not enough
            candidates = [(a, reasons) for a, reasons in candidates if a.right]
        if not candidates or verdict.conflicts:
            return []
        best, reasons = min(candidates, key=lambda item: (len(item[0].text), item[0].text))
    for other in verdict.group.answers:
        if other is not best:
            selection.refuse(set(other.records) - set(best.records), "better_answer_used")
    return [_example(verdict, best, None, reasons)]


def _merits(answer: Answer) -> tuple[Evidence, ...]:
    """Why one answer is good by itself."""
    if answer.blamed:
        return ()
    if answer.right:
        return (Evidence("verifier", "the answer is right", 1.0),)
    if answer.outcome != "success":
        return ()
    if answer.rating is not None and answer.rating >= GOOD_RATING:
        return (Evidence("rating", f"{answer.rating:g} of 5, and a success", answer.rating / 5),)
    return (Evidence("outcome", "a success, and nothing speaks against it", 0.5),)


def _example(
    verdict: Verdict, chosen: Answer, preference: Preference | None, reasons: tuple[Evidence, ...] = ()
) -> Example:
    rejected = preference.loser if preference else None
    records = {*chosen.records, *(rejected.records if rejected else ())}
    return Example(
        prompt=chosen.prompt,
        system=verdict.group.system,
        chosen=chosen.text,
        rejected=rejected.text if rejected else None,
        evidence=preference.evidence if preference else reasons,
        records=tuple(sorted(records)),
        task_type=verdict.group.query.task_type,
        simple=verdict.group.simple,
        chosen_model=chosen.models[0],
        rejected_model=rejected.models[0] if rejected else None,
        cluster="",
        check=verdict.check(chosen),
        at=max(chosen.at, rejected.at if rejected else 0.0),
    )
