"""Does every record have the weight of the heaviest word that fits it?"""

from __future__ import annotations

from itertools import count

import pytest

from reactord.data import score as module
from reactord.data.score import WEIGHTS, Scorer, score, words
from reactord.ledger.reading import StoredRecord

numbers = count(1)
FACTS = {"event_type": "interaction", "user_input": "What is the capital of France?", "assistant_output": "Paris"}


def record(**body):
    n = next(numbers)
    return StoredRecord(n, f"{n:016x}", "telemetry", 1.0, body)


def answer(question="What is the capital of France?", reply="Paris", **more):
    return record(event_type="interaction", user_input=question, assistant_output=reply, **more)


def correction(better, question="What is the capital of France?"):
    return record(event_type="correction", user_input=question, original_response="Lyon", corrected_response=better)


def scored(*records, known=("fact", "arithmetic", "open")):
    scorer = Scorer(known_tasks=set(known))
    scorer.add(records)
    return dict(scorer.counts)


def test_the_weights_are_those_of_the_mission():
    assert WEIGHTS == {
        "correction": 10, "negative_feedback": 5, "error": 3, "novel_task_type": 3, "low_confidence": 2, "plain": 1,
        "near_duplicate": 0.1, "unusable": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        (answer(), "plain"),
        (answer(user_rating=5, confidence=0.5), "plain"),
        (correction("Paris"), "correction"),
        (answer(user_rating=2), "negative_feedback"),
        (answer(feedback_text="wrong"), "negative_feedback"),
        (record(event_type="feedback", refers_to="a", feedback=-1), "negative_feedback"),
        (record(event_type="feedback", refers_to="a", feedback=1), "plain"),
        (answer(outcome="failure"), "error"),
        (answer(success=False), "error"),
        (answer(confidence=0.49), "low_confidence"),
        (answer(metadata={"confidence": 0.1}), "low_confidence"),
        (answer(confidence=7), "plain"),  # no probability
        (answer(outcome="failure", user_rating=1, confidence=0.1), "negative_feedback"),
        (answer("Write a Python function that adds two numbers.", "def add(a, b): ..."), "novel_task_type"),
        (record(event_type="heartbeat", user_input="x", assistant_output="y"), "unusable"),
        (record(event_type="interaction", user_input="x"), "unusable"),
    ],
)
def test_a_record_has_the_heaviest_word_that_fits(sent, word):
    assert scored(sent) == {word: 1}


def test_a_kind_of_task_is_novel_once():
    code = [
        answer(f"Write a Python function for task number {n} of the {n}th list", f"def f{n}(): ...") for n in (1, 2)
    ]

    assert scored(*code) == {"novel_task_type": 1, "plain": 1}
    assert scored(*code, known=("code",)) == {"plain": 2}


LONG = "The quick brown fox jumps over the lazy dog and runs through the dark green forest until it finds the river"


def test_what_says_almost_the_same_as_one_before_weighs_a_tenth():
    near = LONG.replace("river", "lake")

    assert scored(answer(reply=LONG), answer(reply=near), answer(reply=LONG)) == {"plain": 1, "near_duplicate": 2}
    assert scored(answer(reply=LONG), answer(reply=" ".join(reversed(LONG.split())))) == {"plain": 2}


def test_a_correction_is_no_near_duplicate_of_the_answer_that_it_corrects():
    assert scored(answer(reply=LONG), correction(LONG), correction(LONG)) == {
        "plain": 1, "correction": 1, "near_duplicate": 1,
    }  # fmt: skip


def test_short_questions_that_differ_in_a_number_are_not_the_same():
    sums = [answer(f"What is {n} plus {n + 7}?", str(2 * n + 7)) for n in range(40)]

    assert scored(*sums)["plain"] == 40


def test_feedback_is_never_a_near_duplicate():
    assert scored(*[record(event_type="feedback", refers_to=f"r{n}", feedback=-1) for n in range(3)]) == {
        "negative_feedback": 3
    }


def test_the_same_records_have_the_same_score_in_portions_of_any_size():
    records = [answer(f"Tell me about thing {n % 17} in the world of {n % 5} dogs", LONG) for n in range(60)]
    at_once, bit_by_bit = Scorer(), Scorer()
    at_once.add(records)
    for one in records:
        bit_by_bit.add([one])

    assert at_once.counts == bit_by_bit.counts
    assert at_once.counts["near_duplicate"] > 10


def test_only_so_many_texts_are_remembered(monkeypatch):
    monkeypatch.setattr(module, "MOST_TEXTS", 3)
    scorer = Scorer()
    texts = [
        f"{LONG} {n}" if n == 0 else f"{n} words of number {n} that are {n} unlike {n + 1} others" for n in range(5)
    ]
    scorer.add([answer(f"Question {n}?", text) for n, text in enumerate(texts)])

    assert len(scorer._texts._signatures) == len(scorer._texts._bands) == 3
    assert all(number in scorer._texts._signatures for number in scorer._texts._first.values())
    scorer.add([answer("Question 0?", texts[0])])
    assert scorer.counts["near_duplicate"] == 0


def test_the_score_is_a_sum_without_crumbs():
    assert score({"near_duplicate": 3, "correction": 2, "plain": 4, "unusable": 9}) == 24.3
    assert words({"plain": 4, "correction": 2, "unusable": 0}) == "2 correction, 4 plain"
