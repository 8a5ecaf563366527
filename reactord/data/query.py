"""What does a prompt ask, is it simple, and when do two prompts ask the same?

The canonical form lets two phrasings of one question meet ("Hey Jarvis, what is the capital of France? Thanks!" and
"capital of France"), and never two questions ("capital of Spain", "15 + 28"): only politeness at the edges, the
punctuation of sentences and the words "what is" and "the" are removed; numbers, signs and every other word stay.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from reactord.data import algebra

TaskType = Literal["arithmetic", "equation", "json", "code", "fact", "open"]
MAX_SIMPLE_WORDS = 16

_LEADING = re.compile(
    r"(?:(?:hey|hi|hello|ok|okay)(?:,? jarvis)?|jarvis|good (?:morning|afternoon|evening)|quick question|please|kindly|"
    r"(?:(?:can|could|would|will) you )?(?:please )?(?:tell me|let me know)|do you (?:happen to )?know|"
    r"(?:can|could|would|will) you(?: please)?|i (?:want|need|would like|'d like|was wondering)(?: to know)?|i wonder)"
    r"\b(?P<mark>\s*[,.!:?;-]+)?\s+"
)
_TRAILING = re.compile(
    r"(?P<mark>[,.!?;:]*)\s+(?:please|thanks(?: a lot| so much)?|thank you(?: very much| so much)?|jarvis|for me)[.!?]*"
)
#: a word of politeness beside one of these is what is being asked about: "hello in Spanish", "the opposite of please"
_ASKED_ABOUT_AFTER = re.compile(r"(?:in|to|from|as|of|or|and|vs|means?|is|for)\b")
_ASKED_ABOUT_BEFORE = re.compile(
    r"\b(?:of|in|to|for|say|words?|means?|spell|is|define|write|translate|and|or)[\"'\u201c\u2018]?$"
)
_CONTRACTION = re.compile(r"\b(what|who|where|when|that|it|how)['\u2019]s\b")
_EDGE = "\"'\u2018\u2019\u201c\u201d`.,!?;:\u2026"

_JSON = re.compile(r"\bjson\b", re.IGNORECASE)
_CODE = re.compile(
    r"(?m)^\s*assert\b|```|\bdef \w+\(|\bpython\b.*\b(?:function|code|script|class|program)\b|"
    r"\b(?:function|code|script|class|program)\b.*\bpython\b",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"(?:(?:in|on|at|to|of|from|by|for) )?(?:what|which|who|whom|whose|when|where)\b|"
    r"how (?:many|much|old|long|far|tall|big|do you (?:say|spell|write))\b|"
    r"(?:name|capital|is|are|does|do|was|were|can)\b|give me (?:a|one|the)\b"
)
#: these ask for more than one short answer
_NOT_SIMPLE = re.compile(
    r"\b(?:why|explain|describe|compare|contrast|list|write|essay|story|poem|summari[sz]e|steps?|detail(?:s|ed)?|discuss|"
    r"analy[sz]e|pros|cons|examples?|reasons?|differences?|plan|because|should|would|could|translate|rewrite)\b"
)
#: the right answer depends on the moment or on the user, so two answers say nothing about each other
_VOLATILE = re.compile(
    r"\b(?:my|our|mine|i|today|tomorrow|yesterday|tonight|now|current(?:ly)?|latest|weather|recent(?:ly)?|calendar|"
    r"(?:this|next|last) (?:week|weekend|night|morning|evening|time|one|meeting|message|email)|time is it)\b"
)


@dataclass(frozen=True, slots=True)
class Query:
    """What one prompt asks. `key` is equal for prompts that ask the same."""

    prompt: str
    key: str
    task_type: TaskType
    simple: bool
    problem: algebra.Problem | None


def words(text: str) -> list[str]:
    """The words of `text`, case-folded, without the punctuation of sentences; signs, numbers and `c++` stay whole."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    found = []
    for chunk in folded.split():
        word = chunk.strip(_EDGE)
        if re.match(r"\.\d", chunk):  # .5 is not 5
            word = chunk.rstrip(_EDGE)
        elif re.search(r"\d!", chunk):  # and 5! is not 5
            word = chunk.strip(_EDGE.replace("!", ""))
        if word:
            found.append(word)
    return found


def _politely(text: str) -> str:
    """`text` (folded) without greetings before it and thanks after it."""
    while True:
        match = _LEADING.match(text)
        if not match or (not match["mark"] and _ASKED_ABOUT_AFTER.match(text, match.end())):
            break
        text = text[match.end() :]
    while True:
        match = next((m for m in _TRAILING.finditer(text) if m.end() == len(text)), None)
        if not match:
            return text
        before = text[: match.start()]
        if not before or (not match["mark"] and _ASKED_ABOUT_BEFORE.search(before)):
            return text
        text = before + match["mark"]


def _plain(text: str) -> str:
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return _politely(_CONTRACTION.sub(r"\1 is", folded))


def _fact_key(text: str) -> str:
    found = [word for word in words(text) if word != "the"]
    if found[:2] in (["what", "is"], ["what", "are"]) and len(found) > 2:
        found = found[2:]
    return " ".join(found) or text


def _is_question(found: list[str], text: str, prompt: str) -> bool:
    return (
        0 < len(found) <= MAX_SIMPLE_WORDS
        and prompt.count("?") <= 1
        and "\n" not in prompt.strip()
        and bool(_QUESTION.match(text))
        and not _NOT_SIMPLE.search(text)
        and not _VOLATILE.search(text)
    )


@lru_cache(maxsize=4096)
def read(prompt: str) -> Query:
    """Classify one prompt. Pure; the same text always gives the same query."""
    text = _plain(prompt)
    problem = algebra.problem(text)
    if problem:
        return Query(prompt, f"{problem.kind} {problem.unknown or ''}{problem.canonical}", problem.kind, True, problem)
    if _CODE.search(prompt) or _JSON.search(prompt):
        # case, quotes and line breaks carry meaning here, so only identical texts ask the same
        kind: TaskType = "code" if _CODE.search(prompt) else "json"
        return Query(prompt, f"{kind} {prompt.strip()}", kind, False, None)
    found = words(text)
    if _is_question(found, text, prompt):
        return Query(prompt, _fact_key(text), "fact", True, None)
    return Query(prompt, _fact_key(text), "open", False, None)
