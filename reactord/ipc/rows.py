"""Which rows of somebody else's SQLite table are new? (`conversations.db`, contract/prime.md 4, row 6)

The database is opened read-only. A row is taken once it has a quality score: its first write has none, and holds text
that is not yet redacted. The mark is the last row before the first one that still waits for its score; what was taken
beyond the mark is remembered by number, so that nothing is read twice.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson

from reactord.formats.conversations import MIN_QUALITY
from reactord.ipc import dropfile
from reactord.ipc.batch import Batch, OneFile, printable
from reactord.ipc.doors import Entrance, listed
from reactord.ledger.journal import Entry

TABLE = "conversations"
ROWS_PER_LOOK = 500
#: a row that has no score after so many later ones will get none
MAX_WAITING = 1000
BUSY_MS = 100


class Rows:
    """The doors of kind `rows`. `stored` says how far a database was read."""

    def __init__(
        self,
        entrances: Iterable[Entrance],
        stored: Callable[[str], str | None],
        clock: Callable[[], float],
        one_file: OneFile,
    ) -> None:
        self.doors = tuple(entrances)
        self.stored, self.clock, self.one_file = stored, clock, one_file
        self._quiet: dict[str, tuple[dropfile.Instance | None, ...]] = {}

    def look(self, batch: Batch) -> bool:
        """Add what is new to the batch. True when there may be more."""
        more = False
        for door, path, _ in listed(self.doors, "rows"):
            state = tuple(_state(path + suffix) for suffix in ("", "-wal"))
            if self._quiet.get(path) == state or batch.full:
                continue
            with self.one_file():
                if self._read(door, path, batch):
                    more = True
                else:
                    self._quiet[path] = state
        return more

    def _read(self, door: Entrance, path: str, batch: Batch) -> bool:
        stored = orjson.loads(self.stored(path) or b"{}")
        mark, beyond = int(stored.get("mark", 0)), set(stored.get("beyond", []))
        try:
            rows = _rows(path, mark)
        except sqlite3.Error as trouble:
            raise OSError(f"{path} cannot be read ({trouble}); it is tried again when it changes") from None
        taken = [row for row in rows if row["rowid"] not in beyond and _ready(row)]
        mark, beyond = _advance(rows, mark, beyond | {row["rowid"] for row in taken})
        position = orjson.dumps({"mark": mark, "beyond": sorted(beyond)}).decode()
        if not taken and position == self.stored(path):
            return False
        name = printable(os.path.basename(path))  # noqa: PTH119 - names, not paths
        raw = b"".join(orjson.dumps(row, default=_text) + b"\n" for row in taken)
        place = {"path": path, "start": 0, "position": position}
        batch.add(
            Entry({"format": door.format.name, "name": name, "at": self.clock(), "where": name, "tail": place}, raw)
        )
        return True


def _rows(path: str, mark: int) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True, isolation_level=None)) as db:
        db.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        db.row_factory = sqlite3.Row
        query = f"SELECT rowid AS rowid, * FROM {TABLE} WHERE rowid > ? ORDER BY rowid LIMIT ?"  # noqa: S608 - constants
        return [dict(row) for row in db.execute(query, (mark, ROWS_PER_LOOK + MAX_WAITING))]


def _ready(row: dict[str, Any]) -> bool:
    score = row.get("quality_score")
    return isinstance(score, int | float) and score >= MIN_QUALITY


def _advance(rows: list[dict[str, Any]], mark: int, taken: set[int]) -> tuple[int, set[int]]:
    """Move the mark over every row that is decided: taken, scored too low, or without a score for too long."""
    given_up = rows[-MAX_WAITING]["rowid"] if len(rows) > MAX_WAITING else 0
    for row in rows:
        if row["rowid"] not in taken and not row.get("quality_score") and row["rowid"] > given_up:
            break
        mark = row["rowid"]
    return mark, {number for number in taken if number > mark}


def _text(value: Any) -> str:  # noqa: ANN401 - what JSON has no form for: a blob
    return bytes(value).decode("utf-8", "replace") if isinstance(value, bytes | memoryview) else str(value)


def _state(path: str) -> dropfile.Instance | None:
    try:
        return dropfile.Instance.at(path)
    except OSError:
        return None
