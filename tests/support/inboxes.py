"""What comes to the doors of an inbox, what lies behind them, and what time is it there?"""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from reactord.home import Home
from reactord.ipc.inbox import Inbox
from reactord.ledger.staged import key_of

TELEMETRY = "interactions_20261121.jsonl"


class Skewed:
    """A clock that runs `ahead_s` before everybody else's."""

    ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


def drop(home: Home, name: str, *ids: str) -> Path:
    path = home.events / f"experiences_{name}.json"
    path.write_text(json.dumps([{"id": identity} for identity in ids]))
    return path


def append(home: Home, *lines: bytes, name: str = TELEMETRY) -> None:
    with (home.telemetry / name).open("ab") as file:
        file.write(b"".join(one + b"\n" for one in lines))


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def keys(*ids: str) -> list[int]:
    return sorted(key_of(identity) for identity in ids)


def restarted(inbox: Inbox, clock: Callable[[], float]) -> Inbox:
    inbox.close()
    return Inbox(inbox.home, clock)


def deny() -> NoReturn:
    raise PermissionError(errno.EPERM, "Operation not permitted")
