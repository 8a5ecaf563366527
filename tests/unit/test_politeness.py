"""Beside somebody who is busy a worker stands back, within two seconds and without being told."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest

BUSY = "while True: pass"
POLITE = "from reactord.worker.politeness import step_back; step_back()\n" + BUSY
LOOK_S = 2.0


@pytest.fixture
def on_one_core():
    """Two processes that both want all of it: a worker, and somebody else."""
    core = sorted(os.sched_getaffinity(0))[:1]
    started = [subprocess.Popen([sys.executable, "-c", code]) for code in (POLITE, BUSY)]
    try:
        for process in started:
            os.sched_setaffinity(process.pid, core)
        yield [psutil.Process(process.pid) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux pins a process to a core")
def test_who_is_busy_has_most_of_the_core_beside_a_worker(on_one_core):
    polite, other = on_one_core
    deadline = time.monotonic() + 30
    while polite.nice() < 10:  # it has begun
        assert time.monotonic() < deadline
        time.sleep(0.05)
    before = [sum(process.cpu_times()[:2]) for process in (polite, other)]
    time.sleep(LOOK_S)
    ours, theirs = (sum(p.cpu_times()[:2]) - was for p, was in zip((polite, other), before, strict=True))
    assert theirs > 4 * ours
    if sys.platform == "linux":
        assert polite.ionice().ioclass == psutil.IOPRIO_CLASS_IDLE
