"""Where do bytes go that we could not read, and who tells why?

Beside everything in `quarantine/` lies a `<name>.reason.json`. Nothing here is ever removed by the daemon.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import orjson

from reactord import durable
from reactord.formats.records import content_identity
from reactord.ledger.journal import Entry

log = logging.getLogger("reactord.ingest")


class Quarantine:
    """The directory `quarantine/`. `clock` gives epoch seconds. Both ways in can be gone again without harm."""

    def __init__(self, directory: Path, clock: Callable[[], float]) -> None:
        self.directory, self.clock = directory, clock

    def take_file(self, file: Path, name: str, reason: str) -> None:
        """Move a file of ours here; `name` is what its sender called it."""
        self._explain(self.directory / file.name, {"reason": reason, "name": name}, sync=True)
        durable.claim(file, self.directory / file.name)
        log.warning("quarantined %s: %s", name, reason)

    def copy_line(self, entry: Entry, offset: int, length: int, reason: str) -> None:
        """Copy a refused line of a file that is not ours, under a name made of its content."""
        if "tail" not in entry.meta:
            return  # a drop file is taken whole
        raw, name = entry.raw[offset : offset + length], entry.meta["name"]
        aside = self.directory / f"{content_identity(name, raw)}.line"
        if not aside.exists():
            at = entry.meta["tail"]["start"] + offset
            self._explain(aside, {"reason": reason, "name": name, "offset": at}, sync=False)
            durable.publish(aside, raw, sync=False)
            log.warning("quarantined a line of %s at byte %s: %s", name, at, reason)

    def _explain(self, aside: Path, why: dict[str, object], *, sync: bool) -> None:
        note = orjson.dumps({**why, "at": self.clock()}, option=orjson.OPT_INDENT_2)
        durable.publish(aside.with_name(f"{aside.name}.reason.json"), note, sync=sync)
