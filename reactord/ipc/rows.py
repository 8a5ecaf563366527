"""Which rows of somebody else's SQLite table are new? (`conversations.db`, contract/prime.md 4, row 6)

The database is opened read-only. A row is taken once it has a quality score: its first write has none, and holds text
that is not yet redacted. The mark is the last row before the first one that still waits for its score; what was taken
beyond the mark is remembered by number, so that nothing is read twice. SQLite gives numbers out again after the last
rows, or all of them, are deleted, and VACUUM gives new ones: when the mark is another row than it was, or beyond the
last one, everything is read from the start, and what is known is a duplicate.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from reactord import access
from reactord.formats.conversations import MIN_QUALITY
from reactord.formats.records import content_identity
from reactord.ipc import dropfile
from reactord.ipc.batch import BATCH_BYTES, Batch, printable
from reactord.ipc.doors import Entrance, Reader, listed
from reactord.ledger.journal import Entry

TABLE = "conversations"
#: what is remembered beyond the mark must fit into the header of a journal entry, so both are small
ROWS_PER_LOOK = 300
#: a row that has no score after so many later ones will get none
MAX_WAITING = 300
BUSY_MS = 100


@dataclass
class Rows(Reader):
    """The doors of kind `rows`."""

    _quiet: dict[str, tuple[dropfile.Instance | None, ...]] = field(default_factory=dict)

    def look(self, batch: Batch) -> bool:
        """Add what is new to the batch. True when there may be more."""
        more = False
        for door, path, _ in listed(self.doors, "rows", self.one_file):
            with self.one_file:
                more |= not batch.full and self._look_at(door, path, batch)
        return more

    def _look_at(self, door: Entrance, path: str, batch: Batch) -> bool:
        """True when something was taken from it."""
        state = tuple(dropfile.Instance.seen_at(path + suffix) for suffix in ("", "-wal"))
        if self._quiet.get(path) == state:
            return False
        if self._read(door, path, batch):
            return True
        self._quiet[path] = state
        return False

    def _read(self, door: Entrance, path: str, batch: Batch) -> bool:
        stored = orjson.loads(self.stored(path) or b"{}")
        mark, beyond = int(stored.get("mark", 0)), set(stored.get("beyond", []))
        try:
            with closing(opened(Path(path))) as db:
                db.execute("BEGIN")  # one moment of it, whoever writes meanwhile
                if _is_numbered_anew(db, mark, stored.get("named")):
                    mark, beyond = 0, set()
                rows = _rows(db, mark, beyond)
                taken = [row for row in rows if row["rowid"] not in beyond and _ready(row)]
                mark, beyond = _advance(rows, mark, beyond | {row["rowid"] for row in taken})
                named = _name_of(db, mark)
        except sqlite3.Error as trouble:
            raise OSError(f"{path} cannot be read ({trouble}); it is tried again at the next look") from None
        position = orjson.dumps({"mark": mark, "beyond": sorted(beyond), "named": named}).decode()
        if not taken and position == self.stored(path):
            return False
        name = printable(os.path.basename(path))  # noqa: PTH119 - names, not paths
        raw = b"".join(as_json(row) + b"\n" for row in taken)
        place = {"path": printable(path), "start": 0, "position": position}
        batch.add(
            Entry({"format": door.format.name, "name": name, "at": self.clock(), "where": name, "tail": place}, raw)
        )
        return True


def opened(path: Path) -> sqlite3.Connection:
    """Somebody's database, to be read only. A byte that is no UTF-8 is replaced: it must not keep every row waiting.

    Raises OSError for what is no regular file: SQLite would wait for the other end of a pipe for ever.
    """
    for suffix in ("", "-wal", "-shm", "-journal"):
        access.refuse_irregular(f"{path}{suffix}")
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    db.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    db.row_factory = sqlite3.Row
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return db


def _rows(db: sqlite3.Connection, mark: int, beyond: set[int]) -> list[dict[str, Any]]:
    """The rows after the mark, with at most about BATCH_BYTES of what is new in them."""
    query = f"SELECT rowid AS rowid, * FROM {TABLE} WHERE rowid > ? ORDER BY rowid LIMIT ?"  # noqa: S608 - constants
    found, size = [], 0
    for row in map(dict, db.execute(query, (mark, ROWS_PER_LOOK + MAX_WAITING))):
        if row["rowid"] in beyond or not _ready(row):  # what they say is not needed, and may be large
            found.append({name: row.get(name) for name in ("rowid", "quality_score")})
            continue
        found.append(row)
        size += bound(row)
        if size >= BATCH_BYTES:
            break
    return found


def _is_numbered_anew(db: sqlite3.Connection, mark: int, named: str | None) -> bool:
    """Whether rows that nobody has read may have numbers up to the mark."""
    (last,) = db.execute(f"SELECT coalesce(max(rowid), 0) FROM {TABLE}").fetchone()  # noqa: S608 - a constant
    return last < mark or (named is not None and _name_of(db, mark) not in (None, named))


def _name_of(db: sqlite3.Connection, number: int) -> str | None:
    """Which row has this number; None for one that is not there: deleted, or replaced under another one."""
    row = db.execute(f"SELECT id FROM {TABLE} WHERE rowid = ?", (number,)).fetchone()  # noqa: S608 - a constant
    return row and content_identity(str(row[0]))[:16]


def bound(row: dict[str, Any]) -> int:
    """Take out what is too large: the parser refuses a row without data, and it is counted. Returns the row's size."""
    row |= {name: None for name, value in row.items() if _size(value) > dropfile.MAX_FILE_BYTES}
    return sum(map(_size, row.values()))


def _size(value: object) -> int:
    """About how large a value of SQLite's is; a column holds whatever was put into it, also where text is declared."""
    return len(value) if isinstance(value, str | bytes) else 0


def as_json(row: dict[str, Any]) -> bytes:
    """A row as the journal keeps it."""
    return orjson.dumps(row, default=_text)


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
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
