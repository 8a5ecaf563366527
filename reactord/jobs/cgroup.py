"""Can the kernel itself keep a worker to its memory? A control group of its own, where we may make one.

That is so for root, and for a user to whom systemd delegated a subtree (Delegate=memory with DelegateSubgroup=). Both
versions of the interface are known. Where none can be made, `make` says so by None, and the watcher (jobs/keeping.py)
and the worker's own limit must do.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("reactord.jobs")

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class Group:
    """One worker's control group."""

    path: Path
    version: int

    def admit(self, pid: int) -> bool:
        """Take a process in; what it starts from then on belongs to it too."""
        try:
            (self.path / "cgroup.procs").write_text(str(pid))
        except OSError as trouble:
            log.info("no control group for process %s: %s", pid, trouble)
            return False
        return True

    def limit(self, limit_bytes: int) -> None:
        """Another limit. The kernel may refuse one below what is held: then the watcher ends the worker."""
        with contextlib.suppress(OSError):
            _limit(self, limit_bytes)

    def kills(self) -> int:
        """How many of its processes the kernel ended for want of memory."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in (self.path / name).read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        return 0

    def remove(self) -> None:
        """Gone, unless somebody is still in it."""
        with contextlib.suppress(OSError):
            self.path.rmdir()


def make(name: str, limit_bytes: int) -> Group | None:
    """A group that may hold so much, or None where there can be none. One of that name is taken over."""
    for parent, version in _places():
        _sweep(parent)
        group = Group(parent / name, version)
        try:
            group.path.mkdir(exist_ok=True)
            _limit(group, limit_bytes)
        except OSError:
            group.remove()
            continue
        return group
    return None


def _sweep(parent: Path) -> None:
    """Remove what daemons that were killed left empty; the kernel keeps those that somebody is in."""
    for path in parent.glob(f"{name_of('')}*"):
        with contextlib.suppress(OSError):
            path.rmdir()


def _limit(group: Group, limit_bytes: int) -> None:
    """Memory, and no swap beyond it: a worker that swaps stops the machine for everybody."""
    if group.version == 2:
        (group.path / "memory.max").write_text(str(limit_bytes))
        with contextlib.suppress(FileNotFoundError):
            (group.path / "memory.swap.max").write_text("0")
        with contextlib.suppress(FileNotFoundError):
            (group.path / "memory.oom.group").write_text("1")
        return
    both = group.path / "memory.memsw.limit_in_bytes"
    for path in (group.path / "memory.limit_in_bytes", both, group.path / "memory.limit_in_bytes"):
        # the sum may not be below the memory, nor the memory above the sum: one of the two orders is right
        with contextlib.suppress(FileNotFoundError if path == both else OSError):
            path.write_text(str(limit_bytes))
    if int((group.path / "memory.limit_in_bytes").read_text()) > limit_bytes:
        raise OSError("the limit was not taken")


def _places() -> Iterator[tuple[Path, int]]:
    """Where a group with a memory limit may be made: below our own, or beside it."""
    try:
        lines = OWN.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        own = path.lstrip("/")
        if "memory" in controllers.split(","):
            yield from ((place, 1) for place in (ROOT / "memory" / own, ROOT / "memory") if place.is_dir())
        elif not controllers:
            for place in (ROOT / own, (ROOT / own).parent):
                if place.is_relative_to(ROOT) and "memory" in _words(place / "cgroup.subtree_control"):
                    yield place, 2


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def name_of(job_id: str) -> str:
    """The same after a restart of the daemon, so that an adopted worker's group is found again."""
    return f"reactord-{os.getuid()}-{job_id}"
