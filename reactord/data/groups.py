"""Which answers were given to the same question?

Experiences with the same canonical prompt and system text form a group; equal texts in it are one answer, with
everything that is known about it. Feedback that names an interaction by id is joined to that interaction's answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from reactord.data.experience import Experience, Outcome
from reactord.data.query import Query, read
from reactord.data.verify import verdict

#: the "model" of an answer that a user gave in a correction
CORRECTION = "correction"
MAX_ANSWERS = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """One text given to one question, by whom, and what is known about it."""

    text: str
    prompt: str  # as it was asked when this answer was first given
    models: tuple[str, ...]
    records: tuple[str, ...]
    at: float
    outcome: Outcome
    rating: float | None
    opinion: int
    right: bool | None  # what the verifier says; None: it cannot tell
    corrects: frozenset[str]  # the texts a user replaced by this one
    preferred_to: tuple[tuple[str, str], ...] = ()  # (a text that another program found worse, by what measure)

    @property
    def known_wrong(self) -> bool:
        """Such an answer is never chosen, whatever else speaks for it."""
        return self.right is False or self.outcome == "failure"

    @property
    def blamed(self) -> bool:
        """Somebody or something speaks against it."""
        return self.known_wrong or self.opinion < 0 or (self.rating is not None and self.rating < 3)


@dataclass(frozen=True, slots=True)
class Group:
    """The answers to one question, the most recent MAX_ANSWERS of them."""

    query: Query
    system: str | None
    simple: bool
    answers: tuple[Answer, ...]
    left_out: tuple[str, ...]  # records of answers beyond MAX_ANSWERS


@dataclass(frozen=True, slots=True)
class Gathered:
    """Groups in a fixed order; `follows`: feedback record -> the record it speaks about; `loose`: it is not here."""

    groups: tuple[Group, ...]
    follows: dict[str, str]
    loose: tuple[str, ...]


@dataclass(slots=True)
class _Draft:
    """An answer while its records are collected."""

    text: str
    prompt: str
    models: set[str] = field(default_factory=set)
    records: list[str] = field(default_factory=list)
    at: float = 0.0
    outcomes: set[Outcome] = field(default_factory=set)
    ratings: list[float] = field(default_factory=list)
    opinions: int = 0
    corrects: set[str] = field(default_factory=set)
    preferred_to: set[tuple[str, str]] = field(default_factory=set)

    def add(self, source: Experience, model: str) -> None:
        self.models.add(model)
        self.records.append(source.identity)
        self.at = max(self.at, source.arrived_at)

    def judged(self, source: Experience) -> None:
        self.opinions += source.opinion
        if source.rating is not None:
            self.ratings.append(source.rating)
        if source.kind == "feedback":  # how it ended, learned later
            self.outcomes.add(source.outcome)

    def answer(self, query: Query) -> Answer:
        outcome: Outcome = "unknown"
        if len(self.outcomes - {"unknown"}) == 1:  # success once and failure once says neither
            outcome = "failure" if "failure" in self.outcomes else "success"
        return Answer(
            text=self.text, prompt=self.prompt, models=tuple(sorted(self.models)), records=tuple(self.records),
            at=self.at, outcome=outcome, rating=fmean(self.ratings) if self.ratings else None,
            opinion=(self.opinions > 0) - (self.opinions < 0), right=verdict(query, self.text),
            corrects=frozenset(self.corrects), preferred_to=tuple(sorted(self.preferred_to)),
        )  # fmt: skip


def gather(experiences: Sequence[Experience]) -> Gathered:
    """Group the answers and corrections, and join the feedback. The order of the input is its order of arrival."""
    spoken = [e for e in experiences if e.kind != "feedback"]
    by_id = {e.event_id: e for e in reversed(spoken) if e.event_id and e.reply}
    drafts: dict[tuple[str, str], dict[str, _Draft]] = {}
    asked: dict[tuple[str, str], list[Experience]] = {}
    where: dict[str, _Draft] = {}  # record -> the answer it gave
    loose: list[str] = []
    for e in spoken:
        original = e.reply or (by_id[e.refers_to].reply if e.refers_to in by_id else "")
        if not original:
            loose.append(e.identity)
            continue
        place = (e.system or "", read(e.prompt).key)
        asked.setdefault(place, []).append(e)
        group = drafts.setdefault(place, {})
        where[e.identity] = _given(group, e, original)
        if e.kind == "correction" and e.corrected != original:
            better = group.setdefault(e.corrected, _Draft(e.corrected, e.prompt))
            better.add(e, CORRECTION)
            better.outcomes.add("success")
            better.corrects.add(original)
        elif e.kind == "pair":
            chosen = group.setdefault(e.corrected, _Draft(e.corrected, e.prompt))
            chosen.add(e, e.chosen_model)
            chosen.preferred_to.add((original, e.claim))
    follows: dict[str, str] = {}
    for e in experiences:
        if e.kind == "feedback":
            target = by_id.get(e.refers_to or "")
            if target and target.identity in where:
                follows[e.identity] = target.identity
                where[target.identity].judged(e)
            else:
                loose.append(e.identity)
    groups = tuple(_group(asked[place], drafts[place].values()) for place in sorted(drafts))
    return Gathered(groups, follows, tuple(loose))


def _given(group: dict[str, _Draft], e: Experience, text: str) -> _Draft:
    draft = group.setdefault(text, _Draft(text, e.prompt))
    draft.add(e, e.model)
    draft.judged(e)
    draft.outcomes.add(e.outcome if e.kind == "answer" else "unknown")
    return draft


def _group(asked: list[Experience], drafts: Iterable[_Draft]) -> Group:
    queries = [read(e.prompt) for e in asked]
    query = next((q for q in queries if q.simple), queries[0])
    newest_first = sorted(drafts, key=lambda d: (-d.at, d.text))
    kept = sorted(newest_first[:MAX_ANSWERS], key=lambda d: d.text)
    used = {record for draft in kept for record in draft.records}
    return Group(
        query=query,
        system=asked[0].system,
        simple=query.simple and not any(e.complex for e in asked),
        answers=tuple(draft.answer(query) for draft in kept),
        left_out=tuple(sorted({r for d in newest_first[MAX_ANSWERS:] for r in d.records} - used)),
    )
