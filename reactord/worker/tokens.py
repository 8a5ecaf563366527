"""How many tokens does a run see, and what becomes of each? seen = trained + masked + truncated (law 5).

Counted on the ids the trainer will get, before it gets them: an example whose answer is cut away completely, or whose
two answers are the same tokens, teaches nothing and is dropped here, with its reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from reactord.errors import BadRequest, Conservation
from reactord.worker.examples import Example, assistant

#: below this share of trainable tokens a run is a waste of a night (rule 22)
MIN_TRAINED_SHARE = 0.005


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one example; `rejected` is empty for a recipe that learns from the chosen answer alone."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def longest(self) -> int:
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


@dataclass(slots=True)
class TokenCount:
    """Where the tokens of a training set go, each example counted once."""

    seen: int = 0
    trained: int = 0
    masked: int = 0
    truncated: int = 0
    dropped_examples: Counter[str] = field(default_factory=Counter)

    def add(self, encoded: Encoded, max_length: int) -> None:
        for answer in (encoded.chosen, encoded.rejected):
            if answer:
                total = len(encoded.prompt) + len(answer)
                masked = min(len(encoded.prompt), max_length)
                self.seen += total
                self.masked += masked
                self.truncated += max(0, total - max_length)
                self.trained += min(total, max_length) - masked

    def check(self) -> None:
        """Raise Conservation when a token is unaccounted for, BadRequest when next to nothing would be trained."""
        if self.seen != self.trained + self.masked + self.truncated:
            raise Conservation(f"tokens do not add up: {self}; report this with the job directory")
        if self.trained == 0 or self.trained < MIN_TRAINED_SHARE * self.seen:
            raise BadRequest(
                f"only {self.trained} of {self.seen} tokens would be trained (dropped: {dict(self.dropped_examples)});"
                " raise hyper.max_length_tokens or send shorter prompts"
            )

    def as_facts(self) -> dict[str, Any]:
        return {
            "seen": self.seen,
            "trained": self.trained,
            "masked": self.masked,
            "truncated": self.truncated,
            "dropped_examples": dict(self.dropped_examples),
        }


def encode(tokenizer: Any, example: Example, *, with_rejected: bool) -> Encoded:  # noqa: ANN401 - a transformers tokenizer
    """Render and tokenise as trl does: the answer starts where the open conversation and the whole one part."""

    def ids(messages: Sequence[dict[str, str]], *, open_turn: bool) -> list[int]:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=open_turn)
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    prompt = ids(example.messages, open_turn=True)
    answers = [example.chosen] + ([example.rejected] if with_rejected and example.rejected else [])
    whole = [ids(example.messages + assistant(answer), open_turn=False) for answer in answers]
    start = min(_shared(prompt, full) for full in whole)
    tails = [full[start:] for full in whole]
    return Encoded(prompt[:start], tails[0], tails[1] if len(tails) > 1 else [])


def _shared(a: list[int], b: list[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def select(
    examples: Sequence[Example],
    tokenizer: Any,  # noqa: ANN401 - a transformers tokenizer
    unusable: Callable[[Example], str | None],
    max_length: int,
    *,
    with_rejected: bool,
) -> tuple[list[Example], list[Encoded], TokenCount]:
    """The examples that teach something, their ids, and the account of every token."""
    count = TokenCount()
    kept: list[Example] = []
    encoded: list[Encoded] = []
    for example in examples:
        reason = unusable(example)
        ids = None if reason else encode(tokenizer, example, with_rejected=with_rejected)
        if ids and len(ids.prompt) >= max_length:
            reason = "prompt_fills_max_length"
        elif ids and with_rejected:
            room = max_length - len(ids.prompt)
            reason = "same_tokens_after_truncation" if ids.chosen[:room] == ids.rejected[:room] else None
        if reason or not ids:
            count.dropped_examples[reason or "unusable"] += 1
            continue
        count.add(ids, max_length)
        kept.append(example)
        encoded.append(ids)
    count.check()
    return kept, encoded, count
