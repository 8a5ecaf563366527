"""Every state in which a power cut may leave the disk is one that the next start makes good."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from crash.ingest_world import make_bus
from crash.recovery import Undisturbed, live, verify_copies, verify_records
from support import forked
from support.crash_states import Tape, states

from reactord import durable
from reactord.home import Home

STATES = 1200
LANES = 2


class Recorded(Undisturbed):
    """Nothing dies, everything is noted."""

    tape = None

    def begin(self, root):
        """On a home that was used before, its directories are safe; else the making of them is on the tape."""
        self.tape = durable.disk = Tape(root)

    def install(self):
        durable.disk = self.tape


def record(root, mutate=lambda: None):
    """The tape of one whole life. Only for a process of its own: it changes the modules it runs."""
    recorded = Recorded()
    live(root, mutate, steps=recorded)
    return recorded.tape


def recover_all(some, root, search):
    """(behind which step, what is wrong) of every state that the next start does not make good."""
    durable.disk = durable.RealDisk()
    bad = []
    for state in some:
        if bad and search.first_bad_only:
            break
        state.make(root)
        try:
            live(root, search.mutate)
            search.verify(Home(root))
        except Exception as wrong:  # noqa: BLE001 - a start that fails is as bad as a record that is lost
            bad.append((state.point, f"{type(wrong).__name__}: {wrong}"[:300]))
        shutil.rmtree(root, ignore_errors=True)
    return bad


@dataclass(frozen=True)
class Search:
    """What is on the bus, what is asked of a home after the recovery, and what is wrong with the ingest."""

    wanted: int  # how many different states
    make: Callable[[Home], None] = make_bus
    verify: Callable[[Home], None] = verify_records
    mutate: Callable[[], None] = lambda: None
    lanes: int = LANES  # one process for each core
    first: bool = False  # of a first start
    first_bad_only: bool = False


def _lane(root, lane, search):
    tape = record(root / "home", search.mutate)
    rng = random.Random(3)
    found = states(tape, rng, search.wanted)
    rng.shuffle(found)
    mine = found[lane :: search.lanes]
    shutil.rmtree(root / "home")  # in whose place each state is made: some of what is on the bus names its path
    bad = recover_all(mine, root / "home", search)
    (root / "found").write_text(json.dumps([[state.key for state in mine], bad]))


def explore(root, search):
    """(how many different states were tried, the bad ones)."""
    pids, roots = [], [root / f"lane-{lane}" for lane in range(search.lanes)]
    for lane, place in enumerate(roots):
        place.mkdir()
        home = Home(place / "home")
        search.make(home)
        if search.first:
            shutil.rmtree(home.reactor)
        pids.append(forked.start(_lane, place, lane, search))
    assert [forked.wait(pid) for pid in pids] == [0] * search.lanes
    told = [json.loads((place / "found").read_text()) for place in roots]
    return len({key for keys, _ in told for key in keys}), [one for _, bad in told for one in bad]


def test_after_a_power_cut_in_any_of_a_thousand_states_nothing_is_lost_and_nothing_doubled(fast_dir):
    tried, bad = explore(fast_dir, Search(STATES))

    print(f"{tried} distinct crash states, {len(bad)} bad")
    assert bad == [], f"{len(bad)} states: {bad[:3]}"
    assert tried >= 1000


def test_after_a_power_cut_the_copies_of_refused_lines_are_whole(fast_dir):
    _, bad = explore(fast_dir, Search(400, verify=verify_copies))

    assert bad == [], f"{len(bad)} states: {bad[:3]}"


def test_after_a_power_cut_in_the_first_minute_of_a_new_home_nothing_is_lost(fast_dir):
    _, bad = explore(fast_dir, Search(400, first=True))

    assert bad == [], f"{len(bad)} states: {bad[:3]}"
