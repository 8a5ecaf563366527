"""Where do bytes go that we could not read, and who tells why?

Everything in `quarantine/` is named for its content, so the same garbage sent again takes no more room, and beside it
lies a `<name>.reason.json`. Nothing here is ever removed by the daemon.
"""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable
from pathlib import Path

import orjson

from reactord import durable
from reactord.formats.records import content_identity
from reactord.ipc.dropfile import MAX_FILE_BYTES
from reactord.ledger.journal import Entry

log = logging.getLogger("reactord.ingest")

#: refused parts of files that are not ours
MAX_COPIES = 1000


class Quarantine:
    """The directory `quarantine/`. `clock` gives epoch seconds. Both ways in can be gone again without harm."""

    def __init__(self, directory: Path, clock: Callable[[], float]) -> None:
        self.directory, self.clock = directory, clock
        self._copies: int | None = None

    def take_file(self, file: Path, name: str, reason: str) -> None:
        """Move a file of ours here; `name` is what its sender called it."""
        aside = self.directory / (_content_name(file) or file.name)
        if not aside.exists():
            self._explain(aside, {"reason": reason, "name": name})
        durable.claim(file, aside)
        log.warning("quarantined %s: %s", name, reason)

    def copy_line(self, entry: Entry, offset: int, length: int, reason: str) -> None:
        """Copy a refused part of a file that is not ours, under a name made of its content."""
        if "tail" not in entry.meta and "spool" not in entry.meta:
            return  # a file of ours is taken whole
        raw, name = entry.raw[offset : offset + length], entry.meta["name"]
        aside = self.directory / f"{content_identity(name, raw)}.line"
        if not aside.exists() and self._may_copy():
            at = entry.meta.get("tail", {}).get("start", 0) + offset
            self._explain(aside, {"reason": reason, "name": name, "offset": at})
            durable.publish(aside, raw)
            log.warning("quarantined a part of %s at byte %s: %s", name, at, reason)

    def _may_copy(self) -> bool:
        """An emitter of garbage must not fill our disk with copies of what lies in its own file, and in the journal."""
        if self._copies is None:
            self._copies = sum(1 for _ in self.directory.glob("*.line"))
        if self._copies == MAX_COPIES:
            log.warning("%s holds %d refused lines; more are counted, not copied", self.directory, MAX_COPIES)
        self._copies += 1
        return self._copies <= MAX_COPIES

    def _explain(self, aside: Path, why: dict[str, object]) -> None:
        note = orjson.dumps({**why, "at": self.clock()}, option=orjson.OPT_INDENT_2)
        durable.publish(aside.with_name(f"{aside.name}.reason.json"), note)


def _content_name(file: Path) -> str | None:
    """A name made of what a file holds; None for what is no plain file, or cannot or should not be read for that."""
    status = file.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_size > MAX_FILE_BYTES:
        return None
    try:
        return f"{content_identity(file.read_bytes())}.file"
    except PermissionError:  # it was refused for that
        return None
