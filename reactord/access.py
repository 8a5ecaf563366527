"""Who else may change what we read, and into what?

Where every user may write, every user may also remove and replace: nobody knows then who speaks. A sticky directory
(/tmp) is no such place, for there only owners remove; whose each file is, is asked when it is read.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from reactord.errors import EnvironmentTrouble

#: nothing lies at such a path; at most of them nothing can
NOTHING = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


def is_open(directory: Path) -> bool:
    """Whether every user may write and remove there; what is not there is nobody's. Raises OSError."""
    try:
        mode = directory.stat().st_mode
    except OSError as trouble:
        if trouble.errno in NOTHING:
            return False
        raise
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


def refuse_irregular(path: str | Path) -> None:
    """Raises OSError for what is there and is no regular file: of a pipe nobody can say when its other end answers."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def opened(path: Path) -> int:
    """A descriptor of a file that others may replace by anything. Raises OSError for what is no regular file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def read_shared(path: Path) -> bytes:
    """What such a file holds."""
    with os.fdopen(opened(path), "rb") as file:
        return file.read()
