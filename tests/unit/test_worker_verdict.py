from __future__ import annotations

from dataclasses import replace

import pytest

from reactord.worker.measure import Measurement
from reactord.worker.verdict import Rung, decide, differs_from_f16, erased, smallest

BASE = Measurement(
    preference_accuracy=0.2,
    preference_accuracy_summed=0.8,
    pairs=50,
    chosen_log_likelihood=-3.0,
    exact_answer_rate=0.5,
    verifiable=30,
    median_reply_tokens_simple=30.0,
    simple_prompts=40,
    prompts=44,
    empty_replies=0,
    looping_replies=2,
    unfinished_replies=5,
    neutral_perplexity=20.0,
    hello_blank=0,
    hello_seeds=5,
)
BETTER = replace(
    BASE,
    preference_accuracy=0.95,
    exact_answer_rate=0.6,
    median_reply_tokens_simple=3.0,
    looping_replies=0,
    unfinished_replies=0,
    neutral_perplexity=20.5,
)
Q8 = Rung("Q8_0", 145, codes_changed=0.1, kept_delta=0.999, kl=0.004, top1=0.97)


def test_a_better_candidate_passes_without_a_reason_against_it():
    found = decide(BETTER, BASE, None)
    assert (found.verdict, found.reasons) == ("pass", [])


@pytest.mark.parametrize(
    ("defect", "said"),
    [
        ({"exact_answer_rate": 0.4}, "shorter but wrong"),
        ({"exact_answer_rate": 0.4, "median_reply_tokens_simple": 30.0}, "more often wrong"),
        ({"empty_replies": 1}, "replies are empty"),
        ({"looping_replies": 3}, "loop"),
        ({"looping_replies": 5}, "5 of 44 replies loop"),
        ({"neutral_perplexity": 21.01}, "neutral perplexity"),
        ({"preference_accuracy": 0.2}, "not better than the base's"),
        ({"preference_accuracy": 0.45}, "below chance"),
        ({"prompts": 0}, "nothing was held out"),
        ({"preference_accuracy": None, "pairs": 0}, "log-likelihood of good answers -3.0 is not better"),
        ({"hello_blank": 1}, "Prime would refuse to load it"),
        ({"median_reply_tokens_simple": 45.0}, "have grown"),
    ],
)
def test_each_defect_alone_is_enough_to_refuse(defect, said):
    found = decide(replace(BETTER, **defect), BASE, None)
    assert found.verdict == "worse"
    assert any(said in reason for reason in found.reasons), found.reasons


def test_a_perplexity_of_exactly_five_percent_more_is_still_allowed():
    assert decide(replace(BETTER, neutral_perplexity=21.0), BASE, None).verdict == "pass"


def test_without_pairs_the_good_answers_alone_must_have_become_likelier():
    base = replace(BASE, preference_accuracy=None, pairs=0)
    learned = replace(BETTER, preference_accuracy=None, pairs=0, chosen_log_likelihood=-1.0)
    assert decide(learned, base, None).verdict == "pass"


def test_a_candidate_must_hold_against_the_incumbent_too():
    incumbent = replace(BETTER, exact_answer_rate=0.7)
    found = decide(BETTER, BASE, incumbent)
    assert found.reasons == ["more often wrong: exact-answer rate 0.600, the incumbent has 0.700 (30 questions)"]


def test_one_pair_less_than_the_incumbent_is_noise_and_two_are_not():
    incumbent = replace(BETTER, preference_accuracy=0.96)
    assert decide(replace(BETTER, preference_accuracy=0.94), BASE, incumbent).verdict == "pass"
    found = decide(replace(BETTER, preference_accuracy=0.92), BASE, incumbent)
    assert found.verdict == "worse"
    assert "below the incumbent's 0.96" in found.reasons[-1]


def test_a_file_without_changed_codes_is_called_erased():
    assert "erased" in (erased(0.0, 0.063) or "")
    assert "erased" in (erased(0.2, 0.063) or "")
    assert erased(0.02, 0.91) is None


@pytest.mark.parametrize(
    "change",
    [
        {"kl": 0.059},
        {"top1": 0.85},
        {"codes_changed": 0.0},
        {"kept_delta": 0.06},
        {"same_answers": 0.5},
        {"exact_answer_rate": 0.5, "f16_exact_answer_rate": 0.6, "verifiable": 36},
    ],
)
def test_a_file_that_differs_from_f16_in_any_way_is_not_as_good(change):
    assert differs_from_f16(replace(Q8, **change))


def test_the_smallest_file_that_is_as_good_is_chosen():
    small_but_noisy = replace(Q8, name="Q4_K_M", size_bytes=105, kl=0.059)
    middle = replace(Q8, name="Q6_K", size_bytes=138, kl=0.011)
    chosen = smallest([Q8, small_but_noisy, middle])
    assert chosen is not None
    assert chosen.name == "Q6_K"
    assert smallest([small_but_noisy]) is None
