from __future__ import annotations

import pytest

from reactord.worker.examples import Example
from reactord.worker.llama import Reply
from reactord.worker.measure import NEUTRAL, Measurement, answered, exact_rate, is_looping


def example(check=None) -> Example:
    return Example("2+2?", None, "4", "5", simple=True, check=check, task_type="arithmetic")


@pytest.mark.parametrize("tokens", [[7] * 4, [1, 2, 3] * 4, [9, 8, *[1, 2] * 4], [*range(24)] * 4])
def test_the_same_tokens_over_and_over_are_a_loop(tokens):
    assert is_looping(tokens)


@pytest.mark.parametrize("tokens", [[], [1], [7] * 3, [1, 2, 3, 1, 2, 3], [*[1, 2] * 4, 3], list(range(100))])
def test_an_answer_that_repeats_little_is_no_loop(tokens):
    assert not is_looping(tokens)


def test_a_reply_is_exact_only_where_it_can_be_checked():
    reply = Reply("4", (19,), finished=True)
    checked = answered(example({"kind": "arithmetic", "expected": "4"}), reply, lambda _, text: text == "4")
    assert checked.exact is True
    assert answered(example(), reply, lambda _, __: True).exact is None
    assert exact_rate([checked, answered(example(), reply, lambda _, __: True)]) == 1.0
    assert exact_rate([]) is None


def test_a_measurement_survives_being_kept():
    answer = answered(example(), Reply("4", (19,), finished=True), lambda _, __: True)
    measured = Measurement(0.5, 0.6, 10, -1.0, None, 0, 1.0, 1, 1, 0, 0, 0, 20.0, 0, 5, [answer])
    assert Measurement.from_facts(measured.as_facts()) == measured
    assert "replies" not in measured.summary()


def test_the_neutral_text_is_bundled():
    assert 300 < len(NEUTRAL.read_text().split()) < 400
