"""Does an optimiser remember the run that it is said to come from?

transformers goes on from a checkpoint whose optimiser is missing, empty or of another step, and says nothing: the
losses look healthy, and the run is another run. So the state is looked at before anything is resumed from it, and once
more when it is loaded: every weight that learns has its moments, and they and the schedule have seen as many steps as
the checkpoint says.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from reactord.errors import ReactordError


class ColdOptimizer(ReactordError):
    """A run was about to go on with an optimiser that has forgotten it."""


def why_cold(optimizer: Mapping[str, Any], scheduler: Mapping[str, Any], step: int) -> str | None:
    """Why these state dictionaries are not those of a run after `step` steps, or None. Pure."""
    state, groups = optimizer["state"], optimizer["param_groups"]
    weights = [number for group in groups for number in group["params"]]
    forgotten = sum(1 for number in weights if not state.get(number))
    if not weights or forgotten:
        return f"the optimiser remembers nothing of {forgotten} of {len(weights)} weights"
    seen = {int(entry["step"]) for entry in state.values() if "step" in entry}
    if seen - {step}:
        return f"the optimiser has seen {sorted(seen)} steps, not {step}"
    if scheduler.get("last_epoch", step) != step:
        return f"the learning rate is that of step {scheduler['last_epoch']}, not {step}"
    return None


def cold(checkpoint: Path, step: int) -> str | None:
    """Why the checkpoint of this step would start another run, or None."""
    import torch

    try:
        optimizer, scheduler = (
            torch.load(checkpoint / name, map_location="cpu", weights_only=True)
            for name in ("optimizer.pt", "scheduler.pt")
        )
        for path in checkpoint.glob("rng_state*.pth"):
            torch.load(path, map_location="cpu", weights_only=False)
        said = orjson.loads((checkpoint / "trainer_state.json").read_bytes())["global_step"]
        if said != step:
            return f"it says that it was taken after step {said}"
        return why_cold(optimizer, scheduler, step)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, pickle.UnpicklingError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'it cannot be read'}"


def require(optimizer: Any, scheduler: Any, step: int) -> None:  # noqa: ANN401 - what a trainer holds
    """Raise ColdOptimizer unless what was loaded is what was saved."""
    if reason := why_cold(optimizer.state_dict(), scheduler.state_dict(), step):
        raise ColdOptimizer(f"after resuming at step {step}, {reason}; report this with the job directory")
