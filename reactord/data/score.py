"""How much is there to learn from a record, in plain experiences?

    word               weight  when
    correction             10  a user wrote the better answer
    negative_feedback       5  blamed, or rated below 3
    error                   3  the answer failed
    novel_task_type         3  the first of its kind of task: no dataset held one, and none waits before it
    low_confidence          2  the model itself held it for less likely than not
    plain                   1  everything else that can be learned from
    near_duplicate        0.1  says almost what another one of the same word that waits before it says
    unusable                0  nothing can be learned from it; the dataset will say why

A record has one word, the heaviest that fits, unless it is a near-duplicate. Pure, and fed in order of arrival, so that
the same records have the same score however often the daemon was restarted between them.

What this does not do: compare with what earlier datasets hold, or with more than the MOST_TEXTS texts that came last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from reactord.data.experience import Experience, Refused, normalise
from reactord.data.query import read
from reactord.kernels.minhash import Signatures, signatures
from reactord.ledger.reading import StoredRecord

WEIGHTS: Final[Mapping[str, float]] = {
    "correction": 10,
    "negative_feedback": 5,
    "error": 3,
    "novel_task_type": 3,
    "low_confidence": 2,
    "plain": 1,
    "near_duplicate": 0.1,
    "unusable": 0,
}

LOW_CONFIDENCE = 0.5
LOW_RATING = 3
#: an estimate is enough for a weight: at 64 slots, texts that share 8 of 10 shingles are found out of 1000 times 999
PERMUTATIONS, BAND_ROWS = 64, 4
ALIKE = 0.75
MOST_TEXTS = 2048


def score(counts: Mapping[str, int]) -> float:
    """The weighted sum."""
    return round(sum(WEIGHTS[word] * n for word, n in counts.items()), 1)


def word_of(experience: Experience | Refused, known_tasks: set[str]) -> str:
    """The word of one experience on its own. A kind of task that is new becomes known."""
    if isinstance(experience, Refused):
        return "unusable"
    e = experience
    task = read(e.prompt).task_type if e.prompt else None
    novel = task is not None and task not in known_tasks
    if task:
        known_tasks.add(task)
    if e.kind == "correction":
        return "correction"
    if e.opinion < 0 or (e.rating is not None and e.rating < LOW_RATING):
        return "negative_feedback"
    if e.outcome == "failure":
        return "error"
    if novel:
        return "novel_task_type"
    return "low_confidence" if e.confidence is not None and e.confidence < LOW_CONFIDENCE else "plain"


@dataclass(slots=True)
class Texts:
    """The texts that came last, to tell near-duplicates by. A text is compared with those that share a band with it."""

    _signatures: dict[int, bytes] = field(default_factory=dict)
    _first: dict[int, int] = field(default_factory=dict)  # hash of a word and a band -> a text that has it
    _bands: dict[int, list[int]] = field(default_factory=dict)
    _next: int = 0

    def seen(self, word: str, signed: Signatures, i: int) -> bool:
        """Whether text i is a near-duplicate; if it is not, it is one to compare with from now on."""
        if signed.is_empty(i):
            return False
        row = signed.row(i)
        # a hash that two of them share costs a comparison, no more
        bands = [hash((word, n, signed.band(i, n, BAND_ROWS))) for n in range(PERMUTATIONS // BAND_ROWS)]
        for other in {self._first[band] for band in bands if band in self._first}:
            if Signatures(row + self._signatures[other], PERMUTATIONS).agreement(0, 1) >= ALIKE:
                return True
        self._signatures[self._next], self._bands[self._next] = row, bands
        for band in bands:
            self._first[band] = self._next
        self._next += 1
        if len(self._signatures) > MOST_TEXTS:
            self._forget(self._next - MOST_TEXTS - 1)
        return False

    def _forget(self, number: int) -> None:
        del self._signatures[number]
        for band in self._bands.pop(number):
            if self._first.get(band) == number:
                del self._first[band]


@dataclass(slots=True)
class Scorer:
    """Counts the words of records as they come."""

    known_tasks: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    _texts: Texts = field(default_factory=Texts)

    def add(self, records: Iterable[StoredRecord]) -> int:
        """Count some more; returns the place in the ledger of the last one, or 0."""
        taken = list(records)
        experiences = [normalise(record) for record in taken]
        signed = signatures([_text(e) for e in experiences], permutations=PERMUTATIONS)
        for i, experience in enumerate(experiences):
            word = word_of(experience, self.known_tasks)
            if word != "unusable" and self._texts.seen(word, signed, i):
                word = "near_duplicate"
            self.counts[word] += 1
        return taken[-1].seq if taken else 0


def _text(experience: Experience | Refused) -> str:
    if isinstance(experience, Refused):
        return ""
    return f"{experience.prompt}\n{experience.reply}\n{experience.corrected}"


def words(counts: Mapping[str, int]) -> str:
    """What there is, the heaviest first: "2 correction, 40 plain"."""
    named: Sequence[str] = [f"{counts[word]} {word.replace('_', ' ')}" for word in WEIGHTS if counts.get(word)]
    return ", ".join(named)
