"""Is one answer preferred to another only for a reason, and never a wrong one?"""

import pytest
from data_helpers import corrected, count, said, stored
from hypothesis import given
from hypothesis import strategies as st

from reactord.data.experience import normalise
from reactord.data.groups import MAX_ANSWERS, gather
from reactord.data.pairs import judge

FRANCE = "What is the capital of France?"
LONG = "The capital of France is Paris. It is a large city on the river Seine, known for its museums and its food."
SUM = "What is 15 + 27?"


def verdicts(*bodies):
    return judge(gather([normalise(record) for record in stored(bodies)]).groups, count)


def only(*bodies):
    found = verdicts(*bodies)
    assert len(found) == 1
    return found[0]


def preferred(*bodies):
    """(winner, loser, kinds of evidence) of the only preference, or None."""
    beats = only(*bodies).beats
    assert len(beats) <= 1
    return (beats[0].winner.text, beats[0].loser.text, [e.kind for e in beats[0].evidence]) if beats else None


def test_a_correction_beats_what_it_corrects():
    assert preferred(corrected(FRANCE, "Lyon", "Paris")) == ("Paris", "Lyon", ["correction"])


def test_the_verifier_prefers_right_to_wrong_however_terse_the_wrong_one_is():
    assert preferred(said(SUM, "43", "a"), said(SUM, "15 + 27 = 42. So the answer is 42.", "b")) == (
        "15 + 27 = 42. So the answer is 42.", "43", ["verifier"],
    )  # fmt: skip


def test_success_beats_failure():
    assert preferred(said(FRANCE, "Paris", "a"), said(FRANCE, "Lyon", "b", "failure")) == ("Paris", "Lyon", ["outcome"])


@pytest.mark.parametrize(
    ("one", "other", "decided"), [(5, 1, True), (4, 2, True), (4, 3, False), (3, 3, False), (5, None, False)]
)
def test_ratings_must_be_two_points_apart(one, other, decided):
    found = preferred(
        said(FRANCE, "Paris", "a", "unknown", user_rating=one), said(FRANCE, "Lyon", "b", "unknown", user_rating=other)
    )
    assert found == (("Paris", "Lyon", ["rating"]) if decided else None)


def test_feedback_that_names_an_interaction_counts_for_its_answer():
    asked = (said(FRANCE, "Paris", "a", event_id="e1"), said(FRANCE, "Lyon", "b", event_id="e2"))
    blame = said("", "", event_type="feedback", metadata={"interaction_id": "e2"}, feedback_text="wrong")
    assert preferred(*asked) is None
    assert preferred(*asked, blame) == ("Paris", "Lyon", ["feedback"])
    rating = said("", "", event_type="feedback", interaction_id="e2", user_rating=1)
    assert preferred(asked[0] | {"user_rating": 5}, asked[1], rating) == ("Paris", "Lyon", ["rating"])


def test_praise_alone_says_nothing_about_the_other_answer():
    assert preferred(said(FRANCE, "Paris", "a", feedback_text="good"), said(FRANCE, "Lyon", "b")) is None


def test_feedback_about_something_else_changes_nothing():
    stray = said("", "", event_type="feedback", interaction_id="nobody", feedback_text="wrong")
    assert preferred(said(FRANCE, "Paris", "a", event_id="e1"), said(FRANCE, "Lyon", "b"), stray) is None


def test_the_terse_answer_wins_where_both_are_right():
    assert preferred(said(FRANCE, "Paris", "a"), said(FRANCE, LONG, "b")) == ("Paris", LONG, ["brevity"])
    steps = "We add the two numbers step by step: 15 + 27 = 42. So the answer is 42."
    assert preferred(said(SUM, "42", "a"), said(SUM, steps, "b")) == ("42", steps, ["brevity"])


@pytest.mark.parametrize(
    ("terse", "verbose"),
    [
        (said(FRANCE, "Lyon", "a"), said(FRANCE, LONG, "b")),  # wrong, and called a success
        (said(FRANCE, "France", "a"), said(FRANCE, LONG, "b")),  # an echo
        (said(FRANCE, "Paris", "a", "unknown"), said(FRANCE, LONG, "b")),
        (said(FRANCE, "Paris", "a"), said(FRANCE, LONG, "b", "unknown")),
        (said(FRANCE, "Paris", "a", user_rating=2), said(FRANCE, LONG, "b")),
        (said(FRANCE, "Paris", "a"), said(FRANCE, LONG, "b", user_rating=1)),
        (said(FRANCE, "Paris", "a", complexity_level="high"), said(FRANCE, LONG, "b")),
        (said("Explain why bread rises.", "Yeast.", "a"), said("Explain why bread rises.", "It is Yeast. " * 9, "b")),
        (said(FRANCE, "Paris, yes", "a"), said(FRANCE, "It is Paris, yes", "b")),  # not half as long
    ],
)
def test_terse_is_no_reason_unless_the_question_is_simple_and_both_are_right(terse, verbose):
    found = only(terse, verbose)
    assert "brevity" not in [e.kind for preference in found.beats for e in preference.evidence]


