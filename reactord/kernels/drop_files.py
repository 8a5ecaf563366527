"""Read, claim and remove many files of one directory, with nothing but system calls in between: native/src/claim.c.

Only files that leave nothing to decide: plain, ours, whole, and open for writing by nobody. Linux alone can tell; else
no file is one. This changes the disk beside `durable`, so it is used only while that has the real one (ipc/handful.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from reactord.kernels import ffi, lib

CHANGED: int = lib.RK_ECHANGED
_allocate = ffi.new_allocator(should_clear_after_alloc=False)


class Held:
    """Files of one directory that were read, each under its lease until it is claimed or let go."""

    def __init__(self, directory: str, names: Sequence[str], room_bytes: int) -> None:
        """Read the first of them, as many as there is room for; none may be larger than that."""
        self._directory, self._names = os.fsencode(directory), _packed(names)
        self._found = ffi.new("rk_file[]", len(names))
        room = _allocate("uint8_t[]", room_bytes)
        self.n: int = lib.rk_read_files(self._directory, self._names, len(names), room, room_bytes, self._found)
        try:
            read = ffi.buffer(room)
            #: what each holds; None for one that has to be looked at
            self.raw = [None if one.file < 0 else read[one.at : one.at + one.size] for one in self._found[0 : self.n]]
        except MemoryError:
            self.let_all_go()
            raise

    def let_go(self, i: int) -> None:
        """Leave file `i` where it is."""
        one = self._found[i]
        if one.file >= 0:
            os.close(one.file)
            one.file = -1

    def let_all_go(self) -> None:
        """Leave all that are still held where they are."""
        for i in range(self.n):
            self.let_go(i)

    def claim(self, target: str, claims: Sequence[str]) -> list[int]:
        """Move all that are still held to these names in `target`.

        For each 0, or CHANGED for what is not, or not for good, what was read; or the errno for which it was not moved.
        """
        lib.rk_claim_files(self._directory, self._names, os.fsencode(target), _packed(claims), self.n, self._found)
        return [one.outcome for one in self._found[0 : self.n]]


def unlink(directory: str, names: Sequence[str]) -> tuple[int, int]:
    """(how many of these are gone, the errno for which the next one is not)."""
    error = ffi.new("int32_t *")
    gone = lib.rk_unlink_files(os.fsencode(directory), _packed(names), len(names), error)
    return gone, error[0]


def _packed(names: Iterable[str]) -> bytes:
    return os.fsencode("\0".join([*names, ""]))
