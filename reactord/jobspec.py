"""What is a worker told? The contents of `spec.json`, checked on both sides."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from reactord.hyper import Hyper, ModelId, Recipe


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
