"""Which of two answers is better, and by what evidence?

    correction  a user replaced one by the other                                1.0
    verifier    one is right and the other wrong, checked                       1.0
    outcome     one ended in success, the other in failure                      0.8
    rating      users rated them at least two points apart                      0.25 a point
    feedback    one was blamed in words, the other praised or a success         0.7
    ready_made  another program chose between the two                           0.6
    brevity     the question is simple, both are right, one is at most half as long   0.5
    standing    one's model is usually better at this type of task (|z| >= 1.96)      up to 0.5

The weights order reasons; they are no probabilities. Evidence that points both ways makes no pair, and an answer known
to be wrong is never chosen. Standing speaks only where nothing else does, and learns nothing from brevity (to be terse
is not to be right) or from what another program chose. Each question teaches one answer: the best one
that nothing beats.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from reactord.data import standing
from reactord.data.example import Check, Evidence
from reactord.data.groups import CORRECTION, Answer, Group
from reactord.data.verify import check_of, essence, states

RATING_GAP = 2.0
BREVITY_RATIO = 2
MAX_FACT_WORDS = 5

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Preference:
    """The reasons why `winner` beats `loser`, the strongest first."""

    winner: Answer
    loser: Answer
    evidence: tuple[Evidence, ...]


@dataclass(slots=True)
class Verdict:
    """What the evidence says about one group."""

    group: Group
    beats: list[Preference] = field(default_factory=list)
    conflicts: list[tuple[Answer, Answer]] = field(default_factory=list)
    undecided: list[tuple[Answer, Answer]] = field(default_factory=list)
    vetoed: list[Preference] = field(default_factory=list)  # the evidence prefers an answer known to be wrong

    def best(self) -> Answer | None:
        """The answer that beats something and that nothing beats; of several, the one with the most evidence."""
        beaten = {preference.loser.text for preference in self.beats}
        weight: Counter[str] = Counter()
        for preference in self.beats:
            weight[preference.winner.text] += round(1000 * sum(item.weight for item in preference.evidence))
        unbeaten = [a for a in self.group.answers if a.text in weight and a.text not in beaten]
        return min(unbeaten, key=lambda a: (-weight[a.text], len(a.text), a.text), default=None)

    def check(self, answer: Answer) -> Check | None:
        """How a judge may score this question: its own check, or the fact that two answers agree on."""
        own = check_of(self.group.query)
        fact = essence(self.group.query.prompt, answer.text)
        if own or not self.group.simple or len(fact.split()) > MAX_FACT_WORDS:
            return own
        others = (other for other in self.group.answers if other is not answer and not other.blamed)
        if any(states(self.group.query.prompt, other.text, answer.text) for other in others):
            return {"kind": "contains", "expected": fact}
        return None


def judge(groups: Sequence[Group], count: Count) -> list[Verdict]:
    """Compare every two answers of every group. `count` gives the length of a text in tokens."""
    verdicts = [_compared(group, count) for group in groups]
    standings = {kind: standing.fit(wins) for kind, wins in _wins(verdicts).items()}
    for verdict in verdicts:
        fitted = standings.get(verdict.group.query.task_type)
        if fitted:
            _add_standing(verdict, fitted)
    return verdicts


def _compared(group: Group, count: Count) -> Verdict:
    verdict = Verdict(group)
    for a, b in combinations(group.answers, 2):
        for_a, for_b = evidence(group, a, b, count), evidence(group, b, a, count)
        if for_a and for_b:
            verdict.conflicts.append((a, b))
        elif for_a or for_b:
            _prefer(verdict, *((a, b, for_a) if for_a else (b, a, for_b)))
        else:
            verdict.undecided.append((a, b))
    return verdict


def _prefer(verdict: Verdict, winner: Answer, loser: Answer, reasons: list[Evidence]) -> None:
    preference = Preference(winner, loser, tuple(sorted(reasons, key=lambda item: (-item.weight, item.kind))))
    (verdict.vetoed if winner.known_wrong else verdict.beats).append(preference)


def evidence(group: Group, a: Answer, b: Answer, count: Count) -> list[Evidence]:
    """Every reason to prefer `a` to `b`, except standing."""
    found = []
    if b.text in a.corrects:
        found.append(Evidence("correction", "a user replaced the rejected answer by the chosen one", 1.0))
    if a.right and b.right is False:
        found.append(Evidence("verifier", f"{group.query.task_type}: the chosen answer is right, the other wrong", 1.0))
    if a.outcome == "success" and b.outcome == "failure":
        found.append(Evidence("outcome", "success against failure", 0.8))
    if a.rating is not None and b.rating is not None and a.rating - b.rating >= RATING_GAP:
        found.append(Evidence("rating", f"{a.rating:g} against {b.rating:g}", (a.rating - b.rating) / 4))
    found += [Evidence("ready_made", detail, 0.6) for text, detail in a.preferred_to if text == b.text][:1]
    # praise alone says nothing about the other answer
    if b.opinion < 0 <= a.opinion and (a.opinion > 0 or a.outcome == "success"):
        found.append(Evidence("feedback", "the rejected answer was blamed", 0.7))
    if group.simple and count(a.text) * BREVITY_RATIO <= count(b.text) and _both_right(group, a, b):
        found.append(Evidence("brevity", f"both are right: {count(a.text)} tokens against {count(b.text)}", 0.5))
    return found


def _both_right(group: Group, terse: Answer, verbose: Answer) -> bool:
    if terse.blamed or verbose.blamed:
        return False
    if terse.right and verbose.right:
        return True
    return (
        terse.right is None
        and verbose.right is None
        and group.query.task_type == "fact"
        and terse.outcome == verbose.outcome == "success"
        and states(group.query.prompt, verbose.text, terse.text)
    )


def _wins(verdicts: Sequence[Verdict]) -> dict[str, Counter[tuple[str, str]]]:
    """Per task type: how often a model was right where another was not; once per question and pair of models."""
    wins: dict[str, Counter[tuple[str, str]]] = {}
    for verdict in verdicts:
        pairs = {
            (winner, loser)
            for preference in verdict.beats
            if any(item.kind not in ("brevity", "ready_made") for item in preference.evidence)
            for winner in preference.winner.models
            for loser in preference.loser.models
            if winner != loser and CORRECTION not in (winner, loser)
        }
        wins.setdefault(verdict.group.query.task_type, Counter()).update(pairs)
    return wins


def _add_standing(verdict: Verdict, fitted: standing.Standing) -> None:
    left = []
    for a, b in verdict.undecided:
        known = fitted.compare(a.models[0], b.models[0]) if len(a.models) == len(b.models) == 1 else None
        # two answers that are both right, or say the same, differ in nothing a standing could know
        if not known or not known.decisive or (a.right and b.right) or _agree(verdict.group, a, b):
            left.append((a, b))
            continue
        winner, loser = (a, b) if known.z > 0 else (b, a)
        p = max(known.probability, 1 - known.probability)
        detail = f"{winner.models[0]} beats {loser.models[0]} with p={p:.2f} (z={abs(known.z):.1f})"
        _prefer(verdict, winner, loser, [Evidence("standing", detail, round(p - 0.5, 3))])
    verdict.undecided = left


def _agree(group: Group, a: Answer, b: Answer) -> bool:
    return states(group.query.prompt, a.text, b.text) or states(group.query.prompt, b.text, a.text)
