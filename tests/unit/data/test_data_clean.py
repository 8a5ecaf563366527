"""Are pairs that teach nothing dropped, and no others?"""

from dataclasses import replace

import pytest
from data_helpers import tokenize

from reactord.data.clean import capped, core, emptiness
from reactord.data.example import Evidence, Example, from_line


def pair(chosen, rejected, task_type="fact", **fields):
    evidence = (Evidence("rating", "", fields.pop("weight", 1.0)),)
    example = Example("q", None, chosen, rejected, evidence, ("r",), task_type, True, "a", "b", "", None, 0.0)
    return replace(example, **fields)


@pytest.mark.parametrize(
    ("chosen", "rejected", "task_type", "reason"),
    [
        ("Paris", "Paris", "fact", "identical_tokens"), ("Paris  is it", "Paris is\nit", "fact", "identical_tokens"),
        ("Paris", "Paris.", "fact", "template_only"), ("Paris", "**Paris**", "fact", "template_only"),
        ("Paris", "Sure! Paris. I hope this helps!", "fact", "template_only"),
        ("Paris", "Of course, paris! Let me know if you need more. Feel free to ask.", "fact", "template_only"),
        ("Paris", "Lyon", "fact", None), ("Paris", "The capital of France is Paris.", "fact", None),
        ("-8", "8", "arithmetic", None), ("5!", "5", "arithmetic", None), ("1.5", "15", "arithmetic", None),
        ('{"a": 1}', '{"a": 1,}', "json", None), ('{"a": 1}', '{"a":\n1}', "json", "identical_tokens"),
        ("def f(): pass", "Sure! def f(): pass", "code", "template_only"), ("x = 'A'", "x = 'a'", "code", None),
        ("Paris", None, "fact", None),
    ],
)  # fmt: skip
def test_a_pair_teaches_something_or_is_dropped_with_its_reason(chosen, rejected, task_type, reason):
    assert emptiness(pair(chosen, rejected, task_type), tokenize) == reason


@pytest.mark.parametrize("text", ["Sure!", "Hello", "I hope this helps!", "Okay.", "Let me know.", "Hi there! Hello!"])
def test_a_reply_that_is_only_template_stays_something(text):
    assert core(text)


def test_the_best_evidenced_and_then_the_newest_pairs_are_kept():
    pairs = [pair("a", str(i), weight=w, at=t) for i, (w, t) in enumerate([(0.5, 9), (1.0, 1), (0.5, 3), (1.0, 2)])]
    kept, dropped = capped(pairs, lambda e: e.prompt, 3)
    assert [e.rejected for e in kept] == ["3", "1", "0"]
    assert [e.rejected for e in dropped] == ["2"]
    assert capped(pairs[::-1], lambda e: e.prompt, 3) == (kept, dropped)


def test_an_example_survives_its_line():
    example = pair("a\u2028b", None)
    assert from_line(example.line()) == example
    assert example.line().count(b"\n") == 1
