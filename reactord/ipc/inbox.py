"""How does what lies at the doors get into the ledger, exactly once?

One thread owns the journal and the index. While things arrive it looks at every door all the time; else when a
notification wakes it, and at least once a second (a hint wakes us, the scan tells us). It takes in batches:

    look -> claim by rename -> append to the journal, one fdatasync -> unlink -> enter into the index, some batches late

After a crash the index reads on in the journal; then the claimed files that it knows are unlinked, and the others go
the same way again. Everything else that must touch the index (an HTTP body, the taking of a dataset) is done on this
thread too, through `call`.
"""

from __future__ import annotations

import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from watchfiles import watch

from reactord.errors import EnvironmentTrouble
from reactord.formats import FORMATS
from reactord.home import Home
from reactord.ipc.batch import Batch, document, printable
from reactord.ipc.disposal import Disposal
from reactord.ipc.doors import OneFile, entrances
from reactord.ipc.drops import Drops
from reactord.ipc.quarantine import Quarantine
from reactord.ipc.room import Room
from reactord.ipc.rows import Rows
from reactord.ipc.spools import Spools
from reactord.ipc.tails import Tails, on_the_bus
from reactord.ledger.compaction import Compactor
from reactord.ledger.index import Index
from reactord.ledger.journal import Journal, Place, batches
from reactord.ledger.news import News
from reactord.ledger.sqlite import is_damage, set_aside

log = logging.getLogger("reactord.ingest")
T = TypeVar("T")

LOOK_EVERY_MS = 1000
#: how often the notifier wakes: at 50 an idle daemon spent most of its CPU here
STEP_MS = 60
#: while things arrive there is no waiting for a notifier, which waits for a pause itself
BUSY_S = 0.015
#: nothing new for so long is an end of the bustle
QUIET_S = 2.0
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
    notices: tuple[News, ...] = ()  # news of our own work that nobody has told on yet, the oldest first


