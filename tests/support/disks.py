"""What may a disk do to us? Stand-ins for `durable.disk`, the one seam under everything that must be durable."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

from reactord.durable import RealDisk

MUTATING = ("write", "fsync", "rename", "link", "unlink")


class WatchedDisk:
    """The real disk, with `before(n, call)` and `after(n, call)` around its n-th mutating call (from 1)."""

    def __init__(
        self,
        before: Callable[[int, str], None] = lambda n, call: None,
        after: Callable[[int, str], None] = lambda n, call: None,
    ) -> None:
        self.real, self.calls = RealDisk(), 0
        self.before, self.after = before, after

    def __getattr__(self, name: str) -> Callable[..., Any]:
        real = getattr(self.real, name)

        def called(*arguments: Any) -> Any:
            self.calls += 1
            n = self.calls
            self.before(n, name)
            result = self._real(name, real, arguments)
            self.after(n, name)
            return result

        return called

    def _real(self, name: str, real: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        return real(*arguments)


class FailingDisk(WatchedDisk):
    """Refuses its n-th mutating call, once. `write_at_most`: every write is short, as POSIX allows."""

    def __init__(self, fail_at: int = 0, error: int = errno.ENOSPC, write_at_most: int = 1 << 30) -> None:
        super().__init__(before=self._refuse)
        self.fail_at, self.error, self.write_at_most = fail_at, error, write_at_most

    def _refuse(self, n: int, call: str) -> None:
        if n == self.fail_at:
            raise OSError(self.error, os.strerror(self.error), call)

    def _real(self, name: str, real: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if name == "write":
            descriptor, data = arguments
            return real(descriptor, data[: self.write_at_most])
        return real(*arguments)


class FullDisk(WatchedDisk):
    """No room for a byte while `full`; it takes `bytes_left` more before it says so, in short writes."""

    def __init__(self, bytes_left: int = 0) -> None:
        super().__init__()
        self.full, self.bytes_left = True, bytes_left

    def _real(self, name: str, real: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if name != "write" or not self.full:
            return real(*arguments)
        descriptor, data = arguments
        if self.bytes_left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real(descriptor, data[: self.bytes_left])
        self.bytes_left -= written
        return written
