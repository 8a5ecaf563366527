"""Which files come in, where, in which format, and may we delete them? Data, not code: a new door is one line here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reactord.home import Home


@dataclass(frozen=True, slots=True)
class Door:
    """A place on the bus where files of one format appear.

    A "drop" is a complete file that is ours: it is claimed, and unlinked once the ledger has it. A "tail" is somebody
    else's growing file: it is read, line by line, and never touched.
    """

    format: str
    kind: Literal["drop", "tail"]
    directory: Path
    pattern: re.Pattern[str]

    def admits(self, name: str) -> bool:
        return self.pattern.fullmatch(name) is not None


def doors(home: Home) -> tuple[Door, ...]:
    """Every door of this home, in the order in which they are looked at."""
    return (
        Door("experiences", "drop", home.events, re.compile(r"experiences_[^/]*\.json", re.DOTALL)),
        Door("experiences", "drop", home.events, re.compile(r"5_\d+_[^/]*\.json", re.DOTALL)),
        Door("telemetry", "tail", home.telemetry, re.compile(r"interactions_\d{8}\.jsonl")),
    )
