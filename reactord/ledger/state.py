"""Which jobs, datasets, models and deployments are there, and how did they come to be what they are?

`state.db` (SQLite, WAL, synchronous=FULL) is the truth and has one writer, the daemon. Whatever changes a row also
appends an event in the same transaction, so every published view is a view of the event journal.
"""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from reactord.ledger import peaks
from reactord.ledger.sqlite import open_writer, transaction

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs(
    id TEXT PRIMARY KEY, state TEXT NOT NULL, cause TEXT NOT NULL, attempt INTEGER NOT NULL, fence INTEGER NOT NULL,
    created_at REAL NOT NULL, updated_at REAL NOT NULL,
    request TEXT NOT NULL,                -- what was asked for, immutable
    facts TEXT NOT NULL                   -- what was found out on the way
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS jobs_by_age ON jobs(created_at);
CREATE TABLE IF NOT EXISTS events(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL,
    topic TEXT NOT NULL, subject TEXT NOT NULL, data TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_by_subject ON events(subject);
CREATE TABLE IF NOT EXISTS datasets(id TEXT PRIMARY KEY, job_id TEXT NOT NULL, taken_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS models(
    version TEXT PRIMARY KEY, model_id TEXT NOT NULL, job_id TEXT NOT NULL, created_at REAL NOT NULL,
    fate TEXT NOT NULL,                   -- candidate, rejected, deployed, superseded, rolled_back
    facts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS fence(one INTEGER PRIMARY KEY CHECK (one = 1), n INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row of jobs. Times are epoch seconds."""

    id: str
    state: str
    cause: str  # why it is in this state
    attempt: int
    fence: int  # of the newest run; a commit with an older one is refused
    created_at: float
    updated_at: float
    request: dict[str, Any]
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One row of models: a version that a job made."""

    version: str
    model_id: str
    job_id: str
    created_at: float
    fate: str
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, in order."""

    seq: int
    at: float
    topic: str
    subject: str
    data: dict[str, Any]


class State:
    """Reads of state.db, for everybody; the one writer is `Store`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def job(self, job_id: str) -> Job | None:
        row = self.db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return _job(row) if row else None

    def jobs(self, *, limit: int = 100) -> list[Job]:
        """Newest first."""
        return [_job(r) for r in self.db.execute("SELECT * FROM jobs ORDER BY created_at DESC, id LIMIT ?", (limit,))]

    def live_jobs(self) -> list[Job]:
        """Oldest first, every job that is not finished."""
        return [
            _job(r)
            for r in self.db.execute(
                "SELECT * FROM jobs WHERE state IN ('queued','reserving','training','exporting','deploying')"
                " ORDER BY created_at, id"
            )
        ]

    def models(self) -> list[Model]:
        """Newest first."""
        return [_model(r) for r in self.db.execute("SELECT * FROM models ORDER BY created_at DESC, version DESC")]

    def deployed(self) -> Model | None:
        """The model that is meant to be live."""
        row = self.db.execute("SELECT * FROM models WHERE fate = 'deployed' ORDER BY created_at DESC").fetchone()
        return _model(row) if row else None

    def datasets(self) -> list[str]:
        """Ids of the taken dataset versions, oldest first."""
        return [str(i) for (i,) in self.db.execute("SELECT id FROM datasets ORDER BY taken_at, rowid")]

    def events(self, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """In order, those with a higher sequence number than `after`."""
        rows = self.db.execute("SELECT * FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
        return [Event(seq=s, at=a, topic=t, subject=j, data=orjson.loads(d)) for s, a, t, j, d in rows]

    def history(self, subject: str) -> list[Event]:
        """In order, everything that happened to one job, dataset or model."""
        rows = self.db.execute("SELECT * FROM events WHERE subject = ? ORDER BY seq", (subject,))
        return [Event(seq=s, at=a, topic=t, subject=j, data=orjson.loads(d)) for s, a, t, j, d in rows]

    def has_event(self, subject: str, event_id: str) -> bool:
        """Whether the event that carries this id in its data happened to this subject already."""
        query = "SELECT 1 FROM events WHERE subject = ? AND json_extract(data, '$.event_id') = ? LIMIT 1"
        return self.db.execute(query, (subject, event_id)).fetchone() is not None

    def topics(self, start: float, end: float) -> dict[str, int]:
        """How many events of each topic happened between two times."""
        query = "SELECT topic, count(*) FROM events WHERE at BETWEEN ? AND ? GROUP BY topic ORDER BY topic"
        return {str(topic): int(n) for topic, n in self.db.execute(query, (start, end))}

    def last_event(self) -> int:
        return int(self.db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])


class Store(State):
    """The one writer. Use `with store.transaction():` around changes that belong together."""

    def __init__(self, path: Path) -> None:
        super().__init__(open_writer(path, SCHEMA + peaks.SCHEMA, "FULL"))

    def close(self) -> None:
        self.db.close()

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside, or nothing."""
        return transaction(self.db)

    def note(self, topic: str, subject: str, now: float, **data: Any) -> None:  # noqa: ANN401 - JSON values
        """Append an event."""
        self.db.execute(
            "INSERT INTO events(at, topic, subject, data) VALUES (?,?,?,?)", (now, topic, subject, _text(data))
        )

    def insert_job(self, job: Job) -> None:
        self.db.execute(
            "INSERT INTO jobs VALUES (?,?,?,?,?,?,?,?,?)",
            (job.id, job.state, job.cause, job.attempt, job.fence, job.created_at, job.updated_at,
             _text(job.request), _text(job.facts)),
        )  # fmt: skip

    def update_job(self, job: Job, *, was: str) -> bool:
        """Write a job's new row if it is still in state `was`; False when somebody else moved it."""
        done = self.db.execute(
            "UPDATE jobs SET state=?, cause=?, attempt=?, fence=?, updated_at=?, facts=?"
            " WHERE id=? AND state=? AND fence<=?",
            (job.state, job.cause, job.attempt, job.fence, job.updated_at, _text(job.facts), job.id, was, job.fence),
        )
        return done.rowcount == 1

    def insert_dataset(self, dataset: str, job_id: str, now: float) -> None:
        self.db.execute("INSERT OR IGNORE INTO datasets VALUES (?,?,?)", (dataset, job_id, now))

    def put_model(self, model: Model) -> None:
        self.db.execute(
            "INSERT OR REPLACE INTO models VALUES (?,?,?,?,?,?)",
            (model.version, model.model_id, model.job_id, model.created_at, model.fate, _text(model.facts)),
        )

    def next_fence(self) -> int:
        """A number that is larger than every one handed out before."""
        row = self.db.execute(
            "INSERT INTO fence VALUES (1, 1) ON CONFLICT(one) DO UPDATE SET n = n + 1 RETURNING n"
        ).fetchone()
        return int(row[0])


def _text(value: dict[str, Any]) -> str:
    return orjson.dumps(value).decode()


def _job(row: tuple[Any, ...]) -> Job:
    i, state, cause, attempt, fence, created_at, updated_at, request, facts = row
    return Job(
        id=i, state=state, cause=cause, attempt=attempt, fence=fence, created_at=created_at, updated_at=updated_at,
        request=orjson.loads(request), facts=orjson.loads(facts),
    )  # fmt: skip


def _model(row: tuple[Any, ...]) -> Model:
    version, model_id, job_id, created_at, fate, facts = row
    return Model(
        version=version, model_id=model_id, job_id=job_id, created_at=created_at, fate=fate, facts=orjson.loads(facts)
    )
