"""Two thousand random worlds: does training ever take the machine down, get stuck, or starve a job?"""

from __future__ import annotations

import dataclasses
import random

import pytest
from support.memory_machine import AGED_S, PAUSE_MOST_S, Naive, Ours, Result
from support.memory_world import LOOK_AGAIN_S, kinds, timeline

from reactord import memory

TIMELINES = 2000
#: whoever is next and would have a place starts after at most: its aging (until then smaller jobs may pass), the run
#: that is at work then (four stages of 15 s, at half speed, paused twice), and two looks
STARVED_S = AGED_S + 4 * 15 * 2 + 2 * PAUSE_MOST_S + 2 * LOOK_AGAIN_S


@pytest.fixture
def all_kinds(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "has_bfloat16", lambda: True)
    return kinds(tmp_path)


def _sum(results):
    total = Result()
    for result in results:
        for field in dataclasses.fields(Result):
            if field.name == "most_deprived":
                total.most_deprived = max(total.most_deprived, result.most_deprived)
            elif field.name != "history":
                setattr(total, field.name, getattr(total, field.name) + getattr(result, field.name))
    return total


def test_nothing_runs_out_gets_stuck_or_starves_where_the_naive_rule_does(all_kinds):
    ours, naive = [], []
    for seed in range(TIMELINES):
        world, concurrent = timeline(seed, all_kinds), random.Random(seed).choice((1, 1, 2))
        ours.append(Ours(world, concurrent).run())
        naive.append(Naive(world, concurrent).run())
    found, other = _sum(ours), _sum(naive)
    print(f"\nours  {found}\nnaive {other}")

    assert (found.out_of_memory, found.unfinished) == (0, 0)
    assert found.most_deprived <= STARVED_S
    # the worlds are hard enough for the answer to mean something: every decision was taken, every guard was needed
    assert min(found.shrunk, found.waited, found.refused, found.ended_by_limit, found.preempted) > 100
    assert min(found.lent, found.lease_refused, found.lease_lost) > 20
    assert found.finished > 4 * found.refused
    assert other.out_of_memory > 100
