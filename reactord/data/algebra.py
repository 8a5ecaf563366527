"""What number does this small problem ask for?

Arithmetic and linear equations in one unknown, solved exactly with fractions by a parser of its own: nothing is ever
evaluated as Python. The *whole* text must be understood - "15 + 27 in binary" is nobody's sum - and sizes are bounded,
so a hostile prompt costs microseconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

MAX_TOKENS = 64
MAX_DIGITS = 12
MAX_EXPONENT = 12
MAX_BITS = 256
MAX_DEPTH = 16

NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
_TOKEN = re.compile(rf"\s*(?:(?P<number>{NUMBER})|(?P<sign>\*\*|[-+*/^()])|(?P<name>[a-z])(?![a-z]))")
#: multiplication sign, middle dots, division sign, minus sign, en dash
_SIGNS = str.maketrans(
    {"\u00d7": "*", "\u00b7": "*", "\u2219": "*", "\u00f7": "/", "\u2212": "-", "\u2013": "-", "[": "(", "]": ")"}
)
_WORDS = (
    (re.compile(r"(?<=[\d)])\s*(?:multiplied by|times)\s*(?=[\d(.-])"), " * "),
    (re.compile(r"(?<=[\d)])\s*(?:divided by|over)\s*(?=[\d(.-])"), " / "),
    (re.compile(r"(?<=[\d)])\s*plus\s*(?=[\d(.-])"), " + "),
    (re.compile(r"(?<=[\d)])\s*minus\s*(?=[\d(.-])"), " - "),
    (re.compile(r"(?<=\d)\s+x\s+(?=\d)"), " * "),
)
_NAMES = {"sum": "+", "product": "*", "difference": "-"}
_NAMED = re.compile(rf"(?:the )?(sum|product|difference) (?:of|between) (-?(?:{NUMBER})) and (-?(?:{NUMBER}))")
_ASK = re.compile(
    r"(?:what is|what's|whats|what does|how much is|calculate|compute|evaluate|work out|find|solve|simplify)?:?\s*"
    r"(?:the (?:value|result|answer) (?:of|to))?:?\s*"
)
_EQUATIONS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?:solve|find|determine)(?: the equation)?(?: for (?P<asked>[a-z]))?:?\s+(?P<equation>[^:]*=[^:]*?)",
        r"(?:solve for|find|determine) (?P<asked>[a-z]): ?(?P<equation>[^:]*=[^:]*?)",
        r"(?:solve|find|determine)(?: the equation)?:?\s+(?P<equation>[^:]*=[^:]*?),? for (?P<asked>[a-z])",
        r"(?:if|given(?: that)?) (?P<equation>[^:]*=[^:]*?),? (?:then )?(?:what is|find|solve for) (?P<asked>[a-z])",
        r"(?:what is|find) (?P<asked>[a-z]),? (?:if|when|given(?: that)?|such that|in):? (?P<equation>[^:]*=[^:]*?)",
    )
)


class Unreadable(ValueError):
    """This text is not an expression we can evaluate."""


@dataclass(frozen=True, slots=True)
class Linear:
    """`slope * unknown + constant`, exactly."""

    slope: Fraction
    constant: Fraction

    def bounded(self) -> Linear:
        parts = (self.slope.numerator, self.slope.denominator, self.constant.numerator, self.constant.denominator)
        if max(part.bit_length() for part in parts) > MAX_BITS:
            raise Unreadable("a number too large to be a small problem")
        return self

    def scaled(self, factor: Fraction) -> Linear:
        return Linear(self.slope * factor, self.constant * factor).bounded()

    def plus(self, other: Linear) -> Linear:
        return Linear(self.slope + other.slope, self.constant + other.constant).bounded()

    def number(self) -> Fraction:
        if self.slope:
            raise Unreadable("a number is needed here, not the unknown")
        return self.constant


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem with exactly one right number. `canonical` is equal for equal problems however they are asked."""

    kind: Literal["arithmetic", "equation"]
    answer: Fraction
    canonical: str
    unknown: str | None = None


