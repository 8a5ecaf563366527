"""How does a byte become safe?

The only module that fsyncs, renames, links or unlinks. Every mutating call goes through `disk`, the one seam where a
test puts a failing or counting disk. Where it is the real one, `ipc.handful` has a kernel claim and remove drop files:
the same calls in the same order, many at a time.

Publishing is: complete temporary file -> fsync -> rename (or link) -> fsync of the directory. Appending is a loop,
because a `write` may be short. A failed fsync is never retried on the same descriptor: the kernel has already marked
the pages clean ("Can Applications Recover from fsync Failures?", ATC'20), so the error goes to the caller.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Protocol

TEMPORARY = ".tmp"


class Disk(Protocol):
    """The mutating calls of the file system that durability rests on."""

    def write(self, descriptor: int, data: Any, /) -> int: ...  # noqa: ANN401 - any bytes-like object
    def fsync(self, descriptor: int, /) -> None: ...
    def rename(self, source: Any, target: Any, /) -> None: ...  # noqa: ANN401
    def link(self, source: Any, target: Any, /) -> None: ...  # noqa: ANN401
    def unlink(self, path: Any, /) -> None: ...  # noqa: ANN401


class RealDisk:
    """The operating system's own calls."""

    write = staticmethod(os.write)
    rename = staticmethod(os.replace)
    link = staticmethod(os.link)
    unlink = staticmethod(os.unlink)

    @staticmethod
    def fsync(descriptor: int, /) -> None:
        """Flush to the medium; macOS's fsync stops at the drive's cache, so ask it for more."""
        if sys.platform == "darwin":
            try:
                fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            except OSError:
                os.fsync(descriptor)
        else:
            os.fsync(descriptor)


disk: Disk = RealDisk()


def is_real() -> bool:
    """Whether nothing stands between us and the operating system's own calls."""
    return type(disk) is RealDisk


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte: a short write is legal, and losing its rest is how records vanish."""
    view = memoryview(data)
    while view:
        view = view[disk.write(descriptor, view) :]


def sync_directory(path: Path) -> None:
    """Make the names inside `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        disk.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_file(path: Path, data: bytes, mode: int, *, sync: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        write_all(descriptor, data)
        if sync:
            disk.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_beside(path: Path) -> Path:
    """A hidden name in the same directory that no reader of the bus picks up (not *.json, not *.gguf)."""
    return path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")


def publish(path: Path, data: bytes, *, mode: int = 0o600, sync: bool = True) -> None:
    """Replace `path` by `data`: a reader sees the old bytes or the new ones, never a mixture.

    `sync=False` is for heartbeats only: their readers must survive an empty file anyway.
    """
    temporary = temporary_beside(path)
    try:
        _write_file(temporary, data, mode, sync=sync)
        disk.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        sync_directory(path.parent)


def publish_by_link(path: Path, data: bytes, staging: Path, *, mode: int = 0o600) -> None:
    """Make a complete file appear at `path` by link(2) from the directory `staging` (same file system).

    Raises FileExistsError when `path` exists. Watchers that ignore renames within a directory see this one.
    """
    temporary = staging / f".{path.name}.{os.getpid()}{TEMPORARY}"
    try:
        _write_file(temporary, data, mode, sync=True)
        disk.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def append(path: Path, data: bytes, *, mode: int = 0o600, sync: bool = True) -> None:
    """Append `data` with O_APPEND, in one call where the kernel allows it; all of it, or (OSError) nothing.

    The file must have no other writer: half a line is cut off again.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)
    before = os.fstat(descriptor).st_size
    try:
        write_all(descriptor, data)
        if sync:
            disk.fsync(descriptor)
    except OSError:
        if os.fstat(descriptor).st_size > before:
            os.ftruncate(descriptor, before)
        raise
    finally:
        os.close(descriptor)


def claim(source: str | Path, target: str | Path) -> None:
    """Move a file that others may see to a place that is ours. Raises FileNotFoundError if somebody was faster."""
    disk.rename(source, target)


def move(source: Path, target: Path) -> None:
    """Rename, and make both directories remember it."""
    disk.rename(source, target)
    sync_directory(target.parent)
    if source.parent != target.parent:
        sync_directory(source.parent)


def remove(path: str | Path) -> None:
    """Unlink; a file that is gone already is what was wanted."""
    try:
        disk.unlink(path)
    except FileNotFoundError:
        return


def remove_tree(path: Path) -> None:
    """Remove a directory of our own scratch files."""
    shutil.rmtree(path, ignore_errors=False) if path.exists() else None


def sync_file(path: Path) -> None:
    """Make the bytes that somebody else wrote to `path` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        disk.fsync(descriptor)
    finally:
        os.close(descriptor)


def seal_tree(directory: Path) -> None:
    """Fsync every file and directory below `directory`, deepest first."""
    for parent, _, names in os.walk(directory, topdown=False):
        for name in names:
            entry = Path(parent) / name
            if not entry.is_symlink():
                sync_file(entry)
        sync_directory(Path(parent))


def publish_directory(temporary: Path, final: Path) -> None:
    """Make a complete directory appear at `final`. If it is there already (same content, same name), keep that one."""
    seal_tree(temporary)
    if final.exists():
        remove_tree(temporary)
        return
    disk.rename(temporary, final)
    sync_directory(final.parent)


def point_link(link: Path, target: str) -> None:
    """Re-point the symlink `link` without a moment in which it is missing."""
    temporary = temporary_beside(link)
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    disk.rename(temporary, link)
    sync_directory(link.parent)
