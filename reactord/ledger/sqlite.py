"""How do we open SQLite?"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from reactord import durable

#: a reader may hold the database this long before a writer gives up
BUSY_MS = 5000
ROWS_AT_ONCE = 40


def open_writer(path: Path, schema: str, synchronous: Literal["FULL", "NORMAL"]) -> sqlite3.Connection:
    """A connection in WAL mode, transactions by hand. One thread at a time may use it."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.executescript(
        f"PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous}; PRAGMA busy_timeout={BUSY_MS};"
        " PRAGMA cache_size=-16000; PRAGMA fullfsync=1; PRAGMA checkpoint_fullfsync=1;"
    )
    db.executescript(schema)
    return db


def open_readonly(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. Raises FileNotFoundError when the database does not exist yet."""
    if not path.exists():
        raise FileNotFoundError(path)
    db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    db.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    return db


def insert(db: sqlite3.Connection, into: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Rows of one width, some dozens in a statement: a third cheaper than one in each."""
    if not rows:
        return
    row = f"({','.join('?' * len(rows[0]))})"
    whole = len(rows) - len(rows) % ROWS_AT_ONCE
    several = f"{into} VALUES {','.join([row] * ROWS_AT_ONCE)}"
    for first in range(0, whole, ROWS_AT_ONCE):
        db.execute(several, tuple(chain.from_iterable(rows[first : first + ROWS_AT_ONCE])))
    db.executemany(f"{into} VALUES {row}", rows[whole:])


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Everything inside, or nothing. Raises sqlite3.OperationalError when the disk is full."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def is_damage(trouble: Exception) -> bool:
    """Whether SQLite says that the file itself is broken (and not that it is locked, or the disk full)."""
    return getattr(trouble, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def set_aside(path: Path) -> None:
    """Move a damaged database away, for a person to look at. Close it before."""
    for suffix in ("-wal", "-shm"):
        durable.remove(path.with_name(path.name + suffix))
    durable.move(path, path.with_name(f"{path.name}.damaged-{time.time_ns()}"))
