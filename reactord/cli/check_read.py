"""What does the file to be checked hold? Read without following links or blocking, and only so much of it."""

from __future__ import annotations

import gzip
import io
import os
import sqlite3
import stat
import zlib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from reactord.formats.schema import Problem
from reactord.ipc import rows
from reactord.ipc.dropfile import MAX_FILE_BYTES
from reactord.ipc.tail import MAX_LINE_BYTES

MAX_BYTES = 64 * 1024 * 1024
MAX_ROWS = 100_000
_GZIP, _SQLITE = b"\x1f\x8b", b"SQLite format 3\0"
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Unreadable(ValueError):
    """The daemon would not even open this, or could not unpack it."""

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(problem)
        self.problem = Problem("", problem, cure)


@dataclass(frozen=True, slots=True)
class Contents:
    """The bytes of a file, unpacked."""

    raw: bytes
    whole: bool = True
    rows: int | None = None  # they are of a table of so many rows: one row a line

    def documents(self, *, lines: bool) -> tuple[list[tuple[int, bytes]], list[tuple[int, Problem]]]:
        """(line number, document), and what is wrong with the file itself."""
        if lines or self.rows is not None:
            return self._lines()
        wrong = []
        if len(self.raw) > MAX_FILE_BYTES:
            wrong.append((0, Problem("", f"is larger than {MAX_FILE_BYTES} bytes", "split it, or write JSON lines")))
        return ([(1, self.raw)] if not wrong else []), wrong

    def _lines(self) -> tuple[list[tuple[int, bytes]], list[tuple[int, Problem]]]:
        parts, wrong = self.raw.split(b"\n"), []
        if (last := parts.pop()) and self.whole:
            cure = "end every line with a newline: without it, the line is still being written"
            wrong.append((len(parts) + 1, Problem("", "the last line has no newline", cure)))
            parts.append(last)
        longest = MAX_LINE_BYTES if self.rows is None else len(self.raw)  # a row was bounded when it was read
        too_long = Problem("", f"a line longer than {longest} bytes", "write shorter lines")
        wrong += [(n, too_long) for n, part in enumerate(parts, 1) if len(part) > longest]
        found = [(n, part) for n, part in enumerate(parts, 1) if part.strip() and len(part) <= longest]
        return found, wrong


def read(path: Path) -> Contents:
    """The contents of a file. Raises Unreadable for what is no plain file, OSError for what is not there."""
    _refuse_unplain(path.lstat())
    descriptor = os.open(path, _OPEN)
    with os.fdopen(descriptor, "rb") as file:
        _refuse_unplain(os.fstat(descriptor))
        raw = file.read(MAX_BYTES + 1)
    if raw.startswith(_SQLITE):
        return _table(path)
    if raw.startswith(_GZIP):
        raw = _unpacked(raw)
    return Contents(raw[:MAX_BYTES], whole=len(raw) <= MAX_BYTES)


def _refuse_unplain(status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise Unreadable("is a symbolic link", "links are never followed; name the file itself")
    if stat.S_ISDIR(status.st_mode):
        raise Unreadable("is a directory", "name one file in it")
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable("is not a regular file", "write a plain file")


def _unpacked(raw: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as packed:
            return packed.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as broken:
        raise Unreadable(f"is damaged gzip ({broken})", "write it again, whole") from None


def _table(path: Path) -> Contents:
    """The rows of Prime's conversations, as the ledger gets them: one JSON object each."""
    try:
        with closing(rows.opened(path)) as db:
            (of,) = db.execute(f"SELECT count(*) FROM {rows.TABLE}").fetchone()  # noqa: S608 - a constant
            lines, size = [], 0
            for row in map(dict, db.execute(f"SELECT * FROM {rows.TABLE} LIMIT ?", (MAX_ROWS,))):  # noqa: S608
                rows.bound(row)
                lines.append(rows.as_json(row) + b"\n")
                size += len(lines[-1])
                if size >= MAX_BYTES:
                    break
    except sqlite3.Error as trouble:
        raise Unreadable(f"is a database without readable conversations ({trouble})", "see docs/formats.md") from None
    return Contents(b"".join(lines), whole=len(lines) >= of, rows=of)
