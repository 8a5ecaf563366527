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
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from watchfiles import watch

from reactord import durable
from reactord.errors import EnvironmentTrouble
from reactord.formats import FORMATS
from reactord.formats.records import content_identity
from reactord.home import Home
from reactord.ipc import dropfile, tail
from reactord.ipc.doors import Door, doors
from reactord.ipc.quarantine import Quarantine
from reactord.ledger.index import Index
from reactord.ledger.journal import Entry, Journal, Place, batches
from reactord.ledger.sqlite import is_damage, set_aside

log = logging.getLogger("reactord.ingest")
T = TypeVar("T")

LOOK_EVERY_MS = 500
#: how often the notifier wakes: at 50 an idle daemon spent most of its CPU here
STEP_MS = 100
BATCH_FILES = 200
BATCH_BYTES = 8 * 1024 * 1024
NAMES_PER_LOOK = 20_000
#: a drop file that does not parse is refused once it has been quiet for so long
SETTLE_S = 2.0
RETRY_S = 5.0
#: a disk that refuses is asked again after so long
TROUBLE_S = 1.0


@dataclass(slots=True)
class Intake:
    """What the rest of the daemon may know of the ingest thread. Only that thread writes it."""

    ready: bool = False
    trouble: str | None = None  # why something cannot be taken in now, in words
    fresh: int = 0  # pending records newer than `fresh_after`
    fresh_after: int = 0
    last_seq: int = 0
    last_arrival_at: float = 0.0


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
        self.quarantine = Quarantine(home.quarantine, clock)
        self.journal = Journal(home.journal)
        self.index: Index
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self.looked_upto = 0  # newest record that some job has looked at; set by the job driver
        self._stop = threading.Event()
        self._claims = 0
        self._unfinished = True  # claimed files may be left from before
        self._damaged = False  # the index must be made anew
        self._unreadable: OSError | None = None  # what one file of this turn answered
        self._quiet: dict[str, dropfile.Instance] = {}  # tailed files as they were when they held nothing new

    # -- from other threads ------------------------------------------------------------------------------------------
    def call(self, work: Callable[[], T]) -> Future[T]:
        """Have the ingest thread do something with the index; the future carries its result or its error."""
        future: Future[T] = Future()
        self._calls.put((work, future))
        return future

    def offer(self, format_name: str, name: str, raw: bytes) -> Future[int]:
        """Take in bytes that came by another way than a file; the result, how many are new, comes once durable.

        The future carries BadRecord when the bytes are not what the format promises.
        """

        def take_in() -> int:
            FORMATS[format_name](raw, name)
            return self._commit(_Batch([self._entry(format_name, name, raw)]))

        return self.call(take_in)

    def take(self, dataset: str, manifest: dict[str, Any]) -> Future[None]:
        """Give the records of a dataset their fates. The future carries Conservation when they do not add up."""
        return self.call(lambda: self.index.take(dataset, manifest))

    def stop(self) -> None:
        self._stop.set()

    # -- the thread --------------------------------------------------------------------------------------------------
    def run(self) -> None:
        """Recover, then look until stopped. A disk that refuses is a state, shown and retried, never an end."""
        try:
            self.turn()
            while not self._stop.is_set():
                try:
                    self._look_when_woken()
                except (RuntimeError, OSError) as trouble:
                    # a watch that dies (a name that is not UTF-8 is enough) costs latency, never a file
                    log.warning("file notifications failed (%s); looking without them for %.0f s", trouble, RETRY_S)
                    deadline = time.monotonic() + RETRY_S
                    while time.monotonic() < deadline and not self._stop.wait(LOOK_EVERY_MS / 1000):
                        self.turn()
        finally:
            self.close()
            self._turn_calls_away()

    def _look_when_woken(self) -> None:
        directories = {door.directory for door in self.doors}
        for directory in directories:
            directory.mkdir(parents=True, exist_ok=True)
        armed = {directory: _identity(directory) for directory in directories}
        for _ in watch(
            *directories,
            watch_filter=None,
            recursive=False,
            step=STEP_MS,
            debounce=2 * STEP_MS,
            rust_timeout=LOOK_EVERY_MS,
            yield_on_timeout=True,
            stop_event=self._stop,
            raise_interrupt=False,
        ):
            self.turn()
            if any(_identity(directory) != identity for directory, identity in armed.items()):
                return  # removed and made again: the old watch is dead without a word

    def open(self) -> None:
        """Recovery: replay what the journal has and the index lacks. A damaged index is made anew from the journal."""
        try:
            self._recover()
        except sqlite3.DatabaseError as trouble:
            if not is_damage(trouble):
                raise
            self._damaged = True
            self._recover()
        self.intake.ready = self._unfinished = True

    def _recover(self) -> None:
        self.close()
        if self._damaged:
            log.error("the index is damaged; it is rebuilt from the journal")
            set_aside(self.home.index_db)
            self._damaged = False
        self.index = Index(self.home.index_db, self.quarantine.copy_line)
        self.journal.open(self._catch_up())
        self.index.keep_claims(set(os.listdir(self.home.claimed)))  # noqa: PTH208 - names, not paths
        self._refresh()

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
        self._unreadable = None
        try:
            if not self.intake.ready:
                self.open()
            self._answer_calls()
            if self.looked_upto > self.intake.fresh_after:
                self._refresh()
            if self._unfinished:
                self._catch_up()
                self._finish_claimed()
            while not self._stop.is_set() and self._look() and self._calls.empty():
                pass
        except (OSError, sqlite3.Error) as trouble:
            self._unfinished = True
            self._show(trouble)
            if is_damage(trouble):
                self._damaged, self.intake.ready = True, False  # the next turn begins with recovery
            else:
                self._stop.wait(TROUBLE_S)
        else:
            self._show(self._unreadable)

    def _answer_calls(self) -> None:
        while not self._calls.empty():
            work, future = self._calls.get()
            if not future.set_running_or_notify_cancel():
                continue  # whoever asked has gone
            try:
                future.set_result(work())
            except Exception as error:  # the caller gets it, whatever it is
                if is_damage(error):
                    future.set_exception(EnvironmentTrouble("the index is being rebuilt; ask again in a moment"))
                    raise
                future.set_exception(error)

    def _turn_calls_away(self) -> None:
        while not self._calls.empty():
            future = self._calls.get()[1]
            if future.set_running_or_notify_cancel():
                future.set_exception(EnvironmentTrouble("the ingest thread has ended; ask again after the restart"))

    def _show(self, trouble: OSError | sqlite3.Error | None) -> None:
        words = str(trouble) if trouble else None
        if words and words != self.intake.trouble:
            log.error("cannot take everything in: %s. Nothing is lost; it goes on when the cause is gone.", words)
        self.intake.trouble = words

    @contextlib.contextmanager
    def _one_file(self) -> Iterator[None]:
        """A file that cannot be read or claimed is shown as a trouble, and keeps no other one waiting."""
        try:
            yield
        except OSError as trouble:
            self._unreadable = trouble

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
        return more and bool(batch.entries)

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
            with self._one_file():
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
        if not dropfile.is_final(claim, found.instance):
            self._unfinished = True  # it changed between the look and the claim: look again, in its new place
            return
        self._add_claimed(batch, claim, found)

    def _add_claimed(self, batch: _Batch, claim: Path, found: dropfile.Found) -> None:
        _, format_name, original = claim.name.split("~", 2)
        batch.add(self._entry(format_name, original, found.raw, claim=claim.name, refused=found.refused), claim)

    def _look_at_tails(self, door: Door, batch: _Batch) -> bool:
        changed, more = [], False
        with contextlib.suppress(FileNotFoundError), os.scandir(door.directory) as entries:
            for entry in entries:
                if door.admits(entry.name):
                    instance = dropfile.Instance.of(entry.stat(follow_symlinks=False))
                    if self._quiet.get(entry.name) != instance:  # a year has 365 files, and one of them grows
                        changed.append((entry.name, instance))
        for name, instance in sorted(changed):
            if batch.full:
                return True
            with self._one_file():
                if self._read_tail(door, door.directory / name, batch):
                    more = True
                else:
                    self._quiet[name] = instance
        return more

    def _read_tail(self, door: Door, path: Path, batch: _Batch) -> bool:
        stored = self.index.tail(str(path))
        chunk = tail.read_new(path, tail.Position.decode(stored) if stored else None)
        if chunk is None:
            return False
        place = {"path": str(path), "start": chunk.start, "position": chunk.position.encode()}
        meta = {"format": door.format, "name": path.name, "at": self.clock(), "where": path.name, "tail": place}
        if chunk.overlong:
            meta["refused"] = f"a line longer than {tail.MAX_LINE_BYTES} bytes"
            meta["identity"] = content_identity("refused", f"{path.name}@{chunk.start}", chunk.raw)
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
        self._catch_up()  # what a failed apply left behind comes first, or the cursor would pass over it
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
        after = self.looked_upto
        self.intake.fresh, self.intake.last_seq = self.index.fresh(after)
        self.intake.fresh_after = after

    def _dispose(self, claim: Path, reason: str | None) -> None:
        """The ledger has it: unlink it, or set it aside with its reason when it was refused."""
        if reason is None:
            durable.remove(claim)
        else:
            self.quarantine.take_file(claim, claim.name.split("~", 2)[2], reason)

    def _finish_claimed(self) -> None:
        """Go on with claimed files that a crash, a full disk or a changing file left behind."""
        batch, left = _Batch(), False
        for name in sorted(os.listdir(self.home.claimed)):  # noqa: PTH208 - names, not paths
            path = self.home.claimed / name
            if name.count("~") < 2 or batch.full:
                left |= batch.full
                continue  # somebody else's, or a later turn's
            known, reason = self.index.claimed(name)
            if known:
                self._dispose(path, reason)
                self.index.forget_claims([name])
            elif found := dropfile.look(path, name.split("~")[1], self.clock(), SETTLE_S):
                self._add_claimed(batch, path, found)
            else:
                left = True
        if batch.entries:
            self._commit(batch)
        self._unfinished = left

    def _claim_name(self, door: Door, name: str) -> str:
        self._claims += 1
        return f"{time.time_ns():020d}-{self._claims:06d}~{door.format}~{_printable(name)[-120:]}"


def _identity(directory: Path) -> tuple[int, int] | None:
    try:
        status = directory.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _printable(name: str) -> str:
    """A file name as ASCII that JSON, logs and other file systems can carry."""
    return re.sub(r"[^ -~]|/", lambda bad: f"\\u{ord(bad[0]):04x}", name)


__all__ = ["Inbox", "Intake", "Place"]
