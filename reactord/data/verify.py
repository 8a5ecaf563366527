"""Is this answer right? Only where that can be checked: numbers, JSON, code with asserts, and known facts.

`verdict` is for answers to a prompt that carries its own check; `check` is the same for the judge, who also has the
facts that the evidence supports ({"kind": "contains", "expected": "Paris"}). None always means "cannot be told".
"""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from typing import Any

import orjson

from reactord.data import claims, sandbox
from reactord.data.algebra import Problem
from reactord.data.clean import core
from reactord.data.example import Check
from reactord.data.query import Query, read, words

MAX_JSON_CHARS = 64 * 1024
MAX_ASSERTS = 32

_FENCE = re.compile(r"```[ \t]*(?P<language>\w*)[^\n]*\n(?P<body>.*?)```", re.DOTALL)
_AND = r"\s*(?:,\s*and\b|,|\band\b|&)\s*"
_QUOTED = r"[\"'`]\w+[\"'`]"
_KEYS = re.compile(
    rf"\b(?:keys?|fields?|properties)\b:?\s+(?:(?P<quoted>{_QUOTED}(?:{_AND}{_QUOTED})*)|(?P<plain>\w+(?:{_AND}\w+)+))",
    re.IGNORECASE,
)
_ARRAY = re.compile(r"\bjson (?:array|list)\b", re.IGNORECASE)
_OBJECT = re.compile(r"\bjson object\b", re.IGNORECASE)


def check_of(query: Query) -> Check | None:
    """The check that a prompt carries in itself, if any."""
    if query.problem:
        return {"kind": query.problem.kind, "expected": str(query.problem.answer)}
    if query.task_type == "json":
        return {"kind": "json", "expected": None}
    if query.task_type == "code" and asserts(query.prompt):
        return {"kind": "code", "expected": None}
    return None


def verdict(query: Query, reply: str) -> bool | None:
    """Is `reply` a right answer to `query`, as far as the prompt itself can tell?"""
    if query.problem:
        return _number(reply, query.problem)
    if query.task_type == "json":
        return _json(query.prompt, reply)
    if query.task_type == "code":
        return _code(query.prompt, reply)
    return None


def check(prompt: str, reply: str, wanted: dict[str, Any] | Check) -> bool | None:
    """Does `reply` pass the check that was kept with a held-out example? None: it cannot be told (not exact)."""
    if wanted["kind"] == "contains":
        return contains(reply, str(wanted["expected"]))
    return verdict(read(prompt), reply)


def contains(reply: str, expected: str) -> bool:
    """Do the words of `expected` stand in `reply`, in order and whole? "art" is not in "start"."""
    return f" {' '.join(words(expected))} " in f" {' '.join(words(reply))} "


#: an answer stands right after one of these, or opens its sentence: "... is Paris", "located in Africa"
_CUES = frozenset(
    ("is", "are", "was", "were", "has", "have", "by", "speak", "speaks", "use", "uses", "means", "equals")
)
_PLACED = frozenset(("located", "is", "are", "was", "lies", "found", "stands"))
_BETWEEN = frozenset(("a", "an", "the", "called", "named", "known", "as", "usually", "typically", "generally"))
_DENIES = re.compile(
    r"\b(?:not|never|unlike|rather than|instead|although|though|but|however|mistaken|confused|except|wrong|nor)\b|"
    r"n['\u2019]t\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<=[a-z]{2}[.!?])\s|(?<=[\d\"'\u201d)][.!?])\s|\n")
_ARTICLE = re.compile(r"^(?:the|an?)\s+(?=\S)", re.IGNORECASE)


def without_article(answer: str) -> str:
    """`answer` without article and full stop: "the Nile." and "Nile" are one answer."""
    return _ARTICLE.sub("", answer.strip().rstrip("."))


_QUOTES = "\"'\u2018\u2019\u201c\u201d`"
#: words that carry a sentence and answer nothing
_CARRIERS = frozenset(
    ("the", "a", "an", "of", "in", "on", "it", "called", "named", "known", "as", "used", "located", "answer", "to")
)
_COPULA = re.compile(r"\s(?:is|are|was|were)\s", re.IGNORECASE)


