"""Does what we received add up, and how much of it waits?

Read-only and light: `reactord status` asks these questions, with the daemon or without it.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field

import orjson

from reactord.home import Home
from reactord.ledger.sqlite import open_readonly

#: the daemon has the file before its tables, for some milliseconds of its first start
MADE_WITHIN_S, LOOK_EVERY_S = 1.0, 0.01
#: what is counted was made before it
IS_MADE = "SELECT 1 FROM sqlite_master WHERE name = 'cursor'"
#: no segment has a greater number
LAST = 2**63 - 1
#: the fate of a record, as index.db keeps it; REFUSED at the door, REJECTED by a dataset
PENDING, TRAIN, HOLDOUT, REJECTED, REFUSED = 0, 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Counts:
    """The two sides of the conservation law."""

    received: int = 0
    pending: int = 0
    in_datasets: int = 0
    held_out: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    last_seq: int = 0
    taken_upto: int = 0  # the newest record that any dataset has looked at
    mended: dict[str, int] = field(default_factory=dict)  # documents, by what had to be mended in them

    @property
    def balanced(self) -> bool:
        accounted = self.pending + self.in_datasets + self.held_out + sum(self.rejected.values()) + self.duplicates
        return self.received == accounted


def counts(db: sqlite3.Connection) -> Counts:
    """Both sides of the law from one consistent read: the counters, and the records counted one by one."""
    db.execute("BEGIN")
    try:
        fates: dict[int, int] = {}
        rejected: dict[str, int] = {}
        for fate, reason, n in db.execute("SELECT fate, reason, count(*) FROM records GROUP BY fate, reason"):
            fates[fate] = fates.get(fate, 0) + n
            if fate in (REJECTED, REFUSED):
                rejected[reason] = rejected.get(reason, 0) + n
        counters = dict(db.execute("SELECT name, n FROM counters"))
        last = db.execute("SELECT max(seq) FROM records").fetchone()[0]
        upto = db.execute("SELECT max(upto) FROM taken").fetchone()[0]
        repaired = mended(db)
    finally:
        db.execute("COMMIT")
    return Counts(
        received=counters.get("received", 0),
        pending=fates.get(PENDING, 0),
        in_datasets=fates.get(TRAIN, 0),
        held_out=fates.get(HOLDOUT, 0),
        rejected=rejected,
        duplicates=counters.get("duplicates", 0),
        last_seq=last or 0,
        taken_upto=upto or 0,
        mended=repaired,
    )


def mended(db: sqlite3.Connection, segment: int | None = None) -> dict[str, int]:
    """How many documents had to be mended before they could be read, by what was wrong with them."""
    query = "SELECT mended FROM entries WHERE mended IS NOT NULL AND segment BETWEEN ? AND ?"
    found: Counter[str] = Counter()
    for (row,) in db.execute(query, (0, LAST) if segment is None else (segment, segment)):
        found.update(orjson.loads(row))
    return dict(sorted(found.items()))


def count(home: Home) -> Counts:
    """Both sides of the conservation law; all zero before the first record."""
    if (db := _opened(home)) is None:
        return Counts()
    with closing(db):
        return counts(db)


def fresh(home: Home, after: int) -> int:
    """How many pending records are newer than `after`: what the next job would look at first."""
    if (db := _opened(home)) is None:
        return 0
    with closing(db):
        row = db.execute("SELECT count(*) FROM records WHERE fate = 0 AND seq > ?", (after,)).fetchone()
        return int(row[0])


def _opened(home: Home) -> sqlite3.Connection | None:
    """The index; None when there is none yet. One that is just being made is waited for; what has no tables says so."""
    try:
        db = open_readonly(home.index_db)
    except FileNotFoundError:
        return None
    until = time.monotonic() + MADE_WITHIN_S
    while time.monotonic() < until and not db.execute(IS_MADE).fetchone():
        time.sleep(LOOK_EVERY_S)
    return db
