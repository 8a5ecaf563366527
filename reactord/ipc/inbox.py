"""How does what lies at the doors get into the ledger, exactly once?

One thread owns the journal and the index. It looks at every door when a notification wakes it and at least four times a
second (a hint wakes us, the scan tells us), and takes what it finds in batches:

    look -> claim by rename -> append to the journal, one fdatasync -> commit the index -> unlink

After a crash the claimed files that the index knows are unlinked and the others go the same way again. Everything else
that must touch the index (an HTTP body, the taking of a dataset) is done on this thread too, through `call`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson
from watchfiles import watch

from reactord import durable
from reactord.formats.records import content_identity
from reactord.home import Home
from reactord.ipc import dropfile, tail
from reactord.ipc.doors import Door, doors
from reactord.ledger.index import Index, OnRefused
from reactord.ledger.journal import Entry, Journal, Place, batches

log = logging.getLogger("reactord.ingest")
T = TypeVar("T")

LOOK_EVERY_MS = 250
BATCH_FILES = 200
BATCH_BYTES = 8 * 1024 * 1024
NAMES_PER_LOOK = 20_000
#: a drop file that does not parse is refused once it has been quiet for so long
SETTLE_S = 2.0
RETRY_S = 5.0


@dataclass(slots=True)
class Intake:
    """What the rest of the daemon may know of the ingest thread. Only that thread writes it."""

    ready: bool = False
    trouble: str | None = None  # why nothing can be taken in now, in words
    fresh: int = 0  # pending records that no dataset has looked at
    last_seq: int = 0
    last_arrival_at: float = 0.0
    quarantined: int = 0


@dataclass(slots=True)
class _Batch:
    entries: list[Entry] = field(default_factory=list)
    claimed: list[tuple[Path, str | None]] = field(default_factory=list)  # (file, reason it is refused for)
    size_bytes: int = 0

    def add(self, entry: Entry, file: Path | None = None) -> None:
        self.entries.append(entry)
        self.size_bytes += len(entry.raw)
        if file is not None:
            self.claimed.append((file, entry.meta.get("refused")))

    @property
    def full(self) -> bool:
        return len(self.entries) >= BATCH_FILES or self.size_bytes >= BATCH_BYTES


class Inbox:
    """The ingest thread and its two stores. `clock` gives epoch seconds."""

    def __init__(self, home: Home, clock: Callable[[], float] = time.time) -> None:
        self.home, self.clock = home, clock
        self.doors = doors(home)
        self.intake = Intake()
        self._refreshed_upto = 0
        self.journal = Journal(home.journal)
        self.index: Index
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self.looked_upto = 0  # newest record that some job has looked at; set by the job driver
        self._stop = threading.Event()
        self._claims = 0
        self._unfinished = True  # claimed files may be left from before

    # -- from other threads ------------------------------------------------------------------------------------------
    def call(self, work: Callable[[], T]) -> Future[T]:
        """Have the ingest thread do something with the index; the future carries its result or its error."""
        future: Future[T] = Future()
        self._calls.put((work, future))
        return future

    def offer(self, format_name: str, name: str, raw: bytes) -> Future[int]:
        """Take in bytes that came by another way than a file; the result, how many are new, comes once durable."""
        return self.call(lambda: self._commit(_Batch([self._entry(format_name, name, raw)])))

    def take(self, dataset: str, manifest: dict[str, Any]) -> Future[None]:
        """Give the records of a dataset their fates. The future carries Conservation when they do not add up."""
        return self.call(lambda: self.index.take(dataset, manifest))

    def stop(self) -> None:
        self._stop.set()

    # -- the thread --------------------------------------------------------------------------------------------------
    def run(self) -> None:
        """Recover, then look until stopped. A disk that refuses is a state, shown and retried, never an end."""
        while not self._stop.is_set():
            try:
                self.open()
                break
            except (OSError, sqlite3.Error) as trouble:
                self._trouble(trouble)
        while not self._stop.is_set():
            try:
                self._look_when_woken()
            except (RuntimeError, OSError) as trouble:
                # a watch that dies (a name that is not UTF-8 is enough) costs latency, never a file
                log.warning("file notifications failed (%s); looking without them for %.0f s", trouble, RETRY_S)
                deadline = self.clock() + RETRY_S
                while self.clock() < deadline and not self._stop.wait(LOOK_EVERY_MS / 1000):
                    self.turn()
        self.close()

    def _look_when_woken(self) -> None:
        directories = {door.directory for door in self.doors}
        for directory in directories:
            directory.mkdir(parents=True, exist_ok=True)
        armed = {d: (d.stat().st_dev, d.stat().st_ino) for d in directories}
        for _ in watch(
            *directories, watch_filter=None, recursive=False, step=50, debounce=100, rust_timeout=LOOK_EVERY_MS,
            yield_on_timeout=True, stop_event=self._stop, raise_interrupt=False,
        ):  # fmt: skip
            self.turn()
            for directory, identity in armed.items():
                status = directory.stat()
                if (status.st_dev, status.st_ino) != identity:
                    return  # removed and made again: the old watch is dead without a word

    def open(self) -> None:
        """Recovery: replay what the journal has and the index lacks; finish what was claimed."""
        self.index = _open_index(self.home.index_db, self._quarantine_part)
        self.journal.open(self._catch_up())
        self.index.keep_claims(set(os.listdir(self.home.claimed)))  # noqa: PTH208 - names, not paths
        self._refresh()
        self.intake.trouble = None
        self.intake.ready = True

    def _catch_up(self) -> Place:
        """Enter into the index what the journal has beyond it; return where the journal ends."""
        end = self.index.cursor()
        for batch, after in batches(self.home.journal, end):
            self.index.apply(batch, after)
            end = after
        return end

    def close(self) -> None:
        self.journal.close()
        if hasattr(self, "index"):
            self.index.close()

    def turn(self) -> None:
        """One look at everything: calls, what was claimed before, every door, until nothing new is found."""
        while not self._calls.empty():
            work, future = self._calls.get()
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001 - the caller gets it, whatever it is
                future.set_exception(error)
        try:
            if self.looked_upto > self._refreshed_upto:
                self._refresh()
            if self._unfinished:
                self._catch_up()
                self._finish_claimed()
            while not self._stop.is_set() and self._look() and self._calls.empty():
                pass
        except (OSError, sqlite3.Error) as trouble:
            self._unfinished = True
            self._trouble(trouble)
        else:
            self.intake.trouble = None

    def _trouble(self, trouble: OSError | sqlite3.Error) -> None:
        words = f"{trouble.strerror}: {trouble.filename}" if isinstance(trouble, OSError) else str(trouble)
        if self.intake.trouble is None:
            log.error("cannot take anything in: %s. Nothing is lost; it goes on when the cause is gone.", words)
        self.intake.trouble = words
        self._stop.wait(1.0)

    # -- one look ----------------------------------------------------------------------------------------------------
    def _look(self) -> bool:
        """Take one batch from the doors. True when there may be more."""
        batch, more = _Batch(), False
        for door in self.doors:
            more |= self._look_at_drops(door, batch) if door.kind == "drop" else self._look_at_tails(door, batch)
            if batch.full:
                break
        if batch.entries:
            self._commit(batch)
        return more

    def _look_at_drops(self, door: Door, batch: _Batch) -> bool:
        names = []
        with contextlib.suppress(FileNotFoundError), os.scandir(door.directory) as entries:
            for entry in entries:
                if door.admits(entry.name):
                    names.append(entry.name)
                    if len(names) >= NAMES_PER_LOOK:
                        break
        for name in sorted(names):
            if batch.full:
                return True
            self._take_drop(door, door.directory / name, batch)
        return len(names) >= NAMES_PER_LOOK

    def _take_drop(self, door: Door, path: Path, batch: _Batch) -> None:
        found = dropfile.look(path, door.format, self.clock(), SETTLE_S)
        if found is None:
            return
        claim = self.home.claimed / self._claim_name(door, path.name)
        try:
            durable.claim(path, claim)
        except FileNotFoundError:
            return  # its writer, or another reader, was faster
        if dropfile.Instance.of(claim.lstat()) != found.instance:
            self._unfinished = True  # it changed between the look and the claim: look again, in its new place
            return
        batch.add(self._entry(door.format, path.name, found.raw, claim=claim.name, refused=found.refused), claim)

    def _look_at_tails(self, door: Door, batch: _Batch) -> bool:
        more = False
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(door.directory)):  # noqa: PTH208 - names, not paths
                if batch.full:
                    return True
                if door.admits(name):
                    more |= self._read_tail(door, door.directory / name, batch)
        return more

    def _read_tail(self, door: Door, path: Path, batch: _Batch) -> bool:
        stored = self.index.tail(str(path))
        chunk = tail.read_new(path, tail.Position.decode(stored) if stored else None)
        if chunk is None:
            return False
        place = {"path": str(path), "start": chunk.start, "position": chunk.position.encode()}
        meta = {"format": door.format, "name": path.name, "at": self.clock(), "where": chunk.whence, "tail": place}
        if chunk.overlong:
            reason = f"a line longer than {tail.MAX_LINE_BYTES} bytes"
            meta |= {"refused": reason, "identity": f"{chunk.whence}@{chunk.start}"}
        batch.add(Entry(meta, chunk.raw))
        return True

    # -- commit ------------------------------------------------------------------------------------------------------
    def _entry(
        self, format_name: str, name: str, raw: bytes, *, claim: str | None = None, refused: str | None = None
    ) -> Entry:
        name = _printable(name)
        meta: dict[str, Any] = {"format": format_name, "name": name, "at": self.clock(), "where": name}
        if claim:
            meta["claim"] = claim
        if refused:
            meta |= {"refused": refused, "identity": content_identity("refused", name, raw)}
        return Entry(meta, raw)

    def _commit(self, batch: _Batch) -> int:
        """Journal, index, remove: the order is the guarantee. Returns how many records were new."""
        places, end = self.journal.append(batch.entries)
        new = self.index.apply(zip(places, batch.entries, strict=True), end)
        for path, reason in batch.claimed:
            self._dispose(path, reason)
        if batch.claimed:
            self.index.forget_claims([path.name for path, _ in batch.claimed])
        if new:
            self.intake.last_arrival_at = self.clock()
        self._refresh()
        return new

    def _refresh(self) -> None:
        self._refreshed_upto = self.looked_upto
        self.intake.fresh, self.intake.last_seq = self.index.fresh(self.looked_upto)

    def _dispose(self, claim: Path, reason: str | None) -> None:
        """The ledger has it: unlink it, or set it aside with its reason when it was refused."""
        if reason is None:
            durable.remove(claim)
            return
        aside = self.home.quarantine / claim.name
        note = {"reason": reason, "name": _printable(_original_name(claim.name)), "at": self.clock()}
        durable.publish(aside.with_name(aside.name + ".reason.json"), orjson.dumps(note, option=orjson.OPT_INDENT_2))
        durable.claim(claim, aside)
        self.intake.quarantined += 1
        log.warning("quarantined %s: %s", note["name"], reason)

    def _finish_claimed(self) -> None:
        """Go on with claimed files that a crash, a full disk or a changing file left behind."""
        batch, left = _Batch(), False
        for name in sorted(os.listdir(self.home.claimed)):  # noqa: PTH208 - names, not paths
            path = self.home.claimed / name
            known, reason = self.index.claimed(name)
            if known:
                self._dispose(path, reason)
                self.index.forget_claims([name])
                continue
            format_name, original = name.split("~", 2)[1], _original_name(name)
            found = dropfile.look(path, format_name, self.clock(), SETTLE_S)
            if found is None:
                left = True
                continue
            batch.add(self._entry(format_name, original, found.raw, claim=name, refused=found.refused), path)
            if batch.full:
                left = True
                break
        if batch.entries:
            self._commit(batch)
        self._unfinished = left

    def _claim_name(self, door: Door, name: str) -> str:
        self._claims += 1
        return f"{time.time_ns():020d}-{self._claims:06d}~{door.format}~{_printable(name)[-120:]}"

    def _quarantine_part(self, entry: Entry, offset: int, length: int, reason: str) -> None:
        """Copy a refused line of a file that is not ours aside, under a name made of its content: idempotent."""
        if "tail" not in entry.meta:
            return  # a drop file is set aside whole
        raw, at = entry.raw[offset : offset + length], entry.meta["tail"]["start"] + offset
        aside = self.home.quarantine / f"{content_identity(entry.meta['name'], raw)}.line"
        if not aside.exists():
            note = {"reason": reason, "name": entry.meta["name"], "offset": at, "at": self.clock()}
            durable.publish(Path(f"{aside}.reason.json"), orjson.dumps(note, option=orjson.OPT_INDENT_2), sync=False)
            durable.publish(aside, raw, sync=False)
            self.intake.quarantined += 1
            log.warning("quarantined a line of %s at byte %s: %s", note["name"], at, reason)


def _open_index(path: Path, on_refused: OnRefused) -> Index:
    """Open the index; a damaged one is moved aside and rebuilt from the journal, because it is disposable."""
    try:
        return Index(path, on_refused)
    except sqlite3.DatabaseError as damage:
        if isinstance(damage, sqlite3.OperationalError):
            raise  # locked, full, unreadable: the file itself may be whole
        log.exception("the index is damaged; it is rebuilt from the journal")
        for suffix in ("-wal", "-shm"):
            durable.remove(path.with_name(path.name + suffix))
        durable.move(path, path.with_name(f"{path.name}.damaged-{time.time_ns()}"))
        return Index(path, on_refused)


def _original_name(claim_name: str) -> str:
    return claim_name.split("~", 2)[2]


def _printable(name: str) -> str:
    """A file name as ASCII that JSON, logs and other file systems can carry."""
    return name.encode("ascii", "backslashreplace").decode().replace("/", "_").replace("\n", "\\n")


__all__ = ["Inbox", "Intake", "Place"]
