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
        ({"type": "autonomy:committed", "input": {"text": "q"}}, "no_reply"),
        ({"type": "autonomy:policy_denied", "input": {"text": "q"}}, "autonomy_infrastructure"),
        ({"type": "autonomy:no_journal_lease"}, "autonomy_infrastructure"),
        ({"type": "autonomy:superseded"}, "autonomy_deferred"),
        ({"type": "autonomy:deduplicated"}, "autonomy_unknown"),
        ({"type": "autonomy:never heard of"}, "autonomy_unknown"),
        (said("q", "a", metadata={"should_train": False}), "sender_says_not_to_train"),
        (said("q", "a", quality="rejected"), "sender_rejected_it"),
        ({"prompt": "q", "chosen": "the one answer", "rejected": "the one answer"}, "pair_sides_equal"),
        ({"prompt": "q", "chosen": "long enough", "rejected": "no"}, "pair_side_too_short"),
        ({"prompt": " ", "chosen": "long enough", "rejected": "also long"}, "no_prompt"),
        ({"prompt": "q", "chosen": "a" * (MAX_REPLY_CHARS + 1), "rejected": "also long"}, "reply_too_long"),
        ({"type": "outcome_update", "refers_to": "e1", "outcome": "pending"}, "feedback_without_opinion"),
        ({"messages": [{"role": "user", "content": "q"}]}, "no_prompt"),
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


# -- what other producers write ----------------------------------------------------------------------------------------
PAIR = {
    "prompt": "User: Capital of Japan?\nAssistant:", "chosen": "Tokyo.", "rejected": "As far as I know, Kyoto.",
    "chosen_model": "small", "rejected_model": "large", "chosen_score": 0.92, "rejected_score": 0.41,
    "generation_method": "cross_model",
}  # fmt: skip


def test_a_ready_made_pair_says_who_chose_what_and_by_which_measure():
    found = read(PAIR)

    assert (found.kind, found.prompt, found.reply, found.corrected) == (
        "pair",
        "Capital of Japan?",
        PAIR["rejected"],
        "Tokyo.",
    )
    assert (found.model, found.chosen_model, found.claim) == ("large", "small", "cross_model: 0.92 against 0.41")


@pytest.mark.parametrize(
    ("fields", "claim"),
    [
        ({"generation_method": None}, "method not named: 0.92 against 0.41"),
        ({"generation_method": "two\nlines"}, "method not named: 0.92 against 0.41"),
        ({"chosen_score": True}, "cross_model: no scores"),
        ({"rejected_score": None}, "cross_model: no scores"),
    ],
)
def test_what_a_pair_does_not_say_is_not_invented(fields, claim):
    assert read({**PAIR, **fields}).claim == claim


def test_messages_are_a_question_and_its_answer():
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Capital of Peru?"},
             {"role": "assistant", "content": "Lima"}]  # fmt: skip
    found = read({"id": "r", "messages": turns, "metadata": {"success": True, "model_version": "m"}})

    assert (found.system, found.prompt, found.reply) == ("Be brief.", "Capital of Peru?", "Lima")
    assert (found.outcome, found.model, found.event_id) == ("success", "m", "r")


def test_a_conversation_of_several_turns_keeps_them_and_answers_its_last_question():
    turns = [("user", "Capital of Peru?"), ("assistant", "Lima"), ("user", "And of Chile?"), ("assistant", "Santiago"),
             ("user", "Thanks")]  # fmt: skip
    found = read({"data": {"turns": [{"role": role, "content": text} for role, text in turns]}})

    assert found.prompt == "User: Capital of Peru?\nAssistant: Lima\nUser: And of Chile?"
    assert found.reply == "Santiago"


def test_an_instruction_and_its_input_are_one_question():
    found = read({"instruction": "Translate to French.", "input": "Good morning", "output": "Bonjour"})

    assert (found.prompt, found.reply) == ("Translate to French.\n\nGood morning", "Bonjour")


def test_an_instruction_among_the_metadata_does_not_replace_what_was_asked():
    assert read(said("q", "a", metadata={"instruction": "be kind"})).prompt == "q"


def test_what_the_experience_recorder_writes_is_an_answer_and_its_update_is_feedback_with_an_outcome():
    answer = read(
        {"record_id": "r", "user_prompt": "q", "agent_response": "a", "model_name": "m", "outcome": "pending"}
    )
    update = read({"type": "outcome_update", "refers_to": "r", "outcome": "failure"})

    assert (answer.kind, answer.event_id, answer.prompt, answer.reply, answer.outcome) == (
        "answer",
        "r",
        "q",
        "a",
        "unknown",
    )
    assert (update.kind, update.refers_to, update.outcome) == ("feedback", "r", "failure")


@pytest.mark.parametrize(("said_", "opinion"), [("thumbs_up", 1), (-1, -1), (0.2, None)])
def test_primes_feedback_is_an_opinion_in_words_or_numbers(said_, opinion):
    found = read({"event_type": "feedback", "refers_to": "r-9", "feedback": said_})

    assert getattr(found, "opinion", None) == opinion


@pytest.mark.parametrize(("ended", "outcome"), [("committed", "success"), ("failed", "failure")])
def test_an_autonomy_event_teaches_by_how_it_ended_and_not_by_what_else_it_says(ended, outcome):
    body = {"type": f"autonomy:{ended}", "input": {"text": "q"}, "output": {"text": "a"}, "success": ended == "failed"}

    assert read(body).outcome == outcome


def test_that_feedback_was_taken_is_no_success_of_what_it_is_about():
    assert read(said("q", "", event_type="feedback", interaction_id="e1", feedback_text="wrong")).outcome == "unknown"
