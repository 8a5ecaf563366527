"""What ways of training are there? One module per recipe in this package; its name is the recipe's name.

A recipe is a module with the functions of `Recipe`. Adding one touches no other file. The module itself imports nothing
heavy: `peak_bytes` is asked by stages that must not load torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from reactord.errors import BadRequest
from reactord.jobspec import Hyper, recipe_names
from reactord.memory import Sizes, has_bfloat16, train_peak_bytes
from reactord.worker.examples import Example

#: LoRA on every linear layer: attention alone learns brevity more slowly and disturbs neutral text no less
TARGET_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything a recipe builds its trainer from."""

    model: Any  # transformers model without adapter
    tokenizer: Any
    examples: Sequence[Example]
    hyper: Hyper
    arguments: dict[str, Any]  # keyword arguments every transformers trainer shares
    callbacks: list[Any]


class Recipe(Protocol):
    """What a module in this package provides."""

    def needs_rejected(self) -> bool:
        """Whether an example must say what was worse."""

    def unusable(self, example: Example) -> str | None:
        """Why this recipe cannot learn from the example, or None."""

    def peak_bytes(self, sizes: Sizes, hyper: Hyper, longest_tokens: int) -> int:
        """The memory a run is expected to need at most, without margin."""

    def make_trainer(self, setup: Setup) -> Any:  # noqa: ANN401 - a transformers Trainer
        """A trainer ready to run."""

    def measures(self, logs: Mapping[str, float]) -> tuple[float | None, float | None]:
        """(reward accuracy, reward margin) of one step's log, where the recipe has such."""


def load(name: str) -> Recipe:
    """The recipe of this name. Raises BadRequest with the names there are."""
    if name not in recipe_names():
        raise BadRequest(f"unknown recipe {name!r}; choose one of {', '.join(recipe_names())}")
    return cast("Recipe", importlib.import_module(f"{__name__}.{name}"))


def lora(hyper: Hyper) -> Any:  # noqa: ANN401 - a peft LoraConfig
    """The adapter every recipe trains. No dropout: a resumed run must repeat the uninterrupted one bit for bit."""
    from peft import LoraConfig

    return LoraConfig(
        r=hyper.lora_rank,
        lora_alpha=2 * hyper.lora_rank,
        lora_dropout=0.0,
        target_modules=list(TARGET_MODULES),
        task_type="CAUSAL_LM",
    )


__all__ = ["Recipe", "Setup", "Sizes", "has_bfloat16", "load", "lora", "train_peak_bytes"]
