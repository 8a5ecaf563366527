"""How does a model learn from good answers alone? Supervised fine-tuning on the answer's tokens, through trl.

Needs: prompt and chosen answer; a rejected one is ignored. The prompt is masked, whatever the chat template, by giving
trl prompt and completion apart. Memory: one row per example. Reports: the loss; there is no reward here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reactord.jobspec import Hyper
from reactord.worker.examples import Example, assistant
from reactord.worker.recipes import Setup, Sizes, lora, train_peak_bytes


def needs_rejected() -> bool:
    """No: good answers are enough."""
    return False


def unusable(example: Example) -> str | None:
    """Why there is nothing to imitate."""
    return None if example.chosen.strip() else "empty_answer"


def peak_bytes(sizes: Sizes, hyper: Hyper, longest_tokens: int) -> int:
    """One row per example."""
    return train_peak_bytes(sizes, hyper.batch, min(longest_tokens, hyper.max_length_tokens))


def make_trainer(setup: Setup) -> Any:  # noqa: ANN401 - a trl SFTTrainer
    """An SFTTrainer on prompt/completion rows."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [{"prompt": e.messages, "completion": assistant(e.chosen)} for e in setup.examples]
    return SFTTrainer(
        model=setup.model,
        args=SFTConfig(**setup.arguments, max_length=setup.hyper.max_length_tokens, packing=False),
        train_dataset=Dataset.from_list(rows),
        processing_class=setup.tokenizer,
        peft_config=lora(setup.hyper),
        callbacks=setup.callbacks,
    )


def measures(logs: Mapping[str, float]) -> tuple[float | None, float | None]:
    """No reward in this recipe."""
    del logs
    return None, None
