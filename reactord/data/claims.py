"""Which number does this reply say the answer is?

A terse reply is the number. In a verbose one the claim is looked for where people put it: the asked expression
followed by "=", "the answer is", the unknown; then any "is" or "="; then a number that the question did not hold. Two
different claims of the same rank mean that we cannot tell, and then nobody is called right or wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain

from reactord.data import algebra
from reactord.data.algebra import NUMBER, Problem, Unreadable

MAX_REPLY_CHARS = 4_000
_VALUE = rf"-?\s?(?:{NUMBER})(?:\s?/\s?\d+)?"
#: a stretch of one line that holds numbers, signs and "=" only; cut where a sentence ends
_RUN = re.compile(r"[-+*/^().,\d =\t]+")
_SENTENCE_END = re.compile(r"[.,](?=\s|$)")
_CONCLUSION = re.compile(
    rf"\b(?:answer|result|solution|sum|total|product|difference|quotient|value)\b[^.\n\d=]{{0,40}}?"
    rf"(?:\bis|\bare|=|:|\bequals)\s*\$?({_VALUE})(?!\s*[-+*/^=\d(])"
)
_STATED = re.compile(
    rf"(?:\bis|\bequals|=|\bgives|\bmakes|\bleaves|\bget|\bgets|\bbe|\bhave)(?:\s+(?:exactly|just|simply|only))?"
    rf"\s*\$?({_VALUE})(?!\s*[-+*/^=\d(])"
)
_NUMBERS = re.compile(rf"(?<![\w.])-?(?:{NUMBER})(?![\w])")
_MARKUP = re.compile(r"\*\*|__|`|\\boxed|[{}$]|\\[()\[\]]")


def _fraction(text: str) -> Fraction | None:
    try:
        return algebra.value_of(text.strip(" .,\t"))
    except Unreadable:
        return None


def _chains(text: str) -> Iterator[list[str]]:
    """The sides of every `a = b = c` made of numbers and signs alone."""
    for run in _RUN.finditer(text):
        if run.start() and text[run.start() - 1].isalnum() and run[0][0] not in " \t":
            continue  # the run continues a word, as in 2x = 8
        for sentence in _SENTENCE_END.split(run[0]):
            sides = sentence.split("=")
            if len(sides) > 1:
                yield sides


def _after_the_expression(text: str, problem: Problem) -> Iterator[Fraction | None]:
    """The end of each chain whose first side is what was asked."""
    for sides in _chains(text):
        first = sides[0].strip()
        if first.startswith("(") and first.count("(") > first.count(")"):
            first, sides[-1] = first[1:], sides[-1].rstrip(" )")
        asked = algebra.problem(first + " =")
        if asked and asked.canonical == problem.canonical:
            yield _fraction(sides[-1])


def _of_the_unknown(text: str, unknown: str) -> Fraction | None:
    """The end of `x = ... = number`; where the reply says it more than once, the last one is its answer."""
    value = None
    for match in re.finditer(rf"\b{unknown}\s*(?:=|is|equals)\s*", text):
        if text[: match.start()].rstrip()[-1:] in ("+", "-", "*", "/", "^", "("):
            continue  # the middle of an equation
        run = _RUN.match(text, match.end())
        if run:
            said = _fraction(_SENTENCE_END.split(run[0])[0].rsplit("=", 1)[-1])
            value = value if said is None else said
    return value


def claimed(reply: str, problem: Problem) -> Fraction | None:
    """The number that `reply` gives as the answer to `problem`, or None when it cannot be told."""
    text = algebra.in_signs(_MARKUP.sub("", reply.casefold()))
    if len(text) > MAX_REPLY_CHARS:
        return None
    whole = _fraction(text.strip().strip("=").rstrip("!"))
    if whole is not None and re.fullmatch(_VALUE, text.strip().strip("=").strip(" .!,")):
        return whole
    if problem.unknown and (value := _of_the_unknown(text, problem.unknown)) is not None:
        return value
    asked = {_fraction(match[0]) for match in _NUMBERS.finditer(problem.canonical.replace("-", " "))}
    concluded = (_fraction(match[1]) for match in _CONCLUSION.finditer(text))
    ranks = (
        chain(_after_the_expression(text, problem), concluded),
        (_fraction(match[1]) for match in _STATED.finditer(text) if not problem.unknown),
        (v for m in _NUMBERS.finditer(text) if not problem.unknown and (v := _fraction(m[0])) not in asked),
    )
    for rank in ranks:
        said = set(rank) - {None}
        if said:
            return said.pop() if len(said) == 1 else None
    return None


def same(claim: Fraction, answer: Fraction) -> bool:
    """Equal, or - where the answer has no finite decimal form - rounded correctly to two to eight decimals."""
    if claim == answer:
        return True
    denominator = answer.denominator
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    return denominator != 1 and any(round(answer, places) == claim for places in range(2, 9))
