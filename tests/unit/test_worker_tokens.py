from __future__ import annotations

import pytest

from reactord.errors import BadRequest
from reactord.worker.examples import Example
from reactord.worker.recipes import dpo, sft
from reactord.worker.tokens import TokenCount, select


class Words:
    """A tokenizer of one id a word, with a template of one word a turn."""

    def apply_chat_template(self, messages, *, tokenize, add_generation_prompt):
        assert not tokenize
        text = " ".join(f"<{m['role']}> {m['content']} <end>" for m in messages)
        return text + " <assistant>" * add_generation_prompt

    def __call__(self, text, *, add_special_tokens):
        assert not add_special_tokens
        return {"input_ids": [hash(word) for word in text.split()]}


def pair(chosen: str = "four", rejected: str | None = "it is five", prompt: str = "what is 2 + 2") -> Example:
    return Example(prompt, None, chosen, rejected, simple=True, check=None, task_type="arithmetic")


def taken(examples, max_length=64, recipe=dpo):
    return select(examples, Words(), recipe.unusable, max_length, with_rejected=recipe.needs_rejected())


def test_every_token_is_trained_masked_or_truncated():
    _, _, count = taken([pair(), pair(rejected="one two three four five six seven")], max_length=12)
    assert count.truncated > 0
    assert count.seen == count.trained + count.masked + count.truncated
    assert count.seen == 2 * (8 + 2) + (8 + 4) + (8 + 8)


def test_sft_counts_one_sequence_an_example():
    _, encoded, count = taken([pair(rejected=None)], recipe=sft)
    assert (count.seen, count.masked, count.trained) == (10, 8, 2)
    assert encoded[0].rejected == []


def test_a_pair_whose_answers_are_the_same_tokens_after_truncation_is_dropped_and_counted():
    same_start = pair("a b c d e", "a b c d f")
    kept, _, count = taken([pair(), same_start], max_length=12)
    assert [example.chosen for example in kept] == ["four"]
    assert count.dropped_examples == {"same_tokens_after_truncation": 1}


def test_a_prompt_that_leaves_no_room_for_an_answer_is_dropped_and_counted():
    _, _, count = taken([pair(), pair(prompt="word " * 80)])
    assert count.dropped_examples == {"prompt_fills_max_length": 1}


def test_examples_that_are_no_pairs_are_dropped_and_counted():
    _, _, count = taken([pair(), pair(rejected=None), pair("four", " four ")])
    assert count.dropped_examples == {"no_rejected_answer": 1, "same_text": 1}


def test_a_run_that_would_train_no_token_is_refused_with_the_reasons():
    with pytest.raises(BadRequest, match=r"0 of 0 tokens.*no_rejected_answer.*max_length"):
        taken([pair(rejected=None)])


def test_a_run_that_would_train_next_to_nothing_is_refused():
    count = TokenCount(seen=100_000, trained=10, masked=99_990)
    with pytest.raises(BadRequest, match="only 10 of 100000"):
        count.check()
