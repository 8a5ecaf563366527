"""Who is in the house? The composition root: it builds the services and runs them in one TaskGroup.

Start-up is recovery: the sidecar answers `starting` at once, the ingest thread catches up with its journal, and then
the live jobs are driven on from where a crash left them. SIGTERM: stop taking, let the worker checkpoint, say goodbye;
in every state within 8 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import orjson
import psutil

from reactord import __version__, access, durable, logs
from reactord.errors import AlreadyRunning, EnvironmentTrouble, ReactordError
from reactord.home import Home
from reactord.http.sidecar import Sidecar
from reactord.ipc import umf
from reactord.ipc.commands import Commands
from reactord.ipc.inbox import Inbox
from reactord.jobs import news
from reactord.jobs.driver import Driver
from reactord.jobs.leasing import Leasing
from reactord.jobs.machine import JobMachine
from reactord.jobs.orders import Orders
from reactord.jobs.slot import NAME, TTL_S, Arbiter, Slot
from reactord.jobs.stages import Services, will_pass
from reactord.ledger.sqlite import is_damage
from reactord.ledger.state import Store
from reactord.public import Public
from reactord.settings import Settings
from reactord.threads import in_thread

log = logging.getLogger("reactord")
T = TypeVar("T")

RETRY_S = 2.0
LOCK_TRIES = 5
LOCK_PAUSE_S = 0.02
#: the driver's worker has 6 s to checkpoint; the rest of the goodbye takes less than one
GOODBYE_S = 7.5


def run(home: Home, settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; returns the exit status. Raises EnvironmentTrouble in plain words."""
    try:
        home.create()
    except OSError as trouble:
        raise EnvironmentTrouble(
            f"{trouble.filename or home.root} cannot be made ({trouble.strerror}). Free space or choose another --home."
        ) from None
    with _only_daemon(home):
        logs.set_up(home.logs, settings.log_level)
        for directory in access.exposed(home.root):
            log.warning("every user may write %s, and so replace the bus; close it: chmod o-w %s", directory, directory)
        umf.sender.open(settings.umf_mode, settings.umf_dir or home.umf)
        try:
            return asyncio.run(_Daemon(home, settings).run())
        except ExceptionGroup as group:
            known, bugs = group.split(ReactordError)
            if known and not bugs:
                raise _first(known) from None
            raise


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