def essence(prompt: str, answer: str) -> str:
    """What an answer adds to its question: "Berlin is the capital city of Germany." adds "Berlin".

    Of a sentence "this is that", the side that says only what the question does not; otherwise the whole answer,
    without article and full stop.
    """
    whole = without_article(answer)
    sides = _COPULA.split(whole, maxsplit=1)
    if len(sides) == 1 or _DENIES.search(answer):
        return whole
    asked = set(words(prompt))
    told = [[word for word in words(side) if word not in _CARRIERS] for side in sides]
    new = [side for side, said in zip(sides, told, strict=True) if said and asked.isdisjoint(said)]
    if len(new) != 1:
        return whole
    chunks = new[0].split()
    while _CARRIERS.issuperset(words(chunks[0])):  # "located in Africa" is "Africa"
        chunks.pop(0)
    return " ".join(chunks).strip(_QUOTES)


def states(prompt: str, reply: str, answer: str) -> bool:
    """Does the first sentence of `reply` give `answer` as *its* answer?

    A mention does not do: "Canberra is the capital, not Sydney" and "... located between Sydney and Melbourne" do not
    state Sydney; nor does an echo of the question.
    """
    wanted = words(essence(prompt, answer))
    sentence = _SENTENCE_END.split(core(reply), maxsplit=1)[0]
    if not wanted or set(wanted) <= set(words(prompt)) or _DENIES.search(sentence):
        return False
    said = words(sentence)
    starts = [i for i in range(len(said) - len(wanted) + 1) if said[i : i + len(wanted)] == wanted]
    return any(_in_the_answers_place(said, i) for i in starts)


def _in_the_answers_place(said: list[str], at: int) -> bool:
    while at and said[at - 1] in _BETWEEN:
        at -= 1
    if not at or said[at - 1] in _CUES:
        return True
    return at > 1 and said[at - 1] == "in" and said[at - 2] in _PLACED


def _number(reply: str, problem: Problem) -> bool | None:
    claim = claims.claimed(reply, problem)
    return None if claim is None else claims.same(claim, problem.answer)


def _unfenced(reply: str) -> str:
    """The body of the only code fence, or the reply as it is."""
    found = _FENCE.findall(reply)
    return found[0][1].strip() if len(found) == 1 else reply.strip()


def keys_named(prompt: str) -> list[str]:
    """The keys that a prompt asks for: `with the keys "name" and "age"`, `keys x and y`."""
    match = _KEYS.search(prompt)
    if not match:
        return []
    return [name.strip("\"'`") for name in re.split(_AND, match["quoted"] or match["plain"])]


def _json(prompt: str, reply: str) -> bool | None:
    if len(reply) > MAX_JSON_CHARS:
        return None
    try:
        value = orjson.loads(_unfenced(reply))
    except orjson.JSONDecodeError:
        return False
    if _ARRAY.search(prompt) and not isinstance(value, list):
        return False
    if _OBJECT.search(prompt) and not isinstance(value, dict):
        return False
    keys = keys_named(prompt)
    if not keys:
        return isinstance(value, dict | list)
    items = value if isinstance(value, list) else [value]
    return bool(items) and all(isinstance(item, dict) and item.keys() >= set(keys) for item in items)


@lru_cache(maxsize=1024)
def asserts(prompt: str) -> str:
    """The assert statements written in a prompt, one a line; empty when there is none that parses."""
    found = []
    for line in prompt.splitlines():
        at = re.search(r"\bassert\s", line)
        statement = line[at.start() :].rstrip(" .`") if at else ""
        try:
            tree = ast.parse(statement)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        if tree.body and all(isinstance(node, ast.Assert) for node in tree.body):
            found.append(statement)
    return "\n".join(found[:MAX_ASSERTS])


@lru_cache(maxsize=1024)
def _code(prompt: str, reply: str) -> bool | None:
    wanted = asserts(prompt)
    if not wanted or "python" not in prompt.casefold():
        return None
    outcome = sandbox.verdict(_unfenced(reply), wanted)
    return None if outcome == "unknown" else outcome == "passed"
