"""Which checkpoint can a killed run continue from? Only one that is provably whole.

transformers writes its files in place, without fsync, and resumes from a directory that lacks the optimiser without a
word. So it writes into a scratch directory, and this module makes a checkpoint of it: hash and fsync every file, write
COMPLETE.json (sizes and SHA-256), rename to `step-000012`. A reader takes the newest one that verifies, and whose
optimiser is that of the run (warm.py); damaged ones are moved aside, because somebody may want to know why. How much
disk all of them take together is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import orjson

from reactord import durable
from reactord.worker.base import file_sha256

COMPLETE = "COMPLETE.json"
#: without one of these a run would go on, but as another run
REQUIRED = ("optimizer.pt", "scheduler.pt", "trainer_state.json")
#: what a run has learned: an adapter, or every weight (of a large model in several files)
WEIGHTS = "*model*.safetensors"
SCRATCH = ".writing"
_PREFIX = "step-"
_DAMAGED = "damaged-"
#: a run must be able to fall back: so many whole ones stay, whatever they take, unless fewer are asked for
ALWAYS_KEPT = 2


@dataclass(frozen=True, slots=True)
class Stored:
    """A checkpoint as it lies there."""

    name: str
    size_bytes: int

    @property
    def whole(self) -> bool:
        return self.name.startswith(_PREFIX)


def step_of(checkpoint: Path) -> int:
    """The optimiser step a checkpoint was taken after."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def path_for(checkpoints: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return checkpoints / f"{_PREFIX}{step:06d}"


def random_states(processes: int) -> tuple[str, ...]:
    """The files with the state of each process's random numbers."""
    return ("rng_state.pth",) if processes == 1 else tuple(f"rng_state_{rank}.pth" for rank in range(processes))


def processes_of(checkpoint: Path) -> int:
    """How many processes trained up to a checkpoint that verifies."""
    return int(orjson.loads((checkpoint / COMPLETE).read_bytes()).get("processes", 1))


def seal(written: Path, checkpoints: Path, step: int, processes: int = 1) -> tuple[Path, int]:
    """Make the directory `written` a checkpoint. Returns its path and size in bytes."""
    files: dict[str, dict[str, Any]] = {
        str(path.relative_to(written)): {"size_bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(written.rglob("*"))
        if path.is_file()
    }
    said = {"schema": 1, "step": step, "processes": processes, "files": files}
    durable.publish(written / COMPLETE, orjson.dumps(said))
    target = path_for(checkpoints, step)
    durable.publish_directory(written, target)
    return target, sum(facts["size_bytes"] for facts in files.values())


def problem(checkpoint: Path) -> str | None:
    """Why this checkpoint cannot be resumed from, or None when every byte is as it was written."""
    try:
        said = orjson.loads((checkpoint / COMPLETE).read_bytes())
        files, processes = said["files"], int(said.get("processes", 1))
        for name, facts in files.items():
            path = checkpoint / name
            if path.stat().st_size != facts["size_bytes"] or file_sha256(path) != facts["sha256"]:
                return f"{name} is not what was written"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    missing = [name for name in (*REQUIRED, *random_states(processes)) if name not in files]
    if not any(fnmatch(name, WEIGHTS) for name in files):
        missing.append(WEIGHTS)
    return f"it lacks {', '.join(missing)}" if missing else None


def newest(checkpoints: Path, cold: Callable[[Path, int], str | None]) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that verifies, and a line for each damaged one that was moved aside to get there.

    `cold` says why a checkpoint whose bytes are right would start another run all the same, or None.
    """
    moved: list[str] = []
    for path in sorted(checkpoints.glob(f"{_PREFIX}*"), reverse=True):
        reason = problem(path) or cold(path, step_of(path))
        if reason is None:
            return path, moved
        aside = next(a for i in range(1_000_000) if not (a := checkpoints / f"{_DAMAGED}{path.name}-{i}").exists())
        durable.move(path, aside)
        moved.append(f"{path.name} is damaged ({reason}); moved to {aside.name}")
    return None, moved


def doomed(stored: Sequence[Stored], keep: int, budget_bytes: int) -> list[str]:
    """Which of them go, in the order in which they go. Pure; `stored` is sorted by name, so the oldest come first.

    At most `keep` whole ones stay, and all together take at most the budget: damaged ones go for it first, then the
    oldest. The newest ALWAYS_KEPT whole ones (or `keep`, if that is less) stay in any case.
    """
    whole, damaged = [s for s in stored if s.whole], [s for s in stored if not s.whole]
    gone, left = whole[:-keep], whole[-keep:]
    total = sum(entry.size_bytes for entry in (*damaged, *left))
    for entry in (*damaged, *left[:-ALWAYS_KEPT]):
        if total <= budget_bytes:
            break
        gone.append(entry)
        total -= entry.size_bytes
    return [entry.name for entry in gone]


def prune(checkpoints: Path, keep: int, budget_bytes: int) -> None:
    """Remove what is too old or too much. One that a crash leaves half removed no longer verifies."""
    stored = [
        Stored(path.name, sum(file.stat().st_size for file in path.rglob("*") if file.is_file()))
        for pattern in (_PREFIX, _DAMAGED)
        for path in sorted(checkpoints.glob(f"{pattern}*"))
    ]
    for name in doomed(stored, keep, budget_bytes):
        durable.remove_tree(checkpoints / name)
