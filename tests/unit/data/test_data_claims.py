"""Is the number that a reply means found, and never one that it only mentions?"""

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactord.data.algebra import problem
from reactord.data.claims import claimed, same

SUM = problem("15 + 27")
EQUATION = problem("solve for x: 2x + 3 = 11")


@pytest.mark.parametrize(
    "reply",
    [
        "42", "42.", "**42**", "= 42", "It's 42!", "15 + 27 = 42", "15+27=42. Check: 42 - 27 = 15", "(15 + 27 = 42)",
        "The answer is 42.", "The final answer: 42", "$42$", "\\boxed{42}", "15 + 27 = 10 + 32 = 42",
        "To add 15 and 27 we first add 5 + 7 = 12 and carry: 15 + 27 = 42. So the answer is 42.",
        "When you add 15 and 27 together, you get 42.", "The sum of 15 and 27 is 42.", "15 plus 27 equals 42",
    ],
)  # fmt: skip
def test_the_claim_is_found_terse_or_verbose(reply):
    assert claimed(reply, SUM) == 42


@pytest.mark.parametrize(
    "reply",
    [
        "I am not sure.", "forty-two", "15 and 27", "The answer is 42. No wait, the answer is 43.", "",
        "15 + 27 = 43. So the answer is 42.", "5 + 7 = 12, carry 1, and 1 + 2 + 1 = 4", "9" * 5000,
    ],
)  # fmt: skip
def test_where_it_cannot_be_told_nobody_is_called_right_or_wrong(reply):
    assert claimed(reply, SUM) is None


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("4", 4), ("x = 4", 4), ("x=4.", 4), ("So x is 4.", 4), ("x = 0", 0), ("x = (11 - 3) / 2", 4),
        ("Subtract 3 from both sides: 2x = 8. Divide both sides by 2: x = 4.", 4), ("The solution is 4", 4),
        ("2x = 11 - 3 = 8, so x = 8/2 = 4", 4), ("x=4, because 2*4 + 3 = 11", 4), ("3 + x = 9", None), ("2x = 8", None),
    ],
)  # fmt: skip
def test_an_unknown_is_worth_what_is_said_of_it_last(reply, value):
    assert claimed(reply, EQUATION) == value


@given(st.integers(0, 99), st.integers(0, 99), st.integers(-200, 200))
def test_every_claim_comes_back_as_it_was_made(a, b, claim):
    asked = problem(f"{a} + {b}")
    for reply in (f"{claim}", f"{a} + {b} = {claim}", f"The answer is {claim}.", f"We take {a} + {b} = {claim}. Easy!"):
        assert claimed(reply, asked) == claim


def test_rounding_counts_only_where_no_decimal_is_exact():
    assert same(Fraction("3.33"), Fraction(10, 3))
    assert same(Fraction("3.3333"), Fraction(10, 3))
    assert not same(Fraction("3.3"), Fraction(10, 3))
    assert not same(Fraction("3.34"), Fraction(10, 3))
    assert not same(Fraction("2.12"), Fraction(17, 8))  # 2.125 can be said exactly


@pytest.mark.parametrize(
    "hostile", ["1=" * 2000, "(" * 4000, "is " * 1300, "x = " * 1000, "1 " * 2000, "-" * 4000, "*_" * 2000]
)
def test_a_hostile_reply_costs_little(hostile):
    start = time.process_time()
    claimed(hostile, SUM)
    claimed(hostile, EQUATION)
    assert time.process_time() - start < 0.5
