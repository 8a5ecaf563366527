"""Who else may change what we read?

Where every user may write, every user may also remove and replace: nobody knows then who speaks. A sticky directory
(/tmp) is no such place, for there only owners remove; whose each file is, is asked when it is read.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from reactord.errors import EnvironmentTrouble


def is_open(directory: Path) -> bool:
    """Whether every user may write and remove there; what is not there is nobody's. Raises OSError."""
    try:
        mode = directory.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def refuse_open(directory: Path) -> None:
    """Raises EnvironmentTrouble where every user may write and remove."""
    if is_open(directory):
        raise EnvironmentTrouble(f"every user may write {directory}; close it: chmod o-w {directory}")


def exposed(root: Path) -> list[Path]:
    """The directories that a path leads through, links followed and not, where every user may write and remove.

    Who may rename a part of a path has all of it.
    """
    real = Path(os.path.realpath(root))
    ways = dict.fromkeys((root, *root.parents, real, *real.parents))
    return [directory for directory in ways if is_open(directory)]
