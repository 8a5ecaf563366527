"""How much memory did each kind of run take, against what was foretold?

A table of state.db. A row is one stage of one job that ended; jobs/correction.py makes a factor of the newest ones.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

SCHEMA = """
CREATE TABLE IF NOT EXISTS peaks(
    platform TEXT NOT NULL,               -- system, processor, precision
    method TEXT NOT NULL,                 -- prepare, train/<recipe>/<lora or full>, export, judge
    base TEXT NOT NULL,
    at REAL NOT NULL, job_id TEXT NOT NULL,
    predicted_bytes INTEGER NOT NULL,     -- by the coefficients alone, uncorrected
    measured_bytes INTEGER NOT NULL,      -- of a run that was killed: as much as it held then
    killed INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS peaks_by_kind ON peaks(platform, method, base, at);
"""
#: newest rows that a factor is made of; older ones are removed
KEPT = 8


@dataclass(frozen=True, slots=True)
class Kind:
    """What shares one correction factor."""

    platform: str
    method: str
    base: str


@dataclass(frozen=True, slots=True)
class Peak:
    """One run: foretold, and found."""

    predicted_bytes: int
    measured_bytes: int
    killed: bool = False  # it wanted more than it held when it was ended


def recent(db: sqlite3.Connection, kind: Kind) -> list[Peak]:
    """The newest peaks of a kind, newest first; none where an older reactord wrote the database."""
    try:
        rows = db.execute(
            "SELECT predicted_bytes, measured_bytes, killed FROM peaks WHERE platform=? AND method=? AND base=?"
            " ORDER BY at DESC, rowid DESC LIMIT ?",
            (kind.platform, kind.method, kind.base, KEPT),
        ).fetchall()
    except sqlite3.OperationalError as trouble:
        if "no such table" in str(trouble):
            return []
        raise
    return [Peak(predicted, measured, bool(killed)) for predicted, measured, killed in rows]


def remember(db: sqlite3.Connection, kind: Kind, peak: Peak, job_id: str, now: float) -> None:
    """Add a peak, and forget what is too old to count. Inside the caller's transaction."""
    key = (kind.platform, kind.method, kind.base)
    db.execute(
        "INSERT INTO peaks VALUES (?,?,?,?,?,?,?,?)",
        (*key, now, job_id, peak.predicted_bytes, peak.measured_bytes, int(peak.killed)),
    )
    db.execute(
        "DELETE FROM peaks WHERE platform=? AND method=? AND base=? AND rowid NOT IN (SELECT rowid FROM peaks"
        " WHERE platform=? AND method=? AND base=? ORDER BY at DESC, rowid DESC LIMIT ?)",
        (*key, *key, KEPT),
    )
