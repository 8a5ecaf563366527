"""What lies in a ledger, and how is one filled without files?"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from reactord.home import Home
from reactord.ledger.index import Index, counts
from reactord.ledger.journal import Entry, Journal, Place, batches
from reactord.ledger.staged import hexed as hexed_key
from reactord.ledger.staged import key_of

RECORDS = "SELECT * FROM records ORDER BY seq"


def line(identity: str | None = None, **more: Any) -> bytes:
    """A canonical telemetry line, without its newline."""
    named = {} if identity is None else {"event_id": identity}
    return json.dumps({**named, "event_type": "interaction", "user_input": "2+2", **more}).encode()


def chunk(lines: Iterable[bytes], start: int = 0, name: str = "interactions_20261121.jsonl") -> Entry:
    """What the ingest journals for new lines of a tailed file."""
    raw = b"".join(one + b"\n" for one in lines)
    place = {"path": f"/bus/{name}", "start": start, "position": f"{start + len(raw)}"}
    return Entry({"format": "telemetry", "name": name, "at": 5.0, "where": name, "tail": place}, raw)


def drop(items: list[Any], name: str = "experiences_llm_1.json", packet: str | None = None) -> Entry:
    """What it journals for an experience file."""
    document = {"experiences": items} | ({"packet_id": packet} if packet else {})
    meta = {"format": "experiences", "name": name, "at": 6.0, "where": name, "claim": f"1~experiences~{name}"}
    return Entry(meta, json.dumps(document).encode())


def refused(name: str, reason: str = "not JSON: because") -> Entry:
    """What it journals for a file that it quarantines."""
    meta = {"format": "experiences", "name": name, "at": 7.0, "where": name, "claim": f"1~experiences~{name}"}
    return Entry({**meta, "refused": reason, "identity": f"refused {name}"}, b"garbage")


class Ledger:
    """A journal and its index, fed directly."""

    def __init__(self, home: Home) -> None:
        self.home, self.refusals = home, []
        self.journal = Journal(home.journal)
        self.index = self._open("index.db")
        self.journal.open(Place(1, 0))

    def _open(self, name: str) -> Index:
        return Index(self.home.ledger / name, lambda *what: self.refusals.append(what))

    def add(self, *entries: Entry) -> int:
        places, end = self.journal.append(entries)
        return self.index.apply(zip(places, entries, strict=True), end).new

    def rebuilt(self, taken: list[tuple[str, dict[str, Any]]]) -> Index:
        """Another index, made from the journal and the manifests alone."""
        again = self._open("again.db")
        for batch, end in batches(self.home.journal, Place(1, 0)):
            again.apply(batch, end)
        for dataset, manifest in taken:
            again.take(dataset, manifest)
        return again

    def close(self) -> None:
        self.journal.close()
        self.index.close()


def dump(index: Index) -> dict[str, list[Any]]:
    """Everything that an index knows and that must not depend on how it came to know it."""
    tables = {"records": RECORDS, "entries": "SELECT * FROM entries", "pointers": "SELECT * FROM pointers",
              "counters": "SELECT * FROM counters", "tails": "SELECT * FROM tails",
              "cursor": "SELECT * FROM cursor", "taken": "SELECT * FROM taken"}  # fmt: skip
    return {name: index.db.execute(query).fetchall() for name, query in tables.items()}


def pending(index: Index, upto: int = 1 << 60) -> list[str]:
    """Identities as the manifest of a dataset writes them, in order of arrival."""
    rows = index.db.execute("SELECT identity FROM records WHERE fate = 0 AND seq <= ? ORDER BY seq", (upto,))
    return [hexed_key(identity) for (identity,) in rows]


def hexed(identity: str) -> str:
    return hexed_key(key_of(identity))


def manifest(upto: int, train: Iterable[str] = (), holdout: Iterable[str] = (), waiting: Iterable[str] = (),
             **rejected: Iterable[str]) -> dict[str, Any]:  # fmt: skip
    fates = {"train": list(train), "holdout": list(holdout), "waiting": list(waiting)}
    return {
        "upto": upto,
        "counts": {},
        "fates": {**fates, "rejected": {reason: list(ids) for reason, ids in rejected.items()}},
    }


def identities(home: Home) -> list[int]:
    """Of every record in the index of a home that nobody has open."""
    with closing(sqlite3.connect(home.index_db)) as db:
        return [identity for (identity,) in db.execute("SELECT identity FROM records ORDER BY seq")]


def count(home: Home) -> Any:
    with closing(sqlite3.connect(home.index_db, isolation_level=None)) as db:
        return counts(db)


def check(home: Home, taken: Iterable[tuple[str, dict[str, Any]]] = ()) -> Any:
    """The two laws over a home that nobody has open: balanced, and the index is what the journal says. The counts."""
    live, again = Index(home.index_db, _ignore), Index(home.ledger / "check.db", _ignore)
    try:
        for batch, end in batches(home.journal, Place(1, 0)):
            again.apply(batch, end)
        for dataset, fates in taken:
            again.take(dataset, fates)
        assert dump(live) == dump(again)
        found = live.counts()
        assert found.balanced
        return found
    finally:
        live.close()
        again.close()
        for suffix in ("", "-wal", "-shm"):
            (home.ledger / f"check.db{suffix}").unlink(missing_ok=True)


def _ignore(*_: Any) -> None:
    """Refused parts are somebody else's test."""
