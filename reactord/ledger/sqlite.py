"""How do we open SQLite?"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from reactord import durable

#: a reader may hold the database this long before a writer gives up
BUSY_MS = 5000


def open_writer(path: Path, schema: str, synchronous: Literal["FULL", "NORMAL"]) -> sqlite3.Connection:
    """A connection in WAL mode, transactions by hand. One thread at a time may use it."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.executescript(
        f"PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous}; PRAGMA busy_timeout={BUSY_MS};"
        " PRAGMA cache_size=-24000; PRAGMA fullfsync=1; PRAGMA checkpoint_fullfsync=1;"
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