class _Parser:
    """Recursive descent over at most MAX_TOKENS tokens."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.unknowns: set[str] = set()
        self._at = 0
        self._depth = 0

    def whole(self) -> Linear:
        value = self._sum()
        if self._at != len(self.tokens):
            raise Unreadable("words are left over")
        return value

    def _peek(self) -> str:
        return self.tokens[self._at] if self._at < len(self.tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _sum(self) -> Linear:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unreadable("nested too deeply")
        value = self._product()
        while self._peek() in ("+", "-"):
            sign = Fraction(1 if self._take() == "+" else -1)
            value = value.plus(self._product().scaled(sign))
        self._depth -= 1
        return value

    def _product(self) -> Linear:
        value = self._signed()
        divided = False
        while True:
            following = self._peek()
            if following == "*":
                self._take()
                value = _times(value, self._signed())
            elif following == "/":
                self._take()
                divisor = self._signed().number()
                if not divisor:
                    raise Unreadable("division by zero")
                value = value.scaled(1 / divisor)
                divided = True
            elif following == "(" or following.isalpha():
                if divided:  # is 1/2x a half of x, or one over 2x? Nobody agrees, so nobody is called wrong
                    raise Unreadable("ambiguous: an implied product after a division")
                value = _times(value, self._power())
            else:
                return value

    def _signed(self) -> Linear:
        negative = False
        while self._peek() in ("+", "-"):
            negative ^= self._take() == "-"
        value = self._power()
        return value.scaled(Fraction(-1)) if negative else value

    def _power(self) -> Linear:
        base = self._atom()
        if self._peek() not in ("^", "**"):
            return base
        self._take()
        exponent = self._signed().number()
        if exponent.denominator != 1 or abs(exponent) > MAX_EXPONENT:
            raise Unreadable("an exponent that is not a small whole number")
        number = base.number()
        if not number and exponent < 0:
            raise Unreadable("division by zero")
        return Linear(Fraction(0), Fraction(number ** int(exponent))).bounded()

    def _atom(self) -> Linear:
        taken = self._take()
        if taken == "(":
            value = self._sum()
            if self._take() != ")":
                raise Unreadable("a parenthesis is left open")
            return value
        if taken.isalpha():
            self.unknowns.add(taken)
            return Linear(Fraction(1), Fraction(0))
        if not taken or taken[0] not in "0123456789.":
            raise Unreadable("a number is missing")
        return Linear(Fraction(0), number(taken))


def number(text: str) -> Fraction:
    """The exact value of a plain decimal such as `1,250.75`. Raises Unreadable beyond MAX_DIGITS digits."""
    digits = text.replace(",", "")
    if len(digits) > 1 and digits[0] == "0" and digits[1] != ".":
        raise Unreadable("a leading zero: part of a date or a code")
    if len(digits) > MAX_DIGITS + 1:
        raise Unreadable("a number too long to be a small problem")
    return Fraction(digits)


def _times(left: Linear, right: Linear) -> Linear:
    return left.scaled(right.number()) if not right.slope else right.scaled(left.number())


def _tokens(text: str) -> list[str]:
    found: list[str] = []
    at, text = 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match or len(found) >= MAX_TOKENS:
            raise Unreadable("this is not an expression")
        found.append(match.group(match.lastgroup or "number").replace(",", ""))
        at = match.end()
    return found


def value_of(expression: str) -> Fraction:
    """Evaluate an expression without unknowns. Raises Unreadable."""
    return _Parser(expression).whole().number()


def _solve(equation: str, asked: str | None) -> Problem:
    sides = equation.split("=")
    if len(sides) != 2:
        raise Unreadable("an equation has two sides")
    parsers = [_Parser(side) for side in sides]
    left, right = (parser.whole() for parser in parsers)
    unknowns = parsers[0].unknowns | parsers[1].unknowns
    difference = left.plus(right.scaled(Fraction(-1)))
    if len(unknowns) != 1 or not difference.slope or (asked and asked not in unknowns):
        raise Unreadable("not one equation with one solution")
    canonical = "=".join("".join(parser.tokens) for parser in parsers)
    return Problem("equation", -difference.constant / difference.slope, canonical, unknowns.pop())


def in_signs(text: str) -> str:
    """`3 times 4` as `3 * 4`: words and typographic signs become the parser's."""
    text = text.translate(_SIGNS).replace("**", "^")
    for pattern, sign in _WORDS:
        text = pattern.sub(sign, text)
    return text


def problem(text: str) -> Problem | None:
    """The problem that the whole of `text` poses (lower case, without politeness), or None if it poses none."""
    if len(text) > 200 or not any(c.isdigit() for c in text):
        return None
    text = in_signs(text).strip().rstrip("?.!,;: ")
    for pattern in _EQUATIONS:
        match = pattern.fullmatch(text)
        if match:
            try:
                return _solve(match["equation"], match["asked"])
            except Unreadable:
                continue
    expression = _ASK.sub("", text, count=1)
    asked = expression != text
    text = expression
    expression = re.sub(r"\s*(?:=|equals?|equal to)\s*$", "", expression)
    asked |= expression != text
    named = _NAMED.fullmatch(expression)
    if named:
        expression = f"{named[2]} {_NAMES[named[1]]} {named[3]}"
    try:
        parser = _Parser(expression)
        answer = parser.whole().number()
    except Unreadable:
        return None
    if not any(sign in "+-*/^" for sign in parser.tokens[1:]) or _is_a_label(expression, answer, asked):
        return None
    return Problem("arithmetic", answer, "".join(parser.tokens))


def _is_a_label(expression: str, answer: Fraction, asked: bool) -> bool:
    """True for what only looks like a sum: 555-1234, 24/7, 2024-12-11, 9/11."""
    if not re.fullmatch(r"\d+([-/]\d+)+", expression):
        return False
    return not asked or expression.count("-") > 1 or answer.denominator != 1
