"""Do strengths follow from wins, and does their uncertainty mean what it says?"""

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactord.data.standing import MAX_MODELS, PRIOR_PRECISION, Z_LIMIT, fit

COUNTS = st.dictionaries(
    st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")).filter(lambda pair: pair[0] != pair[1]),
    st.integers(1, 60),
)


def log_posterior(strength, wins):
    total = -PRIOR_PRECISION / 2 * sum(s * s for s in strength.values())
    return total - sum(
        n * math.log1p(math.exp(strength[loser] - strength[winner])) for (winner, loser), n in wins.items()
    )


@given(COUNTS)
def test_no_other_strengths_explain_the_wins_better(wins):
    fitted = dict(fit(wins).strength)
    best = log_posterior(fitted, wins)
    for model, strength in fitted.items():
        for nudge in (-0.01, 0.01):
            assert log_posterior(fitted | {model: strength + nudge}, wins) <= best


def test_two_models_come_out_as_a_calculation_by_hand():
    # one unknown d = 2s: 12 (1 - p) - 4 p - d/2 = 0 with p = sigmoid(d); bisect it
    low, high = 0.0, 5.0
    for _ in range(80):
        d = (low + high) / 2
        p = 1 / (1 + math.exp(-d))
        low, high = (d, high) if 12 * (1 - p) - 4 * p - d / 2 > 0 else (low, d)
    found = fit({("a", "b"): 12, ("b", "a"): 4}).compare("a", "b")
    assert found.probability == pytest.approx(p, abs=1e-9)
    # information of d: n p q + 1/2 (the prior on each s is 1, so var d is 2)
    assert found.z == pytest.approx(d * math.sqrt(16 * p * (1 - p) + 1 / 2), abs=1e-6)


def test_a_few_wins_are_a_tendency_and_many_a_verdict():
    assert not fit({("a", "b"): 3}).compare("a", "b").decisive
    assert fit({("a", "b"): 30}).compare("a", "b").decisive
    assert not fit({("a", "b"): 30, ("b", "a"): 28}).compare("a", "b").decisive


def test_strength_passes_through_a_common_opponent_with_more_doubt():
    fitted = fit({("a", "b"): 40, ("b", "a"): 4, ("b", "c"): 40, ("c", "b"): 4})
    assert fitted.compare("a", "c").probability > fitted.compare("a", "b").probability
    mirrored = fitted.compare("c", "a")
    assert mirrored.z == pytest.approx(-fitted.compare("a", "c").z)
    assert mirrored.probability == pytest.approx(1 - fitted.compare("a", "c").probability)


def test_equal_models_are_called_different_at_most_one_time_in_twenty():
    rng = random.Random(1)
    wrong = 0
    for _ in range(400):
        wins = Counter(rng.choice([("a", "b"), ("b", "a")]) for _ in range(40))
        wrong += fit(wins).compare("a", "b").decisive
    assert wrong / 400 <= 0.06


def test_a_true_difference_is_recovered_within_its_own_error():
    rng = random.Random(2)
    true = 1.0
    inside = 0
    for _ in range(200):
        wins = Counter(("a", "b") if rng.random() < 1 / (1 + math.exp(-true)) else ("b", "a") for _ in range(300))
        found = fit(wins).compare("a", "b")
        difference = math.log(found.probability / (1 - found.probability))
        inside += abs(difference - true) <= Z_LIMIT * difference / found.z
    assert inside >= 180


def test_unknown_models_have_no_standing_and_the_least_known_are_left_out():
    assert fit({}).compare("a", "b") is None
    assert fit({("a", "b"): 1}).compare("a", "c") is None
    assert fit({("a", "b"): 1}).compare("a", "a") is None
    many = fit({(f"m{i:03}", "champion"): i + 1 for i in range(100)})
    assert len(many.strength) == MAX_MODELS
    assert "champion" in many.strength
    assert "m000" not in many.strength


@pytest.mark.parametrize("count", [1, 1e3, 1e9])
def test_lopsided_counts_do_not_blow_up(count):
    found = fit({("a", "b"): count}).compare("a", "b")
    assert 0.5 < found.probability <= 1
    assert math.isfinite(found.z)
