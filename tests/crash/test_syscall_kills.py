"""SIGKILL at every system call that changes something: the next process finds every record, once."""

from __future__ import annotations

from collections import Counter

import pytest
from crash.ingest_world import LostOrDoubled, fresh, make_bus
from crash.recovery import live, recover
from support import crashes
from support.forked import DIED

from reactord.home import Home

pytestmark = pytest.mark.skipif(crashes.missing() is not None, reason=str(crashes.missing()))


@pytest.fixture
def template(fast_dir):
    home = Home(fast_dir / "template")
    make_bus(home)
    return home.root


def sweep(template, root, log, *, only=None, mutate=lambda: None):
    """(killed, what was lost or doubled at which call) over every changing call of one life."""
    fresh(template, root)
    assert crashes.run(live, root, mutate, log=str(log)) == 0
    killed, bad = 0, []
    for point in crashes.calls(log):
        if only and point[0] not in only:
            continue
        fresh(template, root)
        status = crashes.run(live, root, mutate, kill_at=point)
        assert status in (0, DIED)
        killed += status == DIED
        try:
            recover(root, mutate)
        except LostOrDoubled as wrong:
            bad.append((point, str(wrong)[:200]))
    return killed, bad


def test_a_process_killed_at_any_system_call_loses_nothing_and_doubles_nothing(template, fast_dir):
    log = fast_dir / "strace"
    killed, bad = sweep(template, fast_dir / "home", log)

    made = Counter(name for name, _ in crashes.calls(log))
    print(f"{killed} kills at {dict(made)}: {len(bad)} bad")
    assert bad == []
    assert {"openat", "write", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "unlinkat"} <= set(made)
    assert killed > 80
    assert killed >= 0.9 * made.total(), "calls are counted that are not reached: this sweep shows too little"
