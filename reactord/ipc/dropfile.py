"""Is this drop file complete, safe to read, and what does it hold?

A drop file is opened without following links and without blocking, must be a regular file of ours with one name and a
bounded size, must not be open for writing by anybody (a read lease tells on Linux), and must parse. What does not parse
may still be growing: it is left alone until it has been quiet for `settle_s`, then it is refused with a reason.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from reactord.errors import BadRecord
from reactord.formats import FORMATS, Item

MAX_FILE_BYTES = 4 * 1024 * 1024
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
#: why a file cannot be opened, where that is the file's own fault and no trouble of ours
_UNOPENED = {
    errno.ELOOP: "not a regular file: a link",
    errno.ENXIO: "not a regular file: a socket",
    errno.EACCES: "not readable by the user who runs reactord",
}


@dataclass(frozen=True, slots=True)
class Instance:
    """One state of one file; an inode number alone is reused at once on ext4."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Instance:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    @classmethod
    def at(cls, path: str | Path) -> Instance:
        """Of what lies at `path` now, a link itself. Raises OSError."""
        return cls.of(os.stat(path, follow_symlinks=False))  # noqa: PTH116 - thousands a second: no Path is made

    @classmethod
    def seen_at(cls, path: str) -> Instance | None:
        """The same; None for what is not there."""
        try:
            return cls.at(path)
        except FileNotFoundError:
            return None


@dataclass(frozen=True, slots=True)
class Found:
    """A file that may be claimed now: its bytes, or the reason why they are refused."""

    instance: Instance
    raw: bytes
    refused: str | None = None
    items: list[Item] | None = None


def look(path: str | Path, format_name: str, now: float, settle_s: float, where: str = "") -> Found | None:
    """Read a drop file, or return None when it should be left alone for now (growing, gone, unreadable).

    `where` is what the parser is told of the place, by default the name.
    """
    try:
        descriptor = os.open(path, _OPEN)
    except FileNotFoundError:
        return None
    except OSError as trouble:
        if trouble.errno not in _UNOPENED:
            raise
        # set aside by its name alone: what a link points to is never touched
        return Found(Instance.at(path), b"", _UNOPENED[trouble.errno])
    try:
        status = os.fstat(descriptor)
        instance = Instance.of(status)
        if reason := _unsafe(status):
            return Found(instance, b"", reason)
        raw = None if stat.S_ISDIR(status.st_mode) or _being_written(descriptor) else _read(descriptor, status.st_size)
        if raw is None or len(raw) != status.st_size or Instance.of(os.fstat(descriptor)) != instance:
            return None
    finally:
        os.close(descriptor)
    try:
        return Found(instance, raw, items=FORMATS[format_name].parse(raw, where or os.path.basename(path)))  # noqa: PTH119
    except BadRecord as bad:
        return None if now - status.st_mtime < settle_s else Found(instance, raw, str(bad))


def is_final(claimed: str | Path, instance: Instance) -> bool:
    """Whether a file that was renamed away is still what was looked at, and nobody can change it any more."""
    if Instance.at(claimed) != instance:
        return False
    try:
        descriptor = os.open(claimed, _OPEN)
    except OSError:
        return True  # it could not be opened before either: only its name is set aside
    try:
        return not _being_written(descriptor)
    finally:
        os.close(descriptor)


def _unsafe(status: os.stat_result) -> str | None:
    if stat.S_ISDIR(status.st_mode):
        return None  # somebody's directory is left where it is
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if status.st_uid != os.geteuid():
        return "not owned by the user who runs reactord"
    if status.st_nlink != 1:
        return "has a second name (hard link)"
    if status.st_size > MAX_FILE_BYTES:
        return f"larger than {MAX_FILE_BYTES} bytes; split it, or append it to the telemetry JSONL"
    return None


def _being_written(descriptor: int) -> bool:
    """True iff some process has the file open for writing; exact on Linux, unknown (False) elsewhere."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        # a writer who opens the file within these microseconds has the kernel signal us: SIGIO would end the process
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)  # given back when the descriptor is closed
    except OSError as trouble:
        return trouble.errno == errno.EAGAIN
    return False


def _read(descriptor: int, size: int) -> bytes:
    parts = []
    while size > 0 and (part := os.read(descriptor, size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