def test_evidence_that_points_both_ways_makes_no_pair():
    found = only(said(SUM, "42", "a", user_rating=1), said(SUM, "43", "b", user_rating=5))
    assert not found.beats
    assert len(found.conflicts) == 1
    liked = only(said(FRANCE, "Paris", "a", user_rating=3), said(FRANCE, LONG, "b", user_rating=5))
    assert not liked.beats
    assert liked.conflicts


def test_a_correction_towards_a_wrong_sum_is_a_conflict():
    assert only(corrected(SUM, "42", "43")).conflicts


def test_an_answer_known_to_be_wrong_is_never_chosen_even_against_a_worse_one():
    both_wrong = only(said(SUM, "43", "a", user_rating=5), said(SUM, "44", "b", user_rating=1))
    assert not both_wrong.beats
    assert len(both_wrong.vetoed) == 1
    assert not only(corrected(SUM, "44", "43")).beats


def test_one_text_that_succeeded_and_failed_says_neither():
    assert (
        preferred(said(FRANCE, "Paris", "a"), said(FRANCE, "Lyon", "b", "failure"), said(FRANCE, "Lyon", "c")) is None
    )


def test_two_phrasings_meet_and_two_systems_do_not():
    assert preferred(said("Hey Jarvis, what is the capital of France? Thanks!", "Paris"), said(FRANCE, LONG))
    assert len(verdicts(said(FRANCE, "Paris"), said(FRANCE, LONG, system_context="Be a pirate."))) == 2


def test_a_question_teaches_one_answer():
    found = only(said(FRANCE, "Paris", "a"), said(FRANCE, LONG, "b"), said(FRANCE, "Lyon", "c", "failure"))
    assert found.best().text == "Paris"
    assert {p.loser.text for p in found.beats if p.winner.text == "Paris"} == {LONG, "Lyon"}


def test_a_circle_of_preferences_has_no_best():
    rated = [
        said("Name a good dog.", text, m, "unknown", user_rating=r) for text, m, r in (("Rex", "a", 1), ("Bo", "b", 4))
    ]
    assert only(*rated, corrected("Name a good dog.", "Bo", "Rex")).best() is None


def history(better, worse, number, kind="capital"):
    """Questions where one model succeeded and the other failed."""
    return [
        body
        for i in range(number)
        for body in (
            said(f"What is the {kind} of land{i}?", f"yes{i}", better),
            said(f"What is the {kind} of land{i}?", f"no{i}", worse, "failure"),
        )
    ]


def standing_of(found):
    return [(p.winner.text, p.loser.text) for v in found for p in v.beats for e in p.evidence if e.kind == "standing"]


def test_standing_decides_where_nothing_else_does_and_only_when_it_is_sure():
    open_case = [said(FRANCE, "Paris", "good"), said(FRANCE, "Lyon", "bad")]
    assert standing_of(verdicts(*history("good", "bad", 20), *open_case)) == [("Paris", "Lyon")]
    assert standing_of(verdicts(*history("good", "bad", 2), *open_case)) == []
    assert standing_of(verdicts(*history("good", "bad", 10), *history("bad", "good", 10, "anthem"), *open_case)) == []


def test_standing_in_one_type_of_task_says_nothing_about_another():
    sums = [
        b
        for i in range(20)
        for b in (said(f"What is {i} + 40?", str(i + 40), "good"), said(f"What is {i} + 40?", "9", "bad"))
    ]
    assert standing_of(verdicts(*sums, said(FRANCE, "Paris", "good"), said(FRANCE, "Lyon", "bad"))) == []


def test_to_be_terse_is_not_to_be_right():
    brief = [
        b
        for i in range(30)
        for b in (
            said(f"Who wrote book{i}?", f"author{i}", "terse"),
            said(f"Who wrote book{i}?", f"It is author{i} and here is more on that.", "wordy"),
        )
    ]
    found = verdicts(*brief, said(FRANCE, "Lyon", "terse"), said(FRANCE, LONG, "wordy"))
    assert sum(e.kind == "brevity" for v in found for p in v.beats for e in p.evidence) == 30
    assert standing_of(found) == []


def test_standing_never_overrules_a_verifier():
    found = verdicts(
        *[
            b
            for i in range(20)
            for b in (said(f"What is {i} + 40?", str(i + 40), "good"), said(f"What is {i} + 40?", "9", "bad"))
        ],
        said("What is 2 + 2?", "5", "good"),
        said("What is 2 + 2?", "no idea", "bad"),
    )
    assert "5" not in [p.winner.text for v in found for p in v.beats]


