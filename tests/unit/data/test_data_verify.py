"""Are answers that can be checked checked rightly, and the others left alone?"""

import pytest

from reactord.data.query import read
from reactord.data.verify import asserts, check, check_of, contains, keys_named, states, verdict, without_article
from reactord.demo.sample_facts import CODE, JSON_TASKS


def judged(prompt, reply):
    return verdict(read(prompt), reply)


@pytest.mark.parametrize(
    ("reply", "right"), [("42", True), ("15 + 27 = 42", True), ("43", False), ("It is 43.", False), ("?", None)]
)
def test_a_sum_is_right_wrong_or_unknown(reply, right):
    assert judged("What is 15 + 27?", reply) is right


def test_a_fact_cannot_be_verified_from_its_prompt():
    assert judged("What is the capital of France?", "Paris") is None
    assert check_of(read("What is the capital of France?")) is None


@pytest.mark.parametrize(("prompt", "good", "bad"), JSON_TASKS)
def test_json_that_parses_and_has_the_keys_is_right_bare_or_fenced(prompt, good, bad):
    assert judged(prompt, good) is True
    assert judged(prompt, f"```json\n{good}\n```") is True
    assert judged(prompt, bad) is False
    assert check_of(read(prompt)) == {"kind": "json", "expected": None}


@pytest.mark.parametrize(
    ("prompt", "reply", "right"),
    [
        ("Return JSON.", "NaN", False), ("Return JSON.", "42", False), ("Return JSON.", "[" * 5000, False),
        ("Return a JSON object.", "[1]", False), ("Return a JSON array.", '{"a": 1}', False),
        ("Return a JSON list of objects with keys a and b.", '[{"a": 1, "b": 2}, {"a": 1}]', False),
        ("Return a JSON list of objects with keys a and b.", '[{"a": 1, "b": 2}]', True),
        ("Return a JSON list of objects with keys a and b.", "[]", False),
        ("Return JSON.", "Here you are: {}", False), ("Return JSON.", "[" + "1," * 40_000 + "1]", None),
    ],
)  # fmt: skip
def test_json_is_held_to_what_was_asked(prompt, reply, right):
    assert judged(prompt, reply) is right


@pytest.mark.parametrize(
    ("prompt", "keys"),
    [
        ('with the keys "name" and "age"', ["name", "age"]), ("fields name, age, and city", ["name", "age", "city"]),
        ('keys "red" and "blue", both set to "0"', ["red", "blue"]), ("keys and values of it", []), ("no such", []),
        ("the key `answer`", ["answer"]),
    ],
)  # fmt: skip
def test_the_keys_that_a_prompt_names_are_read(prompt, keys):
    assert keys_named(prompt) == keys


@pytest.mark.parametrize(("prompt", "good", "bad"), CODE)
def test_code_is_right_when_it_passes_the_asserts_of_its_prompt(prompt, good, bad):
    assert judged(prompt, good) is True
    assert judged(prompt, f"Sure:\n```python\n{good}\n```\nIt works.") is True
    assert judged(prompt, bad) is False
    assert judged(prompt, "You could use a loop for that.") is False
    assert judged(prompt.split("\n")[0], good) is None


def test_asserts_are_found_in_lines_in_fences_and_in_sentences():
    prompt = (
        "Write python f.\nIt must pass `assert f(1) == 2`.\n```\nassert f(2) == 3\nassert f(\n```\nWe assert no more."
    )
    assert asserts(prompt) == "assert f(1) == 2\nassert f(2) == 3"


@pytest.mark.parametrize(
    ("prompt", "reply", "answer"),
    [
        ("What is the capital of France?", "The capital of France is Paris. It is large.", "Paris"),
        ("What is the capital of France?", "Sure! Paris is the capital of France.", "paris."),
        ("Which river?", "The longest river in Africa is the Nile.", "Nile"),
        ("On which continent is Egypt?", "Egypt is located in Africa.", "Africa"),
        ("Who wrote The Hobbit?", "The Hobbit was written by J. R. R. Tolkien.", "J. R. R. Tolkien"),
        ('What is the opposite of "hot"?', 'The opposite of "hot" is "cold".', "cold"),
        ("How many days are in a week?", "There are 7 days in a week.", "7"),
    ],
)  # fmt: skip
def test_a_verbose_reply_states_its_answer(prompt, reply, answer):
    assert states(prompt, reply, answer)


@pytest.mark.parametrize(
    ("prompt", "reply", "answer"),
    [
        ("What is the capital of Australia?", "Canberra, located between Sydney and Melbourne, is it.", "Sydney"),
        ("What is the capital of Australia?", "The capital is Canberra, although many think it is Sydney.", "Sydney"),
        ("What is the capital of Australia?", "The capital is not Sydney.", "Sydney"),
        ("What is the capital of Australia?", "The capital isn't Sydney.", "Sydney"),
        ("What is the capital of Australia?", "Canberra. The largest city is Sydney.", "Sydney"),
        ("What is the capital of France?", "France is a country; its capital is Paris.", "France"),  # an echo
        ("Where do we begin?", "We start at the door.", "art"),
        ("What is the capital of France?", "It is Paris.", ""),
    ],
)  # fmt: skip
def test_a_mention_is_not_a_statement(prompt, reply, answer):
    assert not states(prompt, reply, answer)


def test_the_judge_scores_with_the_check_that_was_kept():
    assert check("What is the capital of France?", "It is Paris, of course.", {"kind": "contains", "expected": "Paris"})
    assert not check("What is the capital of France?", "Parisian", {"kind": "contains", "expected": "Paris"})
    assert check("What is 15 + 27?", "42", {"kind": "arithmetic", "expected": "42"}) is True
    assert check("What is 15 + 27?", "no idea", {"kind": "arithmetic", "expected": "42"}) is None
    assert check_of(read("solve for x: 2x = 1")) == {"kind": "equation", "expected": "1/2"}
    assert not contains("the start", "art")


def test_an_article_is_not_part_of_an_answer():
    assert [without_article(t) for t in ("the Nile.", "An apple", "A", "Theodor")] == ["Nile", "apple", "A", "Theodor"]
