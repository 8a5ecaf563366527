"""Do phrasings of one question meet, and never two questions?"""

from itertools import combinations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reactord.data.query import read, words
from reactord.demo.sample_facts import CODE, CORRECTED, DOMAINS, JSON_TASKS, LONE, OPEN

POLITE = (
    "{}", "Hey Jarvis, {}", "please tell me: {}", "{} Thanks!", "Can you tell me, {}", "hi! {}", "  {}  ",
    "Could you please tell me {}", "OK Jarvis, {} Thank you very much.", "do you know {}", "{} please",
)  # fmt: skip
QUESTIONS = [
    *(d.questions[0].format(subject) for d in DOMAINS for subject, _ in d.rows()), *(p for p, *_ in CORRECTED),
    *(p for p, *_ in JSON_TASKS), *(p for p, *_ in CODE), *(p for p, *_ in OPEN), *(p for p, *_ in LONE),
]  # fmt: skip


def key(text):
    return read(text).key


@pytest.mark.parametrize("wrapped", POLITE)
@pytest.mark.parametrize(
    "question",
    ["What is the capital of France?", "Who wrote Hamlet?", "Name the capital city of Peru.", "What is 15 + 27?"],
)
def test_politeness_does_not_make_another_question(question, wrapped):
    assert key(wrapped.format(question[0].lower() + question[1:])) == key(question)


def test_short_forms_meet_the_long_ones():
    assert key("What's the capital of France?") == key("capital of France") == key("What is the capital of France")
    assert key("15+27=") == key("Please calculate 15 plus 27.") == key("How much is the sum of 15 and 27?")


def test_no_two_questions_of_the_sample_meet():
    keys = {}
    for question in dict.fromkeys(QUESTIONS):
        assert key(question) not in keys, (question, keys.get(key(question)))
        keys[key(question)] = question


@pytest.mark.parametrize(
    "texts",
    [
        ("capital of France", "capital of Spain"), ("15 + 27", "15 + 28", "15 - 27", "1 + 527", "15.27"),
        ("What is 5?", "What is 5!?", "What is .5?", "What is -5?"), ("What is C?", "What is C++?", "What is C#?"),
        ("hello in Spanish", "hi in Spanish", "please in Spanish", "thanks in Spanish", "in Spanish"),
        ("opposite of please", "opposite of thanks", "opposite of hello", "opposite of"),
        ("the word please", "the word thanks"), ("is 3 < 4?", "is 3 > 4?", "is 3 = 4?"),
        ("what do you know", "do you know"), ("Return json {}", "Return json []", "return JSON {}"),
        ("define a function in python f(x)", "define a function in python F(x)"),
    ],
)  # fmt: skip
def test_different_questions_never_meet(texts):
    for one, other in combinations(texts, 2):
        assert key(one) != key(other), (one, other)


@given(st.integers(0, 999), st.integers(0, 999), st.integers(0, 999), st.integers(0, 999), st.sampled_from(POLITE))
def test_sums_meet_only_themselves(a, b, c, d, wrapped):
    assert (key(wrapped.format(f"{a} + {b}")) == key(f"what is {c} + {d}?")) == ((a, b) == (c, d))


@given(st.text(max_size=300))
@example("please" * 50)
@example("hi! " * 75)
@example("\u0130 ??? \ufb01")
def test_every_text_has_one_canonical_form(text):
    query = read(text)
    assert key(f"  {text}\n") == query.key or query.task_type in ("code", "json")
    assert not (query.simple and query.task_type in ("open", "json", "code"))


@pytest.mark.parametrize(
    ("prompt", "task_type", "simple"),
    [
        ("What is 15 + 27?", "arithmetic", True), ("Solve for x: 2x + 3 = 11", "equation", True),
        ("What is the capital of France?", "fact", True), ("How many legs does a spider have?", "fact", True),
        ("Return a JSON object.", "json", False), ("Write a Python function f(x).", "code", False),
        ("Explain why bread rises.", "open", False), ("Why is the sky blue?", "open", False),
        ("What are the pros and cons of JIT?", "open", False), ("What time is it now?", "open", False),
        ("What is on my calendar today?", "open", False), ("What is the weather?", "open", False),
        ("Who is it? And why?", "open", False), ("", "open", False),
        ("What is " + "very " * 20 + "big?", "open", False),
    ],
)  # fmt: skip
def test_prompts_are_classified(prompt, task_type, simple):
    assert (read(prompt).task_type, read(prompt).simple) == (task_type, simple)


def test_words_keep_what_carries_meaning():
    assert words('He said: "5.5, not 5!" (C++?)') == ["he", "said", "5.5", "not", "5!", "(c++?)"]
