"""What is a worker told? The contents of `spec.json`, checked on both sides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def recipe_names() -> list[str]:
    """What a job can be trained by: one module of worker/recipes each. Lists the files; imports nothing."""
    return sorted(path.stem for path in Path(__file__).parent.glob("worker/recipes/[a-z]*.py"))


def _known(name: str) -> str:
    if name not in recipe_names():
        raise ValueError(f"unknown recipe {name[:64]!r}; choose one of {', '.join(recipe_names())}")
    return name


def _told(schema: dict[str, Any]) -> None:
    schema["enum"] = recipe_names()


Recipe = Annotated[str, AfterValidator(_known), Field(json_schema_extra=_told)]
#: part of paths and file names, ours and Prime's
ModelId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class Hyper(BaseModel):
    """The numbers of a training run. Bounds keep a request from HTTP harmless."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_steps: int = Field(20, ge=1, le=100_000)
    pairs_per_step: int = Field(8, ge=1, le=1024)
    pairs_per_batch: int = Field(2, ge=1, le=256)
    #: of an adapter; every weight learns at a tenth of it (worker/train.py)
    learning_rate: float = Field(3.5e-4, gt=0, le=1)
    #: of the adapter; 0: no adapter, every weight learns
    lora_rank: int = Field(16, ge=0, le=512)
    beta: float = Field(0.1, gt=0, le=10)
    sft_weight: float = Field(2.0, ge=0, le=100)
    checkpoint_every_steps: int = Field(4, ge=1, le=10_000)
    #: or after so many seconds, whichever comes first
    checkpoint_every_s: float = Field(300.0, ge=1, le=86_400)
    keep_checkpoints: int = Field(2, ge=1, le=100)
    #: what checkpoints may take on disk; the newest two are kept whatever they take
    checkpoint_budget_mb: int = Field(20 * 1024, ge=1, le=10 * 1024 * 1024)
    max_length_tokens: int = Field(512, ge=16, le=32_768)
    #: that train together, each as many pairs of a step as the others
    processes: int = Field(1, ge=1, le=64)

    @property
    def ranks(self) -> int:
        """How many processes it will be: as many as may, and as share a step equally."""
        return next(size for size in range(self.processes, 0, -1) if self.pairs_per_step % size == 0)

    @property
    def batch(self) -> int:
        """How many pairs a process has in memory at a time, at most: no more than its share of a step."""
        return min(self.pairs_per_batch, self.pairs_per_step // self.ranks)

    @property
    def full(self) -> bool:
        """Whether every weight learns."""
        return self.lora_rank == 0


class JobSpec(BaseModel):
    """Everything a worker is told. Paths are absolute."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    job_id: str
    recipe: Recipe = "dpo"
    base: str
    home: Path
    upto: int = Field(ge=0)
    as_of: float
    parent_dataset: str | None = None
    model_id: ModelId
    version: str
    seed: int = 7
    threads: int = Field(2, ge=1, le=1024)
    hyper: Hyper = Hyper()
    incumbent_gguf: Path | None = None
    fence: int = Field(ge=0)
