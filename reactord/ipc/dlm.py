"""Who holds a lock that Body and Prime also use, and how do we take it?

The lock is a JSON file `<name>.dlm.lock` (contract/body.md 5.1, RELIABILITY.md 5). What the peers forgive and what they
do not shaped every line here:

* An empty or half-written lock counts as free for them, so ours appears complete, by link(2).
* They take the owner's pid from the second field between hyphens: `reactor-<pid>-<start>`, never `reactor-core-...`.
* Older peers choke on a sixth key, so there are exactly five; the fence number travels inside the opaque token.
* They sweep away file names that contain `.tmp.`, so no temporary of ours does.
* They believe a pid of another machine to be dead. We do not: such a lock is held until it expires.

    claim -> Lease    renew every ttl/5; False means lost: stop the work, do not commit
          -> Busy     try again later; the wait belongs to the caller

Time is the wall clock on purpose: the peers judge a lock by it, and unlike a timer it runs on while a process is
stopped or the machine sleeps. Whoever wakes too late finds that `renew` refuses.

A legacy peer may rename its lock over ours within a moment of our claim. Who takes `training_slot` looks again with
`Lease.mine` after `SETTLE_S`, before it starts anything.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import platform
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from reactord import durable

#: clocks of two processes may differ by this much before "expired" is believed
SKEW_S = 2.0
#: a file that cannot be read is somebody's unfinished write for this long
TORN_S = 5.0
#: the peers hold the guard for the moment of check and claim; longer means a stuck peer, and they go on without it too
GUARD_S = 2.0
#: a process that started further from the stated time is another one with a reused pid
START_TOLERANCE_S = 1.0
#: how long a legacy peer may need to overwrite a lock it believed free (measured: 0 overlaps from 0.1 s on)
SETTLE_S = 1.0
POLL_S = 0.01

#: (pid, start time or None when not stated) -> does this very process live?
Alive = Callable[[int, float | None], bool]


def process_alive(pid: int, started: float | None) -> bool:
    """Whether the process `pid` lives and started at `started` (epoch seconds, None = not stated)."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return started is None or abs(process.create_time() - started) <= START_TOLERANCE_S
    except psutil.AccessDenied:
        return True
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return False


def owner_name(pid: int, started: float) -> str:
    """How a process of ours signs a lock: one word without hyphen, pid, start time."""
    return f"reactor-{pid}-{started:.1f}"


