"""What does Prime answer when it is asked, and does it lend its memory to the job that trains?

Everything that is said to Prime while a job is at work is said here, in threads and with deadlines, and to a Prime on
this machine only: another one's memory is not ours to ask for. Whoever decides (negotiating.py) finds what was said
last, and waits for nobody. A Prime that is not there is normal.

A lease belongs to one job, and one rule gives it back: that job is not reserving, training or exporting any more. So it
does not matter whether it ended, was cancelled, lost its worker or its daemon. The token is on the disk before anybody
acts on it; the next daemon goes on from there.

The lease is lost when Prime says so, when the process that gave it is gone, or when nobody could renew it in its time:
from that moment it does not count as held (the pressure rises), and its job is told to checkpoint and queue again.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace

from reactord import durable
from reactord.home import Home
from reactord.jobs.states import State
from reactord.jobs.surveying import Heard, asked
from reactord.ledger.state import Store
from reactord.prime import lease as wire
from reactord.prime.asking import is_local
from reactord.prime.health import Health
from reactord.prime.lease import Lease
from reactord.prime.memory import is_there, process_at
from reactord.prime.snapshot import STATE_FRESH_S, look
from reactord.threads import in_thread

log = logging.getLogger("reactord.jobs")

LOOK_EVERY_S = 1.0
#: while a job is at work; its keeper looks at the machine with what was said last
ASK_EVERY_S = 10.0
#: what was said longer ago is not known any more. Until then a Prime that does not answer (the engine waits for
#: nvidia-smi, up to 5 s) is what it was: as long as its state file would be believed
STALE_S = STATE_FRESH_S
RENEW_EVERY_S = wire.TTL_S / 5
#: after a renewal, or a return, to which nobody answered
RETRY_S = 5.0
#: after a lease that was refused, or did not help: each costs Prime its models, and its user the next answer
REFUSED_S = 1800.0
GOODBYE_S = 0.5

NEEDS_IT = (State.RESERVING, State.TRAINING, State.EXPORTING)


class Leasing:
    """Asks Prime, and keeps its lease. `lost` is called with the id of the job that must leave, and why."""

    def __init__(self, home: Home, store: Store, clock: Callable[[], float]) -> None:
        self.home, self.store, self.clock = home, store, clock
        self.lost: Callable[[str, str], None] = lambda _job_id, _why: None
        self.lease: Lease | None = None
        self._renewed_at = 0.0  # by a clock that nobody sets: a wall clock that is set back must not lengthen a lease
        self._said: Health | str | None = None
        self._said_at = self._asked_at = self._try_at = self._willing_at = float("-inf")
        self._talking = asyncio.Lock()
        self._take_up()

    def heard(self) -> Heard:
        """What is known now, without asking."""
        known = self._said if time.monotonic() - self._said_at <= STALE_S else None
        if time.monotonic() < self._willing_at:  # it is not asked again so soon
            known = _without_lease(known)
        return Heard(known, leased=self.lease is not None and self._holds(self.lease))

    async def ask(self) -> None:
        """Ask Prime how it is: two seconds at most, and never on the loop."""
        said = await in_thread(asked, self.home, self.clock())
        self._asked_at = time.monotonic()
        if isinstance(said, Health) or not isinstance(self.heard().health, Health):
            self._said, self._said_at = said, self._asked_at

    async def acquire(self, job_id: str) -> str | None:
        """Have Prime lend its memory to a job; None when it has, else why not. Takes as long as its answers do."""
        async with self._talking:
            if self.lease:
                return "the lease on Prime's memory is still being given back"
            got = await in_thread(_acquire, self.home, job_id, self.clock())
            if isinstance(got, str):
                self._willing_at = time.monotonic() + REFUSED_S
                return got
            self.lease, self._renewed_at, self._try_at = got, time.monotonic(), float("-inf")
        self._note("prime.lent", job_id, models=list(got.restore_models or ()))
        return None

    async def give_back(
        self, job_id: str, *, useless: bool = False, deadline_s: float = wire.RELEASE_DEADLINE_S
    ) -> None:
        """Give back what was lent to this job, now. `useless`: it did not help; Prime is left in peace for a while."""
        async with self._talking:
            if (lease := self.lease) is None or lease.job_id != job_id:
                return
            if useless:
                self._willing_at = time.monotonic() + REFUSED_S
            if await in_thread(wire.release, lease, deadline_s):
                self._forget("prime.given_back", lease)
            elif not self._in_time(lease):
                self._forget("prime.ran_out", lease)
            else:
                self._try_at = time.monotonic() + RETRY_S

    async def goodbye(self) -> None:
        """The daemon ends, and no job of ours runs: say it. Unheard, the next daemon says it, or the time runs out."""
        if self.lease and not self._is_needed(self.lease):
            await self.give_back(self.lease.job_id, deadline_s=GOODBYE_S)

    async def keep(self) -> None:
        """Ask, renew and give back for as long as the daemon runs."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except (OSError, sqlite3.OperationalError) as trouble:  # of our own disk: the next look does it again
                log.warning("the lease on Prime's memory cannot be looked after now: %s", trouble)

    async def look(self) -> None:
        """One look; what cannot be done now is done at the next."""
        if self.lease is None and not self._talking.locked():  # it came when whoever had asked for it was gone
            self._take_up()
        now = time.monotonic()
        if lease := self.lease:
            if not self._is_needed(lease):
                if now >= self._try_at:
                    await self.give_back(lease.job_id)
            elif not self._holds(lease):
                self._lose(lease, "its time ran out, or its process is gone")
            elif now >= max(self._try_at, self._renewed_at + RENEW_EVERY_S):
                await self._renew(lease)
        if now - self._asked_at >= ASK_EVERY_S and any(job.state in NEEDS_IT for job in self.store.live_jobs()):
            await self.ask()

    async def _renew(self, lease: Lease) -> None:
        began = time.monotonic()
        async with self._talking:
            if self.lease is not lease:
                return
            renewed = await in_thread(wire.renew, lease, self.clock())
            if isinstance(renewed, Lease):
                await in_thread(_write, self.home, renewed)
                self.lease, self._renewed_at = renewed, began
            elif renewed == "unanswered":
                self._try_at = time.monotonic() + RETRY_S
        if renewed == "lost":
            self._lose(lease, "Prime knows of no such lease any more")

    def _lose(self, lease: Lease, why: str) -> None:
        log.warning("the lease on Prime's memory is lost: %s", why)
        self._forget("prime.lease_lost", lease)
        self.lost(lease.job_id, f"Prime took its memory back: {why}")

    def _forget(self, topic: str, lease: Lease) -> None:
        durable.remove(self.home.prime_lease)
        self.lease = None
        self._said = _without_lease(self._said)  # what it said of that is not so any more
        self._asked_at = float("-inf")
        self._note(topic, lease.job_id)

    def _take_up(self) -> None:
        self.lease = Lease.read(self.home.prime_lease)
        if self.lease:
            self._renewed_at = time.monotonic() - max(0.0, self.clock() - self.lease.renewed_at)

    def _is_needed(self, lease: Lease) -> bool:
        job = self.store.job(lease.job_id)
        return job is not None and job.state in NEEDS_IT

    def _in_time(self, lease: Lease) -> bool:
        elapsed_s = max(self.clock() - lease.renewed_at, time.monotonic() - self._renewed_at)
        return elapsed_s < lease.ttl_s

    def _holds(self, lease: Lease) -> bool:
        same = lease.pid is None or lease.started is None or is_there(lease.pid, lease.started)
        return same and self._in_time(lease)

    def _note(self, topic: str, job_id: str, **facts: object) -> None:
        with self.store.transaction():
            self.store.note(topic, job_id, self.clock(), **facts)


def _without_lease(said: Health | str | None) -> Health | str | None:
    """The same Prime, of which nobody knows whether it would lend anything."""
    if isinstance(said, Health) and said.engine:
        return replace(said, engine=replace(said.engine, lease=None))
    return said


def _acquire(home: Home, job_id: str, now: float) -> Lease | str:
    """The token is on the disk before anybody knows of it: whatever happens to us, somebody gives it back."""
    base_url = look(home, now).base_url
    if not is_local(base_url):
        return f"Prime is at {base_url}, and its memory is not this machine's"
    process = process_at(base_url)
    got = wire.acquire(base_url, job_id, now)
    if isinstance(got, str):
        return got
    if process:
        got = replace(got, pid=process[0], started=process[1])
    try:
        _write(home, got)
    except OSError:
        wire.release(got, GOODBYE_S)
        raise
    return got


def _write(home: Home, lease: Lease) -> None:
    durable.publish(home.prime_lease, lease.dumps())