def test_the_check_of_a_fact_needs_two_answers_that_agree():
    agreed = only(said(FRANCE, "Paris", "a"), said(FRANCE, LONG, "b"))
    assert agreed.check(agreed.best()) == {"kind": "contains", "expected": "Paris"}
    alone = only(said(FRANCE, "Paris", "a"), said(FRANCE, "Lyon", "b", "failure"))
    assert alone.check(alone.best()) is None
    sums = only(said(SUM, "42", "a"), said(SUM, "43", "b"))
    assert sums.check(sums.best()) == {"kind": "arithmetic", "expected": "42"}


def test_a_correction_without_its_original_finds_it_by_id():
    lost = {"event_type": "correction", "user_input": FRANCE, "corrected_response": "Paris", "interaction_id": "e1"}
    assert preferred(said(FRANCE, "Lyon", "b", event_id="e1"), lost) == ("Paris", "Lyon", ["correction"])
    assert gather([normalise(record) for record in stored([lost])]).loose


def test_of_too_many_answers_the_newest_are_compared():
    group = gather([normalise(r) for r in stored([said(FRANCE, f"city{i}") for i in range(MAX_ANSWERS + 3)])]).groups[0]
    assert {a.text for a in group.answers} == {f"city{i}" for i in range(3, MAX_ANSWERS + 3)}
    assert len(group.left_out) == 3


ANSWERS = st.builds(
    said,
    st.sampled_from([SUM, "What is 6 * 7?", FRANCE]),
    st.sampled_from(
        ["42", "43", "15 + 27 = 42", "6 * 7 = 42", "6 * 7 = 43, so the answer is 43.", "Paris", "Lyon", LONG]
    ),
    st.sampled_from("abc"),
    st.sampled_from(["success", "failure", "unknown"]),
    user_rating=st.none() | st.integers(1, 5),
    feedback_text=st.sampled_from([None, "good", "wrong"]),
)


@given(st.lists(ANSWERS, max_size=14))
def test_whatever_people_say_a_sum_known_to_be_wrong_is_never_chosen(bodies):
    for verdict in verdicts(*bodies):
        best = verdict.best()
        assert best is None or best.right is not False
        assert best is None or best.outcome != "failure"
        decided = {frozenset((p.winner.text, p.loser.text)) for p in verdict.beats}
        assert len(decided) == len(verdict.beats)
        assert not decided & {frozenset((a.text, b.text)) for a, b in verdict.conflicts}


# -- pairs that another program made -----------------------------------------------------------------------------------
def ready_made(prompt, chosen, rejected, **extra):
    return {
        "prompt": prompt, "chosen": chosen, "rejected": rejected, "chosen_model": "small", "rejected_model": "large",
        "chosen_score": 0.9, "rejected_score": 0.4, "generation_method": "cross_model", **extra,
    }  # fmt: skip


def test_a_ready_made_pair_is_one_preference_and_keeps_its_method_and_scores():
    (preference,) = only(ready_made(FRANCE, "It is Paris.", "It is Lyon.")).beats
    (evidence,) = preference.evidence

    assert (preference.winner.text, preference.winner.models) == ("It is Paris.", ("small",))
    assert (preference.loser.text, preference.loser.models) == ("It is Lyon.", ("large",))
    assert (evidence.kind, evidence.detail, evidence.weight) == ("ready_made", "cross_model: 0.9 against 0.4", 0.6)


def test_a_ready_made_pair_never_makes_a_wrong_answer_the_chosen_one():
    assert preferred(ready_made(SUM, "15 + 27 = 43", "15 + 27 = 42")) is None


def test_a_ready_made_pair_that_a_user_contradicts_is_a_conflict():
    found = only(ready_made(FRANCE, "It is Lyon.", "It is Paris."), corrected(FRANCE, "It is Lyon.", "It is Paris."))

    assert not found.beats
    assert len(found.conflicts) == 1


def test_what_other_programs_chose_teaches_no_standing():
    pairs = [ready_made(f"What is the capital of country {n}?", "It is this.", "It is that.") for n in range(40)]
    unknown = [
        said("Who wrote Emma?", "It was Austen.", "small", "unknown"),
        said("Who wrote Emma?", "It was Eliot.", "large", "unknown"),
    ]

    assert all(e.kind == "ready_made" for v in verdicts(*pairs, *unknown) for p in v.beats for e in p.evidence)


def test_how_an_answer_ended_may_be_told_later():
    lines = [
        said(FRANCE, "It is Lyon.", "a", "unknown", event_id="e1"),
        said(FRANCE, "It is Paris.", "b", "success", event_id="e2"),
        {"type": "outcome_update", "refers_to": "e1", "outcome": "failure"},
    ]

    assert preferred(*lines) == ("It is Paris.", "It is Lyon.", ["outcome"])