def owner_of(pid: int) -> str | None:
    """The signature of a process that lives; None for one that is gone."""
    try:
        return owner_name(pid, psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def this_machine() -> str:
    """How the peers name the machine they run on."""
    return f"{platform.system().lower()}-{socket.gethostname()}"


def _owner_process(owner: str) -> tuple[int | None, float | None]:
    """Pid and start time out of an owner string; None for what it does not say."""
    fields = owner.split("-")
    with contextlib.suppress(ValueError, IndexError):
        pid = int(fields[1])
        with contextlib.suppress(ValueError, IndexError):
            return pid, float(fields[2])
        return pid, None
    return None, None


@dataclass(frozen=True, slots=True)
class Holder:
    """What a lock says. Times are epoch seconds."""

    owner: str
    token: str
    acquired_at: float
    expires_at: float
    machine: str = ""  # where the owner runs; "" = not stated, so here
    started: float = 0.0  # when the owner started, for the old owner names without it; 0 = not stated

    def holds(self, now: float, alive: Alive = process_alive) -> bool:
        """Whether the lock is still respected: not expired, and its owner lives (or cannot be looked at)."""
        return now <= self.expires_at + SKEW_S and self.lives(alive)

    def lives(self, alive: Alive = process_alive) -> bool:
        """Whether the owner lives; one that names no process, or one of another machine, is believed to."""
        if self.machine not in ("", this_machine()):
            return True
        pid, started = _owner_process(self.owner)
        return pid is None or alive(pid, started or self.started or None)

    def is_worker(self, pid: int) -> bool:
        """Whether a claim of ours was handed to this very process, which lives."""
        named, started = _owner_process(self.owner)
        ours = self.owner.startswith("reactor-") and self.machine in ("", this_machine())
        return ours and named == pid and process_alive(pid, started)

    @property
    def claim_id(self) -> str:
        """Which claim this is: the token without our fence number, which grows while a claim is held."""
        return self.token.partition(".")[0]

    @property
    def fence(self) -> int:
        """The fence number in a token of ours; 0 in everybody else's."""
        number = self.token.partition(".")[2]
        return int(number) if number.isdecimal() else 0


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody else holds the lock; owner "" means a file that nobody can read yet."""

    owner: str
    expires_at: float


def lock_path(directory: Path, name: str) -> Path:
    """The file that is the lock."""
    return directory / f"{name}.dlm.lock"


def _guard_path(directory: Path, name: str) -> Path:
    return directory / f"{name}.dlm-acquire.lock"


def _own_guard_path(directory: Path, name: str) -> Path:
    """A guard that only we ask for. Not *.lock: old peers remove what ends so and holds no JSON."""
    return directory / f"{name}.reactor.flock"


def parse(raw: bytes) -> Holder | None:
    """What a lock says; None when it says nothing that can be relied on."""
    try:
        said = json.loads(raw)
        said["lock_name"]  # the fifth mandatory key; peers read a lock without it as no lock
        found = Holder(
            str(said["owner"]), str(said["token"]), float(said["acquired_at"]), float(said["expires_at"]),
            str(said.get("machine_id") or ""), float(said.get("process_start_time") or 0),
        )  # fmt: skip
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return None
    return found if math.isfinite(found.expires_at) else None


def _read(path: Path) -> tuple[bytes, float] | None:
    """Bytes and modification time of the lock file; None when there is none."""
    try:
        with open(path, "rb", opener=_at_once) as file:
            return file.read(), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None


def _at_once(path: str, flags: int) -> int:
    """A pipe in the place of a lock has nobody at its other end, perhaps for ever."""
    return os.open(path, flags | os.O_NONBLOCK)


def holder(directory: Path, name: str) -> Holder | None:
    """Who the lock file names, alive or not; None when there is no readable lock."""
    found = _read(lock_path(directory, name))
    return parse(found[0]) if found else None


def is_live_jarvis_owner(found: Holder | None, now: float, alive: Alive = process_alive) -> bool:
    """Whether Body holds the lock: then a job it submitted runs under that lock and must not wait for it."""
    return found is not None and found.owner.startswith("jarvis-") and found.holds(now, alive)


@contextlib.contextmanager
def flocked(path: Path, wait_s: float) -> Iterator[bool]:
    """Hold an exclusive flock on `path` (created when missing, never removed).

    Yields False when somebody else kept it for `wait_s` seconds. flock and not lockf: a POSIX lock is dropped as soon
    as any descriptor of the file closes in this process.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + wait_s
        while not (held := _try_flock(descriptor)) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        yield held
    finally:
        os.close(descriptor)


def _try_flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass(slots=True)
class Lease:
    """A lock we hold. `ttl_s` seconds after the last `renew` it is anybody's.

    `owner` and `fence` may be changed; the next `renew` writes them down. The owner is the process whose death frees
    the lock: a worker's, once it works, so that the daemon's death does not.
    """

    directory: Path
    name: str
    ttl_s: float
    owner: str
    claim_id: str
    fence: int
    acquired_at: float
    expires_at: float
    guard_s: float = GUARD_S  # how long a renewal and a release wait for the peers' guard

    @property
    def token(self) -> str:
        return f"{self.claim_id}.{self.fence}"

    @property
    def path(self) -> Path:
        return lock_path(self.directory, self.name)

    def document(self) -> bytes:
        """The lock file's content: the five mandatory keys, indented as the peers write them."""
        said = {
            "acquired_at": self.acquired_at,
            "expires_at": self.expires_at,
            "owner": self.owner,
            "token": self.token,
            "lock_name": self.name,
        }
        return json.dumps(said, indent=2).encode()

    def mine(self, now: float) -> bool:
        """Whether the file still carries our token and has not run out. Ask before every commit."""
        found = holder(self.directory, self.name)
        return found is not None and found.claim_id == self.claim_id and now < found.expires_at

    def renew(self, now: float) -> bool:
        """Extend to now + ttl. False means lost: the token is gone, or so late that a thief may be on his way."""
        if now > self.expires_at - self.ttl_s / 3:
            return False
        with flocked(_guard_path(self.directory, self.name), self.guard_s):
            if not self.mine(now):
                return False
            self.expires_at = now + self.ttl_s
            # Not fsynced: after a power cut the owner's process is gone, and the lock with it.
            durable.publish(self.path, self.document(), sync=False)
        return True

    def release(self) -> None:
        """Remove the lock if the token is still ours."""
        with flocked(_guard_path(self.directory, self.name), self.guard_s):
            found = holder(self.directory, self.name)
            if found is not None and found.claim_id == self.claim_id:
                durable.remove(self.path)


def claim(  # noqa: PLR0913 - the last three are knobs of tests and of callers that must not wait
    directory: Path,
    name: str,
    ttl_s: float,
    now: float,
    *,
    fence: int = 0,
    alive: Alive = process_alive,
    wait_s: float = GUARD_S,
) -> Lease | Busy:
    """Take the lock `name` for `ttl_s` seconds, or say who has it. Waits at most `wait_s` for each of two guards.

    A lock is taken over when it expired more than `SKEW_S` ago, when its owner's process is gone, or when nobody could
    read it for `TORN_S` and it names no process that lives. `fence` ends up in the token as `<uuid>.<fence>`. Raises
    OSError (disk full, no permission).
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = lock_path(directory, name)
    owner = owner_of(os.getpid()) or owner_name(os.getpid(), now)
    lease = Lease(directory, name, ttl_s, owner, str(uuid.uuid4()), fence, now, now + ttl_s, wait_s)
    with flocked(_own_guard_path(directory, name), wait_s) as alone, flocked(_guard_path(directory, name), wait_s):
        if not alone:  # the peers' guard may be stuck and is then ignored, as they do; never two of us at once
            return _whoever(directory, name, now)
        found = _read(path)
        if found is not None:
            busy = _judge(found[0], found[1], now, alive)
            if busy is not None:
                return busy
            _take_away(path, found[0])
        try:
            durable.publish_by_link(path, lease.document(), directory)
        except FileExistsError:
            return _whoever(directory, name, now)
    # Not everybody asks the guard: what counts is whose token is in the file.
    return lease if lease.mine(now) else _whoever(directory, name, now)


def adopt(  # noqa: PLR0913 - as `claim`
    directory: Path, name: str, ttl_s: float, worker: int, now: float, *, wait_s: float = GUARD_S
) -> Lease | None:
    """Continue the lease that an earlier daemon handed to a worker (its pid); None when there is no such lease."""
    found = holder(directory, name)
    if found is None or not found.is_worker(worker) or now >= found.expires_at:
        return None
    return Lease(
        directory, name, ttl_s, found.owner, found.claim_id, found.fence, found.acquired_at, found.expires_at, wait_s
    )


def _judge(raw: bytes, modified_at: float, now: float, alive: Alive) -> Busy | None:
    """Busy, or None when the lock may be taken over. Decides only."""
    found = parse(raw)
    if found is None:
        if abs(now - modified_at) < TORN_S:
            return Busy("", modified_at + TORN_S)
        owner = _named_owner(raw)
        return Busy(owner, math.inf) if owner and Holder(owner, "", 0.0, math.inf).lives(alive) else None
    return Busy(found.owner, found.expires_at) if found.holds(now, alive) else None


def _named_owner(raw: bytes) -> str | None:
    """The owner in a lock that says too little or in other words, if it is one whose life can be looked at."""
    try:
        owner = str(json.loads(raw)["owner"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return owner if _owner_process(owner)[0] is not None else None


def _take_away(path: Path, judged: bytes) -> None:
    """Move the dead lock aside: rename has one winner, and only what was judged is thrown away."""
    aside = path.with_name(f".{path.name}.stale-{uuid.uuid4().hex}")
    try:
        durable.claim(path, aside)
    except FileNotFoundError:
        return
    found = aside.read_bytes()
    if found != judged:
        # Somebody claimed between our look and our rename: theirs goes back, and our link below will fail on it.
        with contextlib.suppress(FileExistsError):
            durable.publish_by_link(path, found, path.parent)
    durable.remove(aside)


def _whoever(directory: Path, name: str, now: float) -> Busy:
    found = holder(directory, name)
    return Busy(found.owner, found.expires_at) if found else Busy("", now)
