"""Which pairs teach nothing, or the same thing too often?

A pair whose sides are the same tokens has no gradient (rlhf-book#504 found 7 % of such pairs in public sets); one that
differs by "Sure!" and "I hope this helps" only teaches to drop politeness; a hundred pairs on one question teach one
question. Every drop has a reason and is counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from reactord.data.example import Example
from reactord.data.query import words

MAX_PER_QUERY = 3
MAX_PER_CLUSTER = 12

_OPENING = re.compile(
    r"(?:sure(?: thing)?|certainly|of course|absolutely|definitely|great question|good question|hello|hi(?: there)?|"
    r"hey|no problem|happy to help|here is (?:the|your) answer|here you go|thank(?:s| you) for asking|okay|ok)"
    r"\s*[!.,:]+\s*",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"(?:^|(?<=[.!?\n]))\s*(?:i hope|hope (?:this|that) helps|(?:please )?(?:let me know|feel free)|"
    r"if you (?:have|need|would)|is there anything else|happy to help|you're welcome|have a (?:great|nice)|"
    r"thanks? for asking)[^.!?\n]*[.!?]*\s*$",
    re.IGNORECASE,
)

T = TypeVar("T")


def core(text: str) -> str:
    """`text` without the greetings around an answer; never empty for a text that is not."""
    text = text.strip()
    while match := _OPENING.match(text):
        if match.end() == len(text):
            return text
        text = text[match.end() :]
    while match := _CLOSING.search(text):
        if not text[: match.start()].strip():
            return text
        text = text[: match.start()].rstrip()
    return text


def skeleton(text: str, task_type: str) -> str:
    """Two answers with the same skeleton differ by template, white space, or the punctuation of sentences only."""
    if task_type in ("json", "code"):  # there, a comma is the difference between parsing and not
        return " ".join(core(text).split())
    return " ".join(words(re.sub(r"[*_`]{1,3}(?=\S)|(?<=\S)[*_`]{1,3}", "", core(text))))


def emptiness(example: Example, tokens: Callable[[str], Sequence[int]]) -> str | None:
    """Why this pair teaches nothing, or None."""
    if example.rejected is None:
        return None
    if tokens(example.chosen) == tokens(example.rejected):
        return "identical_tokens"
    if skeleton(example.chosen, example.task_type) == skeleton(example.rejected, example.task_type):
        return "template_only"
    return None


def capped(examples: Sequence[Example], key: Callable[[Example], T], most: int) -> tuple[list[Example], list[Example]]:
    """(kept, dropped): at most `most` examples for each key, the best evidenced and then the newest first."""
    order = sorted(examples, key=lambda e: (-sum(item.weight for item in e.evidence), -e.at, e.line()))
    seen: Counter[T] = Counter()
    kept: list[Example] = []
    dropped: list[Example] = []
    for example in order:
        seen[key(example)] += 1
        (kept if seen[key(example)] <= most else dropped).append(example)
    return kept, dropped