@contextlib.contextmanager
def _only_daemon(home: Home) -> Iterator[None]:
    """Hold the home for as long as we live; the kernel lets go of it however we die."""
    descriptor = os.open(home.daemon_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _locked(descriptor):
            raise AlreadyRunning(_who_holds(home))
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Whether we got the lock. `reactord status` probes it for microseconds, so one refusal proves nothing."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PAUSE_S)
        else:
            return True
    return False


def _who_holds(home: Home) -> str:
    try:
        note = orjson.loads(home.daemon_note.read_bytes())
        who = f"process {note['pid']} on port {note['port']}, since {time.ctime(note['started_at'])}"
    except (OSError, ValueError, KeyError):
        who = "another process"
    return (
        f"{home.root} is held by {who}. Look at it with `reactord status --home {home.root}`, or choose another --home."
    )


@dataclass(slots=True)
class _Daemon:
    """One life of the daemon."""

    home: Home
    settings: Settings

    async def run(self) -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        public = Public(self.home, self.settings, __version__, time.time)
        inbox = Inbox(self.home)
        sidecar = Sidecar(self.settings, self.home, inbox, public)
        await sidecar.start()
        public.port = sidecar.port
        try:
            await self._serve(stop, public, inbox, sidecar)
        finally:
            await sidecar.stop()
            durable.remove(self.home.daemon_note)
            await in_thread(public.withdraw)
        return 0

    async def _serve(self, stop: asyncio.Event, public: Public, inbox: Inbox, sidecar: Sidecar) -> None:
        """Everything that runs side by side. Whatever ends unasked, ends the daemon loudly."""
        async with asyncio.TaskGroup() as group:
            ingest = group.create_task(in_thread(inbox.run), name="ingest")
            presence = group.create_task(public.run(), name="presence")
            doors = group.create_task(sidecar.keep(), name="doors")
            work = group.create_task(self._work(public, inbox, sidecar), name="jobs")
            await _asked_to_leave(stop, sidecar)
            log.info("stopping")
            public.phase = "stopping"
            sidecar.leave()
            work.cancel()
            await asyncio.wait([work], timeout=GOODBYE_S)
            inbox.stop()
            doors.cancel()
            presence.cancel()
            await asyncio.wait([ingest, presence], timeout=1.0)
            ingest.cancel()  # a thread that hangs on a disk must not keep us; its journal is made for a crash

    async def _work(self, public: Public, inbox: Inbox, sidecar: Sidecar) -> None:
        """Recover, then drive jobs; a disk that is full at the start is waited for."""
        await _patiently(public, lambda: self._note(sidecar))
        while not inbox.intake.ready:
            public.trouble = inbox.intake.trouble
            await asyncio.sleep(0.02)
        store = await _patiently(public, self._open_store)
        slot = Slot(self.home.locks, time.time, self._arbiter())
        leasing = Leasing(self.home, store, time.time)
        services = Services(self.home, self.settings, store, JobMachine(store), inbox, slot, leasing, time.time)
        driver = Driver(services, public.moved)
        ended = threading.Event()
        commands = Commands(self.home, Orders(driver, lambda: public.phase, ended), time.time)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(slot.keep(), name="slot")
                group.create_task(leasing.keep(), name="leasing")
                group.create_task(driver.run(), name="driver")
                group.create_task(news.tell_on(services), name="news")
                public.ready(services, driver)
                sidecar.ready(services, driver)
                group.create_task(in_thread(_obey, commands, ended), name="commands")
                log.info("ready on port %d, home %s", sidecar.port, self.home.root)
        finally:
            ended.set()
            await leasing.goodbye()
            store.close()

    def _arbiter(self) -> Arbiter | None:
        """Redis, where it is configured; only then is its client imported."""
        if not self.settings.redis_host:
            return None
        from reactord.ipc import arbiter  # noqa: PLC0415 - 0.2 s that nobody else should pay

        return arbiter.connect(self.settings, NAME, TTL_S)

    def _open_store(self) -> Store:
        try:
            return Store(self.home.state_db)
        except sqlite3.DatabaseError as trouble:
            if not is_damage(trouble):
                raise
            raise EnvironmentTrouble(
                f"{self.home.state_db} is damaged ({trouble}), and only it knows the jobs. Restore it from a backup,"
                " or move it away to start without them."
            ) from None

    def _note(self, sidecar: Sidecar) -> None:
        """Tell the next one who holds the home, and the command line where to ask."""
        note = {
            "pid": os.getpid(),
            "port": sidecar.port,
            "socket": sidecar.socket_file,
            "host": socket.gethostname(),
            "started_at": time.time(),
            "started": psutil.Process().create_time(),
            "version": __version__,
            "experience_threshold": self.settings.experience_threshold,
        }
        durable.publish(self.home.daemon_note, orjson.dumps(note))


async def _asked_to_leave(stop: asyncio.Event, sidecar: Sidecar) -> None:
    """Until a signal, or a drain of which nothing is at work any more."""
    waits = [asyncio.create_task(stop.wait()), asyncio.create_task(sidecar.drained())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _obey(commands: Commands, ended: threading.Event) -> None:
    """Look for commands until the daemon stops."""
    while not ended.wait(commands.turn()):
        pass
    commands.close()


async def _patiently(public: Public, do: Callable[[], T]) -> T:
    """Do it again until the disk lets us; meanwhile everybody can read why we are still starting."""
    while True:
        try:
            return do()
        except (OSError, sqlite3.OperationalError) as trouble:
            if not will_pass(trouble):
                raise
            public.trouble = f"cannot start yet: {trouble}"
            log.warning("cannot start yet: %s; trying again", trouble)
            await asyncio.sleep(RETRY_S)
