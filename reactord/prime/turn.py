"""Whose deployment may change what Prime sees?

That of the highest fence number so far, which stands beside current.gguf. One at a time: under one flock the number is
looked at and the model placed. So a process that was stopped in the middle of a deployment keeps the others out until
it goes on or dies, and one that was stopped before it finds that it was overtaken.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import orjson

from reactord import durable
from reactord.errors import BadRequest, EnvironmentTrouble
from reactord.ipc.dlm import flocked

NOTE = ".reactord.json"
LOCK = ".reactord.lock"
WAIT_S = 5.0


def fence_at(models: Path) -> int:
    """The number of the newest deployment into `models`; 0 when there was none, or none that can be read."""
    try:
        return int(orjson.loads((models / NOTE).read_bytes())["fence"])
    except (FileNotFoundError, NotADirectoryError, ValueError, LookupError, TypeError):
        return 0


@contextlib.contextmanager
def taken(models: Path, fence: int) -> Iterator[None]:
    """Be the one who deploys into `models`. Raises BadRequest when a newer deployment was faster, or OSError."""
    models.mkdir(parents=True, exist_ok=True)
    with flocked(models / LOCK, WAIT_S) as alone:
        if not alone:
            raise EnvironmentTrouble(
                f"another deployment into {models} is not done; see who holds {LOCK} there: fuser -v {models / LOCK}"
            )
        newest = fence_at(models)
        if newest > fence:
            raise BadRequest(
                f"deployment {fence} into {models} was overtaken by deployment {newest}: see `reactord models`"
            )
        if newest < fence:
            durable.publish(models / NOTE, orjson.dumps({"fence": fence}), mode=0o644)
        yield
