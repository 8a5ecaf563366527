"""What ways of training are there? One module per recipe in this package; its name is the recipe's name.

A recipe is a module with the functions of `Recipe`. Adding one touches no other file. The module itself imports nothing
heavy: `peak_bytes` is asked by stages that must not load torch.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from reactord.errors import BadRequest
from reactord.jobspec import Hyper
from reactord.worker.examples import Example
from reactord.worker.gguf_llama import Shape

#: resident before any weight: the interpreter with torch, transformers, trl, datasets (ML.md 5)
IMPORTS_BYTES = 430 * 1024 * 1024
#: the formula of ML.md 5 under-estimates LoRA runs by up to a fifth
MARGIN = 1.25
#: LoRA on every linear layer: attention alone learns brevity more slowly and disturbs neutral text no less
TARGET_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Sizes:
    """What decides how much memory a model takes."""

    parameters: int
    layers: int
    hidden: int
    vocabulary: int
    trainable: int
    weight_bytes: int  # per number: 4 for float32, 2 for bfloat16

    @classmethod
    def of(cls, hf: Path, lora_rank: int) -> Sizes:
        """Sizes of the llama in a Hugging Face folder, trained with an adapter of this rank on this machine."""
        shape = Shape.of(hf)
        narrow = shape.head * shape.kv_heads
        matrices = [(shape.hidden, shape.hidden)] * 2 + [(shape.hidden, narrow)] * 2
        matrices += [(shape.hidden, shape.feed_forward)] * 3
        embeddings = shape.vocabulary * shape.hidden * (1 if shape.tied else 2)
        return cls(
            parameters=embeddings + shape.layers * sum(a * b for a, b in matrices),
            layers=shape.layers,
            hidden=shape.hidden,
            vocabulary=shape.vocabulary,
            trainable=shape.layers * lora_rank * sum(a + b for a, b in matrices),
            weight_bytes=2 if has_bfloat16() else 4,
        )


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
        """The memory a run is expected to need at most, with margin."""

    def make_trainer(self, setup: Setup) -> Any:  # noqa: ANN401 - a transformers Trainer
        """A trainer ready to run."""

    def measures(self, logs: Mapping[str, float]) -> tuple[float | None, float | None]:
        """(reward accuracy, reward margin) of one step's log, where the recipe has such."""


def load(name: str) -> Recipe:
    """The recipe of this name. Raises BadRequest with the names there are."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    if name not in names:
        raise BadRequest(f"unknown recipe {name!r}; choose one of {', '.join(names)}")
    return cast("Recipe", importlib.import_module(f"{__name__}.{name}"))


def lora_peak_bytes(sizes: Sizes, tokens_per_batch: int) -> int:
    """Predicted peak of a LoRA run whose micro-batch holds `tokens_per_batch` tokens, padding included (ML.md 5)."""
    weights = sizes.parameters * sizes.weight_bytes
    optimizer = sizes.trainable * (4 + 4 + 8)
    activations = tokens_per_batch * 32 * sizes.layers * sizes.hidden * sizes.weight_bytes
    # trl's fused head projects labelled positions in tiles: one vocabulary row per token at most, never 19
    head = tokens_per_batch * sizes.vocabulary * 4
    return int(MARGIN * (IMPORTS_BYTES + weights + optimizer + activations + head))


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


def has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware; emulated it is slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
