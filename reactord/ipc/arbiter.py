"""Who holds a lock when Redis decides? (contract/body.md 5.2)

A Body that reaches a Redis asks it alone and ignores the lock file, so whoever shares locks with it asks there first.
The key is Body's, the value exactly what Body writes:

* One key too many, or no JSON, and Body deletes it and takes the lock: the thirteen keys of Body's, and no other.
* An `expires_at` in the past, and Body takes the lock although the key lives: every renewal rewrites the value.
* A `process_name` that is not the owner's, and Body believes the owner to be dead: it stays empty, which is allowed.
* Body itself only extends the key's life, so its own `expires_at` passes while it trains: the life of the key counts.

Redis changes one key at a time, so nothing here settles or is looked at twice. What Redis cannot promise is a memory:
one that is restarted empty has forgotten the lock, and a key that is gone is a lease that is lost, for nobody knows who
had it in between. While Redis does not answer nobody can take the lock from us before it runs out: the lease is
believed for that long, less the third that belongs to stopping the work. A claim on a Redis that does not answer is
refused; falling back to the file, as Body does, would make two trainers of us wherever only one of us cannot reach it.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar, cast

from reactord.errors import EnvironmentTrouble
from reactord.ipc.dlm import Alive, Busy, Holder, owner_name, owner_of, parse, process_alive, this_machine
from reactord.settings import Settings

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError:
    raise EnvironmentTrouble(
        "REDIS_HOST is set and the redis package is not installed: pip install 'jarvis-reactord[redis]', or unset it"
    ) from None

P = ParamSpec("P")
T = TypeVar("T")

PREFIX = "jarvis:lock:trinity:"
#: a server on this machine or beside it answers within milliseconds; a call waits no longer than twice this
TIMEOUT_S = 1.0

#: The claim id is a random UUID, so it stands in no value but its own: no JSON needs to be read over there.
_MINE = "local v = redis.call('GET', KEYS[1]) if not v or not string.find(v, ARGV[1], 1, true) then return 0 end "
RENEW = _MINE + "redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1"
RELEASE = _MINE + "return redis.call('DEL', KEYS[1])"
#: only the value that was judged is thrown away, and the place is taken in the same moment
TAKE_OVER = (
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end "
    "redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1"
)
#: the next number, and never one below the floor
FENCE = (
    "local n = redis.call('INCR', KEYS[1]) local floor = tonumber(ARGV[1]) "
    "if n < floor then redis.call('SET', KEYS[1], ARGV[1]) return floor end return n"
)


@dataclass(slots=True)
class Lease:
    """A lock we hold in Redis. Calls may raise ConnectionError."""

    arbiter: Arbiter
    owner: str
    claim_id: str
    fence: int
    acquired_at: float
    expires_at: float
    renewals: int = 0

    def value(self) -> str:
        """Body's metadata, key for key."""
        fields = self.owner.split("-")
        said = {
            "acquired_at": self.acquired_at,
            "expires_at": self.expires_at,
            "owner": self.owner,
            "token": f"{self.claim_id}.{self.fence}",
            "lock_name": self.arbiter.name,
            "process_start_time": float(fields[2]),
            "process_name": "",
            "process_cmdline": "",
            "machine_id": this_machine(),
            "backend": "redis",
            "fencing_token": self.fence,
            "repo_source": "reactor-core",
            "extensions": self.renewals,
        }
        return json.dumps(said)

    def mine(self, now: float) -> bool:
        """Whether the key still carries our claim. While Redis does not answer, nobody else can have it either."""
        if now >= self.expires_at:
            return False
        try:
            found = self.arbiter.holder()
        except ConnectionError:
            return now <= self._believed_until
        return found is not None and found.claim_id == self.claim_id

    def renew(self, now: float) -> bool:
        """Extend key and value to now + ttl. False means lost: another's, gone, or so late that a thief may come."""
        if now > self._believed_until:
            return False
        before = self.expires_at
        self.expires_at, self.renewals = now + self.arbiter.ttl_s, self.renewals + 1
        try:
            return bool(self.arbiter.run(RENEW, self.claim_id, self.value(), self.arbiter.ttl_ms))
        except ConnectionError:
            self.expires_at = before  # it may have been done; the earlier time is the safe one
            raise

    def release(self) -> None:
        """Delete the key if it is still ours."""
        self.arbiter.run(RELEASE, self.claim_id)

    @property
    def _believed_until(self) -> float:
        return self.expires_at - self.arbiter.ttl_s / 3


