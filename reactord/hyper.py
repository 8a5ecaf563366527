"""What can a job be trained with? Its recipe, its numbers and the name of its model, each with its bounds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from reactord.knobs import After, Field, Knobs


def recipe_names() -> list[str]:
    """What a job can be trained by: one module of worker/recipes each. Lists the files; imports nothing."""
    return sorted(path.stem for path in Path(__file__).parent.glob("worker/recipes/[a-z]*.py"))


def _known(name: str) -> str:
    if name not in recipe_names():
        raise ValueError(f"unknown recipe {name[:64]!r}; choose one of {', '.join(recipe_names())}")
    return name


Recipe = Annotated[str, After(_known)]
#: part of paths and file names, ours and Prime's
ModelId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


@dataclass(frozen=True)
class Hyper(Knobs):
    """The numbers of a training run. Bounds keep a request from HTTP harmless."""

    max_steps: Annotated[int, Field(ge=1, le=100_000)] = 20
    pairs_per_step: Annotated[int, Field(ge=1, le=1024)] = 8
    pairs_per_batch: Annotated[int, Field(ge=1, le=256)] = 2
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 3.5e-4
    lora_rank: Annotated[int, Field(ge=1, le=512)] = 16
    beta: Annotated[float, Field(gt=0, le=10)] = 0.1
    sft_weight: Annotated[float, Field(ge=0, le=100)] = 2.0
    checkpoint_every_steps: Annotated[int, Field(ge=1, le=10_000)] = 4
    #: or after so many seconds, whichever comes first
    checkpoint_every_s: Annotated[float, Field(ge=1, le=86_400)] = 300.0
    keep_checkpoints: Annotated[int, Field(ge=1, le=100)] = 2
    #: what checkpoints may take on disk; the newest two are kept whatever they take
    checkpoint_budget_mb: Annotated[int, Field(ge=1, le=10 * 1024 * 1024)] = 20 * 1024
    max_length_tokens: Annotated[int, Field(ge=16, le=32_768)] = 512