class Inbox:
    """The ingest thread and its two stores. `clock` gives epoch seconds."""

    def __init__(self, home: Home, clock: Callable[[], float] = time.time) -> None:
        self.home, self.clock = home, clock
        self.doors = entrances(home)
        self._one_file = OneFile()
        self._drops = Drops(self.doors, str(home.claimed), clock, self._one_file)
        reading = (self.doors, self._stored, clock, self._one_file)
        self._tails = Tails(*reading)
        self._lookers = (self._drops, Spools(*reading), Rows(*reading), self._tails)
        self._room = Room(home.ledger)
        self.intake = Intake()
        self.quarantine = Quarantine(home.quarantine, clock)
        self.journal = Journal(home.journal)
        self.compactor = Compactor(home.journal)
        self.index: Index
        self._disposal: Disposal
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self.looked_upto = 0  # newest record that some job has looked at; set by the job driver
        self._stop = threading.Event()
        self._taken = 0  # batches, ever
        self._unfinished = True  # claimed files may be left from before
        self._damaged = False  # the index must be made anew
        self._behind = False  # something is journalled and not staged, as far as we know

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
            said = FORMATS[format_name].said(raw, where := printable(name))
            self._flush()  # what waits for the index is not part of the answer
            self._commit(Batch([document(format_name, where, raw, said, at=self.clock())]))
            return self._flush()

        return self.call(take_in)

    def take(self, dataset: str, manifest: dict[str, Any]) -> Future[None]:
        """Give the records of a dataset their fates. The future carries Conservation when they do not add up."""
        return self.call(lambda: self.index.take(dataset, manifest))

    def told(self, news: Sequence[News]) -> Future[None]:
        """Forget news that somebody has told on; `intake.notices` is without them then."""

        def forget() -> None:
            self.index.forget_news(news)
            self.intake.notices = self.index.untold()

        return self.call(forget)

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
                    self._look_again_and_again(LOOK_EVERY_MS / 1000, RETRY_S)
                self._look_again_and_again(BUSY_S, QUIET_S)
        finally:
            self.close()
            self._turn_calls_away()

    def _look_when_woken(self) -> None:
        """Look when a notification comes, until something was taken in or a directory is another one."""
        for door in self.doors:
            if door.kind == "drop":  # what is ours is there to be dropped into
                door.directory.mkdir(parents=True, exist_ok=True)
        armed = {door.directory: _identity(door.directory) for door in self.doors}
        taken = self._taken
        for _ in watch(
            *(directory for directory, identity in armed.items() if identity),
            watch_filter=None,
            recursive=False,
            step=STEP_MS,
            debounce=STEP_MS,
            rust_timeout=LOOK_EVERY_MS,
            yield_on_timeout=True,
            stop_event=self._stop,
            raise_interrupt=False,
        ):
            self.turn()
            if self._taken != taken or any(_identity(directory) != known for directory, known in armed.items()):
                return  # a directory that was removed and made again is watched no more, without a word

    def _look_again_and_again(self, pause_s: float, quiet_s: float) -> None:
        """Look without notifications, until nothing was taken in for `quiet_s`."""
        taken, quiet_at = self._taken, time.monotonic() + quiet_s
        while time.monotonic() < quiet_at and not self._stop.wait(pause_s):
            self.turn()
            if self._taken != taken:
                taken, quiet_at = self._taken, time.monotonic() + quiet_s

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
        self._disposal = Disposal(self.home.claimed, self.quarantine)
        self.index.begin_news(self.home.journal)  # an index that is rebuilt reads old news again
        self.journal.open(self._catch_up())
        self.index.keep_claims(set(os.listdir(self.home.claimed)))  # noqa: PTH208 - names, not paths

    def _catch_up(self) -> Place:
        """Enter into the index what the journal has beyond it; return where the journal ends."""
        self._behind = True  # until all of it went well
        self.index.unstage()
        end = self.index.cursor()
        for batch, after in batches(self.home.journal, end):
            if self.index.stage(batch, after):
                self._enter()
            end = after
        self._enter()
        self.intake.notices = self.index.untold()
        self._tails.named = on_the_bus(self.home, self.index.pointers())
        self._refresh()
        self._behind = False
        return end

    def close(self) -> None:
        self._tails.close()
        self.journal.close()
        for begun in ("_disposal", "index"):
            if hasattr(self, begun):
                getattr(self, begun).close()

    def turn(self) -> None:
        """One look at everything: calls, what was claimed before, every door, until nothing new is found."""
        self._one_file.trouble = None
        try:
            if not self.intake.ready:
                self.open()
            if self._lacks_something:
                self._catch_up()
            self._answer_calls()
            if self.looked_upto > self.intake.fresh_after:
                self._refresh()
            if self._unfinished:
                self._finish_claimed()
            while not self._stop.is_set() and self._look() and self._calls.empty():
                pass
            self._flush()
            self.compactor.turn(self.index, self.clock())
        except (OSError, sqlite3.Error) as trouble:
            self._unfinished = True
            self._show(trouble)
            if is_damage(trouble):
                self._damaged, self.intake.ready = True, False  # the next turn begins with recovery
            else:
                self._stop.wait(TROUBLE_S)
        else:
            self._show(self._one_file.trouble or self._room.trouble)

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

    def _show(self, trouble: OSError | EnvironmentTrouble | sqlite3.Error | str | None) -> None:
        words = str(trouble) if trouble else None
        if words and words != self.intake.trouble:
            log.error("cannot take everything in: %s. Nothing is lost; it goes on when the cause is gone.", words)
        self.intake.trouble = words

    def _stored(self, path: str) -> str | None:
        """How far, or in which state, a file of somebody else was read."""
        return self.index.tail(printable(path))

    # -- one look ----------------------------------------------------------------------------------------------------
    def _look(self) -> bool:
        """Take one batch from the doors. True when there may be more."""
        batch, more = Batch(), False
        for lookers in self._open():
            more |= lookers.look(batch)
            if batch.full:
                break
        self._unfinished |= self._drops.unfinished
        if batch.entries:
            self._commit(batch)
        return more and bool(batch.entries)

    def _open(self) -> Sequence[Drops | Spools | Rows | Tails]:
        """The doors that the disk has room for."""
        level = self._room.look()
        return self._lookers if level == "plenty" else self._lookers[:1] if level == "low" else ()

    @property
    def _lacks_something(self) -> bool:
        """Whether the index lacks something that the journal has, and that is not staged either."""
        return self._behind or self.index.torn

    # -- commit ------------------------------------------------------------------------------------------------------
    def _commit(self, batch: Batch) -> None:
        """Journal, then remove: the order is the guarantee. The index follows, at the latest at the end of the turn."""
        if self._lacks_something:
            self._catch_up()
        self._behind = True  # until all that is journalled is staged
        places, end = self.journal.append(batch.entries)
        full = self.index.stage(zip(places, batch.entries, strict=True), end)
        self._behind = False
        self._taken += 1
        self._dispose_all(batch.claimed)
        if full:
            self._disposed()
            self._behind = True  # what cannot be entered is not staged any more
            self.index.begin()
            self._behind = False

    def _flush(self) -> int:
        """Have the index enter what is staged. Returns how many records were new since the last time."""
        self._disposed()
        if self._lacks_something:
            self._catch_up()
            return 0
        self._behind = True  # what could not be entered is not staged any more
        new = self._enter()
        self._behind = False
        return new

    def _enter(self) -> int:
        """Enter what is staged, and tell what that brought."""
        applied = self.index.flush()
        if applied.new:
            self.intake.last_arrival_at = self.clock()
        if applied.news:
            self.intake.notices = self.index.untold()
        if applied.pointed:
            self._tails.named = on_the_bus(self.home, self.index.pointers())
        if self.looked_upto == self.intake.fresh_after:  # else they are counted anew: that takes a look at each record
            self.intake.fresh += applied.fresh
            self.intake.last_seq = applied.last_seq
        else:
            self._refresh()
        return applied.new

    def _refresh(self) -> None:
        after = self.looked_upto
        self.intake.fresh, self.intake.last_seq = self.index.fresh(after)
        self.intake.fresh_after = after

    def _dispose_all(self, claimed: Sequence[tuple[str, str | None]]) -> None:
        """The journal has them: begin to unlink what was claimed, or to set it aside when it was refused."""
        self._disposed()
        self._disposal.begin(claimed)

    def _disposed(self) -> None:
        """Wait until that is done: a file that is gone is no claim any more."""
        done, trouble = self._disposal.finish()
        self.index.forget_claims(done)
        if trouble:
            raise trouble

    def _finish_claimed(self) -> None:
        """Go on with claimed files that a crash, a full disk or a changing file left behind."""
        self._flush()  # what is staged knows claims, too
        batch, left = Batch(), False
        for name in sorted(os.listdir(self.home.claimed)):  # noqa: PTH208 - names, not paths
            if name.count("~") < 2 or batch.full:
                left |= batch.full
                continue  # somebody else's, or a later turn's
            known, reason = self.index.claimed(name)
            if known:
                with self._one_file:
                    self._dispose_all([(name, reason)])
                    self._disposed()
            else:
                left |= not self._drops.look_again(name, batch)
        if batch.entries:
            self._commit(batch)
        self._drops.unfinished, self._unfinished = False, left or self._one_file.trouble is not None


def _identity(directory: Path) -> tuple[int, int] | None:
    try:
        status = directory.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


__all__ = ["Inbox", "Intake"]