@dataclass(slots=True)
class Arbiter:
    """One lock in Redis. Blocking, for a thread; whatever ails the server is a ConnectionError in our words."""

    client: redis.Redis
    where: str
    name: str
    ttl_s: float
    alive: Alive = field(default=process_alive)

    @property
    def key(self) -> str:
        return f"{PREFIX}{self.name}"

    @property
    def ttl_ms(self) -> int:
        return int(self.ttl_s * 1000)

    def holder(self) -> Holder | None:
        """Who the key names, alive or not; None when there is no readable key."""
        value = self._asked(self.client.get, self.key)
        return parse(cast("bytes", value)) if value else None

    def claim(self, now: float, fence: int) -> Lease | Busy:
        """Take the lock, or say who has it."""
        owner = owner_of(os.getpid()) or owner_name(os.getpid(), now)
        lease = Lease(self, owner, str(uuid.uuid4()), fence, now, now + self.ttl_s)
        if self._asked(self.client.set, self.key, lease.value(), nx=True, px=self.ttl_ms):
            return lease
        value = cast("bytes | None", self._asked(self.client.get, self.key))
        found = parse(value) if value else None
        if value is not None and self._is_dead(found, now):
            if self.run(TAKE_OVER, value, lease.value(), self.ttl_ms):
                return lease
            found = self.holder()
        return Busy(found.owner, found.expires_at) if found else Busy("", now)

    def adopt(self, now: float, worker: int) -> Lease | None:
        """Continue the lease that an earlier daemon handed to a worker (its pid); None when there is no such lease."""
        found = self.holder()
        if found is None or not found.is_worker(worker) or now >= found.expires_at:
            return None
        return Lease(self, found.owner, found.claim_id, found.fence, found.acquired_at, found.expires_at)

    def next_fence(self, floor: int) -> int:
        """A number above every one that the peers were given, and not below `floor`."""
        key = f"{PREFIX}fencing:{self.name}"
        return int(cast("int", self._asked(self.client.eval, FENCE, 1, key, str(floor))))

    def run(self, script: str, *arguments: str | bytes | int) -> int:
        """Run one of the scripts above on the key."""
        return int(cast("int", self._asked(self.client.eval, script, 1, self.key, *arguments)))

    def _is_dead(self, found: Holder | None, now: float) -> bool:
        """Whether nobody holds it any more: its process is gone, or nothing will ever end the key and it says so."""
        if found is not None and not found.lives(self.alive):
            return True
        ends_by_itself = int(self._asked(self.client.pttl, self.key)) >= 0
        return not ends_by_itself and (found is None or not found.holds(now, self.alive))

    def _asked(self, ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return ask(*args, **kwargs)
        except (redis.RedisError, OSError) as trouble:
            raise ConnectionError(
                f"Redis at {self.where}, which decides on the training slot, does not answer ({trouble}): start it, or"
                " unset REDIS_HOST for all three of us"
            ) from None


def connect(settings: Settings, name: str, ttl_s: float) -> Arbiter:
    """The lock `name` at the Redis of the settings. Nothing is sent yet: a server that is away is waited for later."""
    more: dict[str, Any] = {}
    if settings.redis_password:
        more["password"] = settings.redis_password.get_secret_value()
    client = redis.Redis(
        host=settings.redis_host, port=settings.redis_port, db=settings.redis_lock_db,
        socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0), **more,
    )  # fmt: skip
    return Arbiter(client, f"{settings.redis_host}:{settings.redis_port}", name, ttl_s)
