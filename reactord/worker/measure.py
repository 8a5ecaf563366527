"""What does one GGUF file do on held-out data? Numbers only; what they mean is `verdict.py`'s business.

Preference accuracy is reported twice. `preference_accuracy` compares the mean log-likelihood per token of the better
and the worse answer: a model cannot win it by having been taught that every answer is short.
`preference_accuracy_summed` compares the sums, which is what DPO optimises; it favours the shorter answer whatever the
model, so the base scores high on it too. Both include the end marker, without which "Paris" and "Paris, which..." could
not be told apart.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from reactord.worker.examples import Example
from reactord.worker.llama import CONTEXT_TOKENS, Llama, Reply

NEUTRAL = Path(__file__).with_name("neutral.txt")
NEUTRAL_TOKENS = 512
HELLO_SEEDS = (1, 2, 3, 4, 5)
HELLO_TOKENS = 5
MAX_REPLY_TOKENS = 128
#: a period of up to this many tokens, repeated at the end of a reply this often, is a loop
LOOP_PERIOD_TOKENS, LOOP_REPEATS = 24, 4

Checker = Callable[[Example, str], bool]
Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Answered:
    """One held-out prompt and what the file said to it."""

    prompt: str
    reply: str
    tokens: int
    finished: bool
    looping: bool
    simple: bool
    exact: bool | None  # None: not verifiable


@dataclass(frozen=True, slots=True)
class Measurement:
    """Everything measured on one file. A rate is None when there was nothing to measure it on."""

    preference_accuracy: float | None
    preference_accuracy_summed: float | None
    pairs: int
    chosen_log_likelihood: float | None  # of the good answers: mean over answers of the mean per token
    exact_answer_rate: float | None
    verifiable: int
    median_reply_tokens_simple: float | None
    simple_prompts: int
    prompts: int
    empty_replies: int
    looping_replies: int
    unfinished_replies: int
    neutral_perplexity: float
    hello_blank: int
    hello_seeds: int
    replies: list[Answered] = field(default_factory=list)

    def as_facts(self) -> dict[str, Any]:
        return asdict(self)

    def summary(self) -> dict[str, Any]:
        """The numbers without the replies."""
        return {key: value for key, value in asdict(self).items() if key != "replies"}

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        return cls(**{**facts, "replies": [Answered(**reply) for reply in facts["replies"]]})


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked: answers to score by likelihood (pairs, where there is a worse one), prompts to answer."""

    scored: Sequence[Example]
    prompts: Sequence[Example]


def answer_all(model: Llama, prompts: Sequence[Example], check: Checker) -> list[Answered]:
    """The greedy reply to every prompt, judged as far as one reply can be."""
    replies = model.answers([example.messages for example in prompts], MAX_REPLY_TOKENS)
    return [answered(example, reply, check) for example, reply in zip(prompts, replies, strict=True)]


def measure(model: Llama, questions: Questions, answers: Sequence[Answered], report: Report) -> Measurement:
    """Score answers, the neutral text and Prime's load check, and sum up `answers`. `report(done, total)` follows."""
    total = len(questions.scored)
    chosen, mean_right, summed_right = [], [], []
    for i, example in enumerate(questions.scored):
        report(i, total)
        better, better_tokens = model.reply_log_likelihood(example.messages, example.chosen)
        chosen.append(better / better_tokens)
        if example.rejected:
            worse, worse_tokens = model.reply_log_likelihood(example.messages, example.rejected)
            mean_right.append(better / better_tokens > worse / worse_tokens)
            summed_right.append(better > worse)
    neutral = neutral_perplexity(model)
    blank = sum(not model.continuation("Hello", HELLO_TOKENS, seed).strip() for seed in HELLO_SEEDS)
    report(total, total)
    lengths = [answer.tokens for answer in answers if answer.simple]
    return Measurement(
        preference_accuracy=_share(mean_right),
        preference_accuracy_summed=_share(summed_right),
        pairs=len(mean_right),
        chosen_log_likelihood=round(statistics.fmean(chosen), 4) if chosen else None,
        exact_answer_rate=exact_rate(answers),
        verifiable=sum(answer.exact is not None for answer in answers),
        median_reply_tokens_simple=statistics.median(lengths) if lengths else None,
        simple_prompts=len(lengths),
        prompts=len(answers),
        empty_replies=sum(not answer.reply for answer in answers),
        looping_replies=sum(answer.looping for answer in answers),
        unfinished_replies=sum(not answer.finished for answer in answers),
        neutral_perplexity=round(neutral, 4),
        hello_blank=blank,
        hello_seeds=len(HELLO_SEEDS),
        replies=list(answers),
    )


def exact_rate(answers: Sequence[Answered]) -> float | None:
    """The share of verifiable questions that were answered right; None when there was none."""
    return _share([answer.exact for answer in answers if answer.exact is not None])


def answered(example: Example, reply: Reply, check: Checker) -> Answered:
    """What can be said of one reply."""
    return Answered(
        prompt=example.prompt,
        reply=reply.text,
        tokens=len(reply.tokens),
        finished=reply.finished,
        looping=is_looping(reply.tokens),
        simple=example.simple,
        exact=check(example, reply.text) if example.check else None,
    )


def is_looping(tokens: Sequence[int]) -> bool:
    """Whether a reply ends in the same few tokens over and over: a period repeated at least LOOP_REPEATS times."""
    for period in range(1, min(LOOP_PERIOD_TOKENS, len(tokens) // LOOP_REPEATS) + 1):
        tail = tokens[-period * LOOP_REPEATS :]
        if all(token == tail[i % period] for i, token in enumerate(tail)):
            return True
    return False


def neutral_perplexity(model: Llama) -> float:
    """Perplexity: exp of the mean negative log-likelihood of the bundled raw text's tokens, the first one given.

    neutral.txt is the opening of Charles Darwin's "On the Origin of Species" (1859), public domain.
    """
    tokens = model.tokens(NEUTRAL.read_text())[:NEUTRAL_TOKENS]
    return float(np.exp(-model.log_probabilities(tokens, 1).mean()))


def fits(model: Llama, example: Example) -> bool:
    """Whether the prompt with a full reply, and both answers, fit the judge's context."""
    prompt = len(model.chat_tokens(example.messages, open_turn=True))
    longest = max(len(model.tokens(answer or "")) for answer in (example.chosen, example.rejected))
    return prompt + max(longest + 8, MAX_REPLY_TOKENS) <= CONTEXT_TOKENS


def _share(hits: Sequence[bool]) -> float | None:
    return round(sum(hits) / len(hits), 4) if hits else None
