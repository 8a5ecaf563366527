"""Is this drop file complete, safe to read, and what does it hold?

A drop file is opened without following links and without blocking, must be a regular file of ours with one name and a
bounded size, must not be open for writing by anybody (a read lease tells on Linux), and must parse. What does not parse
may still be growing: it is left alone until it has been quiet for SETTLE_S, then it is refused with a reason.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import sys
from collections.abc import Sequence
from typing import NamedTuple

from reactord import access, durable
from reactord.errors import BadRecord
from reactord.formats import FORMATS, Said

MAX_FILE_BYTES = 4 * 1024 * 1024
#: a file that does not parse is refused once it has been quiet for so long
SETTLE_S = 2.0
OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_LEASES = sys.platform.startswith("linux")
#: why a file cannot be opened, where that is the file's own fault and no trouble of ours
_UNOPENED = {
    errno.ELOOP: "not a regular file: a link",
    errno.ENXIO: "not a regular file: a socket",
    errno.EACCES: "not readable by the user who runs reactord",
}


class Instance(NamedTuple):
    """One state of one file; an inode number alone is reused at once on ext4."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Instance:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    @classmethod
    def at(cls, path: str) -> Instance:
        """Of what lies at `path` now, a link itself. Raises OSError."""
        return cls.of(os.lstat(path))

    @classmethod
    def seen_at(cls, path: str) -> Instance | None:
        """The same; None for what is not there, or cannot be."""
        try:
            return cls.at(path)
        except OSError as trouble:
            if trouble.errno in access.NOTHING:
                return None
            raise


class Found(NamedTuple):
    """A file that may be taken now: its bytes and what they say, or the reason why they are refused."""

    instance: Instance
    raw: bytes
    refused: str | None = None
    said: Sequence[Said] | None = None


def look(path: str, format_name: str, where: str, now: float) -> Found | None:
    """Read a file, or return None when it should be left alone for now (growing, gone, a directory).

    `where` is what the parser is told of the place. Raises OSError for trouble that is not the file's own.
    """
    opened = _open(path)
    if not isinstance(opened, int):
        return opened
    try:
        found = _examine(opened, format_name, where, now)
        return found if found is not None and Instance.of(os.fstat(opened)) == found.instance else None
    finally:
        os.close(opened)


def claim(path: str, target: str, format_name: str, where: str, now: float) -> tuple[Found, bool] | None:
    """Look at a file and move it to `target`, so that nobody can open it by its name any more.

    The lease is held from the look until the move is done: who replaces the file or opens it for writing in between is
    noticed, and the second of the pair says whether what lies at `target` is what was looked at, for good. None when
    the file should be left alone for now, or when somebody else was faster.
    """
    opened = _open(path)
    if opened is None:
        return None
    try:
        found = opened if isinstance(opened, Found) else _examine(opened, format_name, where, now)
        if found is None:
            return None
        durable.claim(path, target)
        final = Instance.at(target) == found.instance and not (isinstance(opened, int) and _disturbed(opened))
        return found, final
    except FileNotFoundError:
        return None
    finally:
        if isinstance(opened, int):
            os.close(opened)


def _open(path: str) -> int | Found | None:
    """A descriptor; what is refused unopened; None for what is gone."""
    try:
        return os.open(path, OPEN)
    except FileNotFoundError:
        return None
    except OSError as trouble:
        if trouble.errno not in _UNOPENED:
            raise
        # set aside by its name alone: what a link points to is never touched
        return Found(Instance.at(path), b"", _UNOPENED[trouble.errno])


def _examine(descriptor: int, format_name: str, where: str, now: float) -> Found | None:
    status = os.fstat(descriptor)
    instance = Instance.of(status)
    if reason := _unsafe(status):
        return Found(instance, b"", reason)
    if stat.S_ISDIR(status.st_mode) or _being_written(descriptor):
        return None
    raw = _read(descriptor, status.st_size)
    if len(raw) != status.st_size:
        return None
    try:
        return Found(instance, raw, None, FORMATS[format_name].said(raw, where))
    except BadRecord as bad:
        # by the kernel's own time: the other one is what its writer says, and may be years ahead
        return None if now - status.st_ctime < SETTLE_S else Found(instance, raw, str(bad))


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
    if not _LEASES:
        return False
    try:
        # a writer who opens the file within these microseconds has the kernel signal us: SIGIO would end the process
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)  # given back when the descriptor is closed
    except OSError as trouble:
        return trouble.errno == errno.EAGAIN
    return False


def _disturbed(descriptor: int) -> bool:
    """Whether somebody opened the file for writing since its lease was taken; where there is none, it is tried now."""
    return _LEASES and fcntl.fcntl(descriptor, fcntl.F_GETLEASE) != fcntl.F_RDLCK and _being_written(descriptor)


def _read(descriptor: int, size: int) -> bytes:
    raw = os.read(descriptor, size)
    while len(raw) < size and (part := os.read(descriptor, size - len(raw))):
        raw += part
    return raw
