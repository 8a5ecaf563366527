"""Where do files of a format appear, and may we delete them? Data, declared by each format."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from reactord.formats.mended import mended
from reactord.formats.quick import Quick
from reactord.formats.records import Parser, Record, Said

#: drop: whole files that are ours, claimed and unlinked once the ledger has them.
#: spool: whole files of somebody else, read once in each of their states.
#: tail: somebody else's growing file, read line by line.
#: rows: somebody else's SQLite table.
#: command: not for the ledger; taken, done and answered by ipc/commands.py.
Kind = Literal["drop", "spool", "tail", "rows", "command"]


@dataclass(frozen=True)
class Door:
    """A place on the bus where files of one format appear. `directory` is below the home; `env` may name others."""

    kind: Kind
    directory: str
    pattern: str  # of the whole file name
    env: tuple[str, ...] = ()  # variables that name a directory to be watched as well, or `NAME/sub` for one below it

    @cached_property
    def _matches(self) -> re.Pattern[str]:
        return re.compile(self.pattern, re.DOTALL)

    def admits(self, name: str) -> bool:
        return self._matches.fullmatch(name) is not None

    def elsewhere(self, environ: Mapping[str, str]) -> Iterator[Path]:
        """The other directories that the environment names for this door, absolute; links are kept as they are."""
        for variable in self.env:
            name, _, below = variable.partition("/")
            if value := environ.get(name, "").strip():
                # not pathlib: its expanduser raises for a user that does not exist, and resolve() follows links
                yield Path(os.path.abspath(os.path.expanduser(value)), below)  # noqa: PTH100, PTH111


@dataclass(frozen=True)
class Format:
    """What a kind of file says, and where it comes in. The journal stores the name: it is never reused."""

    name: str
    parse: Parser
    doors: tuple[Door, ...]
    schema: type[BaseModel] | None = None  # of one document or line, for `reactord check-file` and docs/schemas/
    lines: bool = False  # a file of this format holds one document a line
    quick: Quick | None = None  # for a hot format

    def said(self, raw: bytes, where: str) -> Sequence[Said]:
        """What a document holds, with the records by their identity alone, and what was mended. Raises BadRecord."""
        if self.quick and (known := self.quick.of(raw)) is not None:
            return known
        items: list[Said] = [item.identity if isinstance(item, Record) else item for item in self.parse(raw, where)]
        return items + mended(raw)
