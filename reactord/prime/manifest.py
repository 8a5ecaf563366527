"""What must stand beside a model so that Prime's watcher believes it?

The watcher fails open (contract/prime.md 2.2): one missing key or one wrong type and it ignores the whole manifest,
checks no checksum, and deploys the file under a version of its own invention. So every manifest is read back here by
the watcher's own rules before it may reach the disk.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reactord.errors import BadRequest
from reactord.prime import template

#: the keys without which the watcher throws the manifest away, all strings
REQUIRED = (
    "model_id",
    "version",
    "training_run_id",
    "base_model",
    "quantization_method",
    "file_path",
    "sha256",
    "created_at",
)
#: both become part of file names
_NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_VERSION = re.compile(r"\Av\d+\.\d+(?:-[a-z]+)?(?:-\d{4}-\d{2}-\d{2})?\Z")
_SHA256 = re.compile(r"\A[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Release:
    """One judged GGUF and what Prime is told about it.

    Built from committed facts only (no "now"), so that a deployment that runs again writes the same bytes.
    """

    source: Path
    sha256: str
    """Of the file that was judged, lower-case hex."""
    model_id: str
    version: str
    """In Prime's shape: `v1.4-auto-2026-11-21`."""
    training_run_id: str
    base_model: str
    quantization: str
    template: str
    """The chat template it was trained and judged with: `chatml`, `llama3` ..."""
    metrics: Mapping[str, float]
    """At least `loss`."""
    created_at: float
    training_config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """The file name without suffix. Never used twice: a version is never overwritten."""
        return f"{self.model_id}-{self.version}"


def manifest(release: Release, model: Path) -> bytes:
    """The manifest of `release` as Prime will find it beside `model`.

    Raises BadRequest for whatever would make the watcher ignore it, or Prime use another chat template.
    """
    template.require(release.stem, release.template)
    document = {
        "model_id": release.model_id,
        "version": release.version,
        "training_run_id": release.training_run_id,
        "base_model": release.base_model,
        "quantization_method": release.quantization,
        "training_config": dict(release.training_config),
        "metrics": dict(release.metrics),
        "file_path": str(model),
        "sha256": release.sha256,
        "created_at": datetime.fromtimestamp(release.created_at, tz=UTC).isoformat(),
        "lineage": "reactor-core",
    }
    try:
        raw = json.dumps(document, allow_nan=False, indent=2).encode()
    except (TypeError, ValueError) as trouble:
        raise BadRequest(
            f"the manifest of {release.stem} is no JSON ({trouble}): correct its metrics or config"
        ) from None
    check(raw, model)
    return raw


def check(raw: bytes, model: Path) -> None:
    """Read a manifest as the watcher does, and stricter. Raises BadRequest naming the first thing that is wrong."""
    said = json.loads(raw)
    wrong = [key for key in REQUIRED if not isinstance(said.get(key), str) or not said[key]]
    if wrong:
        raise _wrong(model, f"{', '.join(wrong)} must be text")
    if not (_NAME.match(said["model_id"]) and _VERSION.match(said["version"])):
        raise _wrong(
            model, f"{said['model_id']!r} and {said['version']!r} must be a file name and a v1.2-auto-2026-01-31"
        )
    if model.name != f"{said['model_id']}-{said['version']}.gguf" or Path(said["file_path"]).name != model.name:
        raise _wrong(model, "the file must be called <model_id>-<version>.gguf")
    if not _SHA256.match(said["sha256"]):
        raise _wrong(model, "sha256 must be 64 lower-case hex characters")
    try:
        zoned = datetime.fromisoformat(said["created_at"]).tzinfo is not None
    except ValueError:
        zoned = False
    if not zoned or said["created_at"].endswith("Z"):
        raise _wrong(model, "created_at must be ISO time ending in +00:00")
    metrics, config = said.get("metrics"), said.get("training_config")
    if not (isinstance(metrics, dict) and isinstance(config, dict)):
        raise _wrong(model, "metrics and training_config must be objects")
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    if numbers != metrics or "loss" not in metrics or not all(map(math.isfinite, numbers.values())):
        raise _wrong(model, "metrics must be finite numbers, with the loss among them")


def _wrong(model: Path, what: str) -> BadRequest:
    return BadRequest(f"the manifest of {model.name} would be ignored by Prime: {what}. Correct the release")
