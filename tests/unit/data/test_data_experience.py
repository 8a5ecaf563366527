"""Is every producer's record read, and garbage refused with a reason?"""

import pytest
from data_helpers import NOW, corrected, said, stored
from hypothesis import given
from hypothesis import strategies as st

from reactord.data.experience import MAX_PROMPT_CHARS, MAX_REPLY_CHARS, Experience, Refused, normalise

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    [
        "event_type",
        "type",
        "user_input",
        "assistant_output",
        "prompt",
        "completion",
        "data",
        "input",
        "output",
        "metadata",
        "outcome",
        "success",
        "user_rating",
        "feedback_score",
        "feedback_text",
        "model_id",
        "original_response",
        "corrected_response",
        "event_id",
        "id",
        "interaction_id",
        "system_context",
        "complexity_level",
        "text",
        "response",
    ]
)


def read(body):
    return normalise(stored([body])[0])


CANONICAL = said(
    "What is 2 + 2?", "4", "prime", user_rating=5, event_id="e1", complexity_level="simple", feedback_text=None
)
RAW = {
    "event_id": "e1",
    "event_type": "interaction",
    "timestamp": 1.0,
    "source": "jarvis_body",
    "data": {
        "user_input": "What is 2 + 2?",
        "response": "4",
        "model_id": "prime",
        "outcome": "success",
        "user_rating": 5,
    },
}
BODY_ITEM = {
    "id": "e1", "type": "interaction", "input": {"text": "What is 2 + 2?"}, "output": {"text": "4"}, "success": True,
    "metadata": {"model_id": "prime", "user_rating": 5}, "component": "brain",
}  # fmt: skip
EXPERIENCE_DICT = {
    "experience_id": "e1", "experience_type": "interaction", "input_data": {"query": "What is 2 + 2?"},
    "output_data": {"response": "4", "model": "prime"}, "success": True, "rating": 5,
}  # fmt: skip
PRIME_FLAT = {
    "record_id": "e1", "prompt": "User: What is 2 + 2?\nAssistant:", "completion": "4", "model_version": "prime",
    "success": True, "rating": 5,
}  # fmt: skip


@pytest.mark.parametrize("body", [CANONICAL, RAW, BODY_ITEM, EXPERIENCE_DICT, PRIME_FLAT])
def test_the_five_shapes_of_an_interaction_say_the_same(body):
    found = read(body)
    assert isinstance(found, Experience)
    assert (found.kind, found.prompt, found.reply, found.model) == ("answer", "What is 2 + 2?", "4", "prime")
    assert (found.outcome, found.rating, found.event_id, found.complex) == ("success", 5, "e1", False)


def test_a_correction_carries_both_answers():
    found = read(corrected("Capital of France?", "Lyon", "Paris"))
    assert (found.kind, found.reply, found.corrected) == ("correction", "Lyon", "Paris")


def test_a_flattened_dialogue_of_one_turn_is_its_question():
    found = read({"prompt": "System: Be brief.\nUser: Capital of Peru?\nAssistant:", "completion": "Lima"})
    assert (found.system, found.prompt) == ("Be brief.", "Capital of Peru?")


def test_a_dialogue_of_several_turns_keeps_them_since_its_last_question_alone_is_another_one():
    text = "User: Capital of Peru?\nAssistant: Lima\nUser: And of Chile?"
    assert read({"prompt": text + "\nAssistant:", "completion": "Santiago"}).prompt == text


@pytest.mark.parametrize(
    ("fields", "opinion"),
    [
        ({"feedback_score": 0.9}, 1),
        ({"feedback_score": -1}, -1),
        ({"feedback_score": 0.2}, 0),
        ({"feedback_text": "Wrong!"}, -1),
        ({"feedback_text": "This is wrong."}, -1),
        ({"user_feedback": "thumbs_up"}, 1),
        ({"feedback": "perfect"}, 1),
        ({"feedback_text": "not wrong at all"}, 0),
        ({"feedback_text": "good, but the date is wrong"}, 0),
        ({}, 0),
    ],
)
def test_only_plain_feedback_is_an_opinion(fields, opinion):
    assert read(said("q", "a", **fields)).opinion == opinion


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"event_type": "error", "user_input": "q"}, "not_an_interaction"),
        ({"event_type": "metric"}, "not_an_interaction"),
        ({"type": "autonomy:committed", "input": {"text": "q"}}, "not_an_interaction"),
        (said("", "a"), "no_prompt"),
        (said("q", ""), "no_reply"),
        (said("q", "  \n"), "no_reply"),
        ({}, "no_prompt"),
        (said("q" * (MAX_PROMPT_CHARS + 1), "a"), "prompt_too_long"),
        (said("q", "a" * (MAX_REPLY_CHARS + 1)), "reply_too_long"),
        (said("q", None, event_type="correction"), "correction_without_answers"),
        (said("q\ud800", "a"), "not_unicode"),
        (said("q", "", event_type="feedback", feedback_text="wrong"), "feedback_without_reference"),
        (said("q", "", event_type="feedback", interaction_id="e1", feedback_text="hm"), "feedback_without_opinion"),
        (said("q", "a", system_context="s" * (MAX_PROMPT_CHARS + 1)), "prompt_too_long"),
        (said(17, ["a"]), "no_prompt"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_with_its_reason(body, reason):
    found = read(body)
    assert isinstance(found, Refused)
    assert found.reason == reason


@given(st.dictionaries(FIELDS, JSON, max_size=8))
def test_garbage_never_raises_and_what_passes_is_bounded(body):
    found = read(body)
    assert found.identity == stored([body])[0].identity
    if isinstance(found, Experience) and found.kind != "feedback":
        assert 0 < len(found.prompt) <= MAX_PROMPT_CHARS
        assert found.reply or found.corrected
        assert found.rating is None or 1 <= found.rating <= 5
        assert found.opinion in (-1, 0, 1)
        (found.prompt + found.reply + found.model + (found.system or "")).encode()


def test_arrival_is_the_ledgers_not_the_senders():
    assert read(said("q", "a", timestamp="1999-01-01")).arrived_at == pytest.approx(NOW - 60)
