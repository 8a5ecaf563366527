"""Which checkpoint can a killed run continue from? Only one that is provably whole.

transformers writes its files in place, without fsync, and resumes from a directory that lacks the optimiser without a
word. So it writes into a scratch directory, and this module makes a checkpoint of it: hash and fsync every file, write
COMPLETE.json (sizes and SHA-256), rename to `step-000012`. A reader takes the newest one that verifies; damaged ones
are moved aside, not deleted, because somebody may want to know why.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from reactord import durable
from reactord.worker.base import file_sha256

COMPLETE = "COMPLETE.json"
#: without one of these a run would go on, but as another run
REQUIRED = ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
SCRATCH = ".writing"
_PREFIX = "step-"


def step_of(checkpoint: Path) -> int:
    """The optimiser step a checkpoint was taken after."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def path_for(checkpoints: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return checkpoints / f"{_PREFIX}{step:06d}"


def seal(written: Path, checkpoints: Path, step: int) -> tuple[Path, int]:
    """Make the directory `written` a checkpoint. Returns its path and size in bytes."""
    files: dict[str, dict[str, Any]] = {
        str(path.relative_to(written)): {"size_bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(written.rglob("*"))
        if path.is_file()
    }
    durable.publish(written / COMPLETE, orjson.dumps({"schema": 1, "step": step, "files": files}))
    target = path_for(checkpoints, step)
    durable.publish_directory(written, target)
    return target, sum(facts["size_bytes"] for facts in files.values())


def problem(checkpoint: Path) -> str | None:
    """Why this checkpoint cannot be resumed from, or None when every byte is as it was written."""
    try:
        files = orjson.loads((checkpoint / COMPLETE).read_bytes())["files"]
        for name, facts in files.items():
            path = checkpoint / name
            if path.stat().st_size != facts["size_bytes"] or file_sha256(path) != facts["sha256"]:
                return f"{name} is not what was written"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    missing = [name for name in REQUIRED if name not in files]
    return f"it lacks {', '.join(missing)}" if missing else None


def newest(checkpoints: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that verifies, and a line for each damaged one that was moved aside to get there."""
    moved: list[str] = []
    for path in sorted(checkpoints.glob(f"{_PREFIX}*"), reverse=True):
        reason = problem(path)
        if reason is None:
            return path, moved
        aside = next(a for i in range(1_000_000) if not (a := checkpoints / f"damaged-{path.name}-{i}").exists())
        durable.move(path, aside)
        moved.append(f"{path.name} is damaged ({reason}); moved to {aside.name}")
    return None, moved


def prune(checkpoints: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints, oldest first. One half removed by a crash no longer verifies."""
    for path in sorted(checkpoints.glob(f"{_PREFIX}*"))[:-keep]:
        durable.remove_tree(path)
