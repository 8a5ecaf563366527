"""Is the length bias what a calculation by hand says?"""

import math

import pytest
from data_helpers import count

from reactord.data.example import Evidence, Example
from reactord.data.lengths import bias


def pair(chosen, rejected, kind):
    return Example(
        "q",
        None,
        "a " * chosen,
        "b " * rejected if rejected else None,
        (Evidence(kind, "", 1.0),),
        (),
        "fact",
        True,
        "a",
        "b",
        "",
        None,
        0.0,
    )


def test_the_numbers_are_those_of_a_calculation_by_hand():
    found = bias([pair(1, 9, "brevity"), pair(3, 11, "brevity"), pair(8, 4, "rating"), pair(5, None, "rating")], count)
    # chosen 1 3 8: mean 4, variance 13; rejected 9 11 4: mean 8, variance 13; d = -4 / sqrt(13)
    assert found["all"] == {
        "pairs": 3,
        "mean_chosen": 4.0,
        "mean_rejected": 8.0,
        "cohens_d": round(-4 / math.sqrt(13), 3),
        "chosen_shorter": 0.667,
    }
    # chosen 1 3: mean 2, variance 2; rejected 9 11: mean 10, variance 2; d = -8 / sqrt(2)
    assert found["brevity"] == {
        "pairs": 2,
        "mean_chosen": 2.0,
        "mean_rejected": 10.0,
        "cohens_d": round(-8 / math.sqrt(2), 3),
        "chosen_shorter": 1.0,
    }
    assert found["rating"]["pairs"] == 1
    assert found["rating"]["cohens_d"] is None


@pytest.mark.parametrize("examples", [[], [pair(2, None, "outcome")]])
def test_without_pairs_nothing_is_invented(examples):
    assert bias(examples, count) == {
        "all": {"pairs": 0, "mean_chosen": None, "mean_rejected": None, "cohens_d": None, "chosen_shorter": None}
    }


def test_equal_lengths_have_no_effect_size():
    assert bias([pair(2, 2, "rating"), pair(2, 2, "rating")], count)["all"]["cohens_d"] is None
