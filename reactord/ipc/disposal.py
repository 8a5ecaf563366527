"""What becomes of a claimed file once the journal has it? It goes, or aside with the reason for which it was refused.

A thread unlinks while the next files are read: that is a matter of the kernel alone. Who needs to know waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from reactord import durable
from reactord.ipc import handful
from reactord.ipc.batch import form_and_name
from reactord.ipc.quarantine import Quarantine


class Disposal:
    """Of the files in `claimed`, some at a time."""

    def __init__(self, claimed: Path, quarantine: Quarantine) -> None:
        self.claimed, self.quarantine = claimed, quarantine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="disposal")  # begun with its first work
        self._names: list[str] = []
        self._refused: list[tuple[str, str]] = []
        self._under_way: Future[tuple[int, OSError | None]] | None = None

    def begin(self, claimed: Sequence[tuple[str, str | None]]) -> None:
        """Begin with these names, each with the reason against it; those before must be finished."""
        self._names = [claim for claim, reason in claimed if reason is None]
        self._refused = [(claim, reason) for claim, reason in claimed if reason is not None]
        if self._names:
            self._under_way = self._thread.submit(handful.remove, str(self.claimed), self._names)
            if not durable.is_real():  # whatever stands there counts the calls in their order
                self._under_way.exception()

    def finish(self) -> tuple[list[str], OSError | None]:
        """(the names that are gone, the trouble with the next one), of what was begun and not told yet."""
        under_way, self._under_way = self._under_way, None
        gone, trouble = under_way.result() if under_way is not None else (0, None)
        done = self._names[:gone]
        try:
            for claim, reason in self._refused if trouble is None else ():
                self.quarantine.take_file(self.claimed / claim, form_and_name(claim)[1], reason)
                done.append(claim)
        except OSError as refused:
            trouble = refused
        self._names, self._refused = [], []
        return done, trouble

    def close(self) -> None:
        """Wait until nothing is under way."""
        self._thread.shutdown()
