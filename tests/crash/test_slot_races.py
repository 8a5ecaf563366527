"""Nobody trains beside anybody else: real processes, ours and the peers', and a witness that knows nothing of locks.

A peer of the first version overwrites what it did not see, also what another peer holds; that is between the two of
them. So it fights with us alone here, and Body with us alone; what is asserted is that nobody ever overlaps.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from functools import partial

import pytest
from support import arena
from support.arena import NAME, Old, Ours, OursInRedis
from support.peers import RedisBody
from support.redis_server import RedisServer
from support.witness import Witness

from reactord import durable
from reactord.ipc import dlm

RACE_S = 60.0
REDIS_RACE_S = 15.0
#: a planted mistake is found within seconds; a loaded machine may take longer
FIND_S = 60.0


def _fighters(*groups):
    """(how many, who, make, mortal) ... -> numbered."""
    return dict(enumerate((who, make, mortal) for count, who, make, mortal in groups for _ in range(count)))


def _held(witness):
    return Counter(hold.who for hold in witness.holds())


@pytest.mark.timeout(300)
def test_four_of_ours_and_four_bodies_for_sixty_seconds_never_hold_it_together(fast_dir):
    """Ours die now and then with the lock in their hands; whoever comes first takes it over."""
    witness, locks = Witness(fast_dir / "witness"), fast_dir / "locks"
    fighters = _fighters(
        (4, "ours", partial(Ours, locks, 0.0), True), (4, "body", partial(arena.body, locks), False)
    )  # fmt: skip

    died = arena.race(fighters, witness, RACE_S)

    held = _held(witness)
    print(f"{held}, {died} died")
    assert witness.overlaps() == []
    assert min(held["ours"], held["body"]) > 50
    assert died > 0


@pytest.mark.timeout(300)
def test_seven_of_ours_and_a_body_of_the_first_version_never_hold_it_together(fast_dir):
    witness, locks = Witness(fast_dir / "witness"), fast_dir / "locks"
    fighters = _fighters(
        (7, "ours", partial(Ours, locks, dlm.SETTLE_S), False), (1, "old", partial(Old, locks, NAME), False)
    )  # fmt: skip

    arena.race(fighters, witness, RACE_S / 2)

    held = _held(witness)
    print(held)
    assert witness.overlaps() == []
    assert min(held["ours"], held["old"]) > 0


@pytest.fixture
def redis(fast_dir):
    server = RedisServer(fast_dir)
    server.start()
    yield server
    server.kill()


@pytest.mark.timeout(300)
def test_with_redis_as_the_arbiter_four_of_ours_and_four_bodies_never_hold_it_together(fast_dir, redis):
    witness = Witness(fast_dir / "witness")
    fighters = _fighters(
        (4, "ours", partial(OursInRedis, redis.port), False),
        (4, "body", lambda: RedisBody(redis.client(), NAME), False),
    )

    arena.race(fighters, witness, REDIS_RACE_S)

    held = _held(witness)
    print(held)
    assert witness.overlaps() == []
    assert min(held["ours"], held["body"]) > 50


@pytest.mark.timeout(300)
def test_with_redis_as_the_arbiter_ours_take_over_from_each_other_s_dead_one_at_a_time(fast_dir, redis):
    """Without a Body: it deletes what it judged dead without looking again."""
    witness = Witness(fast_dir / "witness")

    died = arena.race(_fighters((8, "ours", partial(OursInRedis, redis.port), True)), witness, REDIS_RACE_S / 2)

    print(_held(witness), died)
    assert witness.overlaps() == []
    assert _held(witness)["ours"] > 50
    assert died > 0


class Unasking(RedisBody):
    """It looks and sets in two steps."""

    def _set(self, said, ttl_s):
        if self.client.exists(self.key):
            return False
        return bool(self.client.set(self.key, json.dumps(said), ex=int(ttl_s)))


@pytest.mark.timeout(300)
def test_a_peer_that_looks_and_sets_in_two_steps_is_found_by_the_witness(fast_dir, redis):
    fighters = _fighters(
        (4, "ours", partial(OursInRedis, redis.port), False),
        (4, "unasking", lambda: Unasking(redis.client(), NAME), False),
    )
    assert _finds(fast_dir, fighters)


def _finds(fast_dir, fighters):
    """Whether the witness sees an overlap."""
    deadline = time.monotonic() + FIND_S
    for number in range(1000):
        witness = Witness(fast_dir / f"witness{number}")
        arena.race(fighters, witness, 3.0)
        if witness.overlaps():
            return True
        if time.monotonic() > deadline:
            return False
    return False


@pytest.mark.timeout(300)
def test_without_settling_the_old_peer_and_we_overlap_and_the_witness_finds_it(fast_dir):
    locks = fast_dir / "locks"
    fighters = _fighters((3, "ours", partial(Ours, locks, 0.0), False), (1, "old", partial(Old, locks, NAME), False))
    assert _finds(fast_dir, fighters)


class Careless(Ours):
    """It writes over what stands there when it has looked, as everybody would first think of."""

    def acquire(self):
        if dlm.holder(self.directory, NAME) is not None:
            return False
        lease = dlm.Lease(self.directory, NAME, 60.0, dlm.owner_of(os.getpid()), str(time.monotonic_ns()), 1,
                          time.time(), time.time() + 60)  # fmt: skip
        durable.publish(lease.path, lease.document(), sync=False)
        self.lease = lease
        return lease.mine(time.time())


@pytest.mark.timeout(300)
def test_without_link_and_guard_we_overlap_with_body_and_the_witness_finds_it(fast_dir):
    locks = fast_dir / "locks"
    locks.mkdir()
    careless = partial(Careless, locks, 0.0)
    fighters = _fighters((4, "careless", careless, False), (4, "body", partial(arena.body, locks), False))
    assert _finds(fast_dir, fighters)
