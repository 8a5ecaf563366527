"""Does every command for us take effect once, whatever is killed, and does nobody lose one? (contract/body.md 3.7)"""

from __future__ import annotations

import errno
import itertools
import sqlite3
import subprocess
import sys
import time

import pytest
from support.command_bus import NOW, Killed, World, entry, trinity
from support.disks import FailingDisk, WatchedDisk

from reactord import durable
from reactord.errors import DiskFull
from reactord.ipc import command_memory, commands
from reactord.ipc.commands import backoff_s

pytestmark = pytest.mark.usefixtures("_errors_are_said")


# -- once -------------------------------------------------------------------------------------------------------------
def test_a_duplicate_is_answered_again_with_the_same_words_and_not_done_again(bus, reader, start, jobs):
    bus.enqueue(entry())
    reader.turn()
    said = bus.response("c1")
    (bus.home.trinity / "responses" / "c1.json").unlink()

    bus.enqueue(entry(), entry())
    reader.turn()
    assert bus.response("c1") == said
    (bus.home.trinity / "responses" / "c1.json").unlink()

    bus.send(trinity("c1", requires_ack=True))
    start().turn()
    assert bus.response("c1") == said
    assert jobs.done == ["submit"]
    assert (bus.queued(), bus.files()) == ([], [])


def test_a_job_id_of_the_sender_is_the_jobs_id(bus, reader, jobs):
    bus.enqueue(entry("a", payload={"job_id": "job-7"}), entry("b", payload={"job_id": "job-7"}))
    reader.turn()
    assert list(jobs.jobs) == ["job-7"]
    assert [bus.response(c)["result"]["new"] for c in "ab"] == [True, False]


@pytest.mark.parametrize("when", ["trouble", "after"])
def test_a_kill_around_the_effect_is_one_effect_and_one_answer(bus, start, jobs, clock, when):
    bus.enqueue(entry())
    setattr(jobs, when, Killed())
    with pytest.raises(Killed):
        start().turn()
    assert (bus.queued(), bus.responses()) == ([], [])
    setattr(jobs, when, None)

    life = start()
    life.turn()
    clock.now += 2
    life.turn()

    assert list(jobs.jobs) == ["cmd-c1"]
    assert {call[1] for call in jobs.calls} == {"cmd-c1"}
    assert bus.response("c1")["success"] is True


def calls_of_a_turn(root, clock, monkeypatch):
    world, disk = World(root, clock), WatchedDisk()
    monkeypatch.setattr(durable, "disk", disk)
    world.live(1)
    world.is_as_it_must_be()
    return disk.calls


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_any_mutating_call_loses_and_doubles_nothing(fast_dir, clock, monkeypatch, when):
    calls = calls_of_a_turn(fast_dir / "whole", clock, monkeypatch)
    assert calls > 20
    for at in range(1, calls + 1):

        def kill(n, call, at=at):
            if n == at:
                raise Killed

        world = World(fast_dir / str(at), clock)
        monkeypatch.setattr(durable, "disk", WatchedDisk(**{when: kill}))
        with pytest.raises(Killed):
            world.live(1)
        monkeypatch.setattr(durable, "disk", durable.RealDisk())
        world.live(2)
        world.is_as_it_must_be()


LIFE = """
import sys, time
from pathlib import Path
from reactord.home import Home
from reactord.ipc.commands import Commands

class Jobs:
    def submit(self, job_id, payload):
        place = Path(sys.argv[2], job_id)
        new = not place.exists()
        place.touch()
        with open(sys.argv[2] + ".calls", "a") as calls:
            calls.write(job_id + chr(10))
        return {"new": new}

commands = Commands(Home(Path(sys.argv[1])), Jobs(), time.time)
print("up", flush=True)
while True:
    commands.turn()
"""


def test_eight_real_kills_under_load_lose_and_double_nothing(bus, home, tmp_path):
    effects = tmp_path / "effects"
    effects.mkdir()
    wanted = []
    for kill in range(9):
        names = [f"k{kill}-{i}" for i in range(12)]
        wanted += names
        for name in names[::2]:
            bus.enqueue(entry(name, timestamp=time.time(), timeout_seconds=600))
        for name in names[1::2]:
            bus.send(trinity(name, timestamp=time.time(), ttl_seconds=600, requires_ack=True))
        life = subprocess.Popen([sys.executable, "-c", LIFE, home.root, effects], stdout=subprocess.PIPE)
        with life:
            try:
                assert life.stdout.readline() == b"up\n"
                if kill < 8:
                    time.sleep(0.004 * kill)
                deadline = time.monotonic() + 45
                while kill == 8 and sorted(bus.responses()) != sorted(wanted):
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            finally:
                life.kill()

    assert sorted(path.name for path in effects.iterdir()) == sorted(f"cmd-{name}" for name in wanted)
    assert (bus.queued(), bus.files()) == ([], [])
    calls = (tmp_path / "effects.calls").read_text().splitlines()
    assert len(calls) <= len(wanted) + 8  # a kill repeats at most the one call that it cut off


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_refusal_of_any_mutating_call_loses_and_doubles_nothing(fast_dir, clock, monkeypatch, error):
    for at in range(1, calls_of_a_turn(fast_dir / "whole", clock, monkeypatch) + 1):
        world = World(fast_dir / str(at), clock)
        monkeypatch.setattr(durable, "disk", FailingDisk(at, error, write_at_most=50))
        world.live(3)
        world.is_as_it_must_be()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["take", "take_refused", "begin", "finish", "answered"])
def test_a_kill_around_any_commit_of_the_memory_loses_and_doubles_nothing(bus, start, monkeypatch, step, when):
    bus.enqueue(entry("c1"), entry("bad", payload=7))
    bus.send(trinity("f1", requires_ack=True))
    real = getattr(command_memory.Memory, step)

    def kill(self, *arguments):
        if when == "after":
            real(self, *arguments)
        raise Killed

    monkeypatch.setattr(command_memory.Memory, step, kill)
    with pytest.raises(Killed):
        start().turn()
    monkeypatch.setattr(command_memory.Memory, step, real)
    life = start()
    for _ in range(3):
        life.turn()
        life.clock.now += 2  # an attempt that was counted and cut off waits like one that failed

    assert sorted(life.executor.jobs) == ["cmd-c1", "cmd-f1"]
    assert (bus.queued(), bus.files(), bus.responses()) == ([], [], ["bad", "c1", "f1"])
    assert [bus.response("c1")["success"], bus.response("f1")["intent"], bus.response("bad")["success"]] == [
        True, "ack", False,
    ]  # fmt: skip


# -- trouble ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "trouble",
    [OSError(errno.ENOSPC, "no space"), sqlite3.OperationalError("locked"), DiskFull("make room"), TimeoutError()],
)
def test_a_passing_trouble_is_retried_later_and_later_and_then_done(bus, reader, jobs, clock, trouble):
    bus.enqueue(entry())
    jobs.trouble = trouble
    reader.turn()
    assert (len(jobs.calls), bus.responses()) == (1, [])
    clock.now += 0.99
    reader.turn()
    assert len(jobs.calls) == 1

    jobs.trouble = None
    clock.now += 1.0
    reader.turn()
    assert len(jobs.calls) == 2
    assert bus.response("c1")["success"] is True


def test_the_fifth_failure_makes_a_dead_letter_also_over_restarts(bus, start, jobs, clock, letters):
    bus.enqueue(entry())
    jobs.trouble = OSError(errno.ENOSPC, "no space left")
    tried_at = []
    life = start()
    while not letters.all():
        before = len(jobs.calls)
        life.turn()
        if len(jobs.calls) > before:
            tried_at.append(clock.now)
            life = start()  # the next attempt is remembered, not counted anew
        clock.now += 0.25
        assert clock.now < NOW + 600

    waits = [later - earlier for earlier, later in itertools.pairwise(tried_at)]
    assert len(jobs.calls) == 5
    assert clock.now == tried_at[-1] + 0.25  # given up at once, and not after one more wait
    assert all(1.0 <= wait <= 60.5 for wait in waits)
    assert waits[0] <= 1.75
    assert waits == sorted(waits)
    (letter,) = letters.all()
    assert (letter.why["attempts"], letter.why["first_seen"], letter.why["command_id"]) == (5, NOW, "c1")
    assert "no space left" in letter.why["last_error"]
    assert "reactord dlq list" in bus.response("c1")["error"]
    life.turn()
    assert len(jobs.calls) == 5


def test_the_waits_grow_from_one_second_to_a_minute_and_are_spread():
    waits = {attempt: [backoff_s(attempt) for _ in range(200)] for attempt in range(1, 8)}
    assert all(1.0 <= wait <= 60.0 for tries in waits.values() for wait in tries)
    assert max(waits[1]) <= 1.5
    assert min(waits[4]) >= 30
    assert len(set(waits[2])) > 100


def test_a_command_that_kills_us_five_times_is_a_dead_letter(bus, start, jobs, clock, letters):
    bus.enqueue(entry())
    jobs.trouble = Killed()
    for _ in range(5):
        with pytest.raises(Killed):
            start().turn()
        clock.now += 61
    start().turn()

    assert len(jobs.calls) == 5
    assert "the daemon ended during every attempt" in letters.all()[0].why["last_error"]


def test_a_bug_costs_one_command_and_is_loud(bus, reader, jobs, letters, caplog):
    bus.enqueue(entry("c1"))
    jobs.trouble = ZeroDivisionError("oops")
    reader.turn()
    jobs.trouble = None
    bus.enqueue(entry("c2"))
    reader.turn()

    assert "ZeroDivisionError" in caplog.text
    assert "This is a bug" in bus.response("c1")["error"]
    assert letters.all()[0].why["command_id"] == "c1"
    assert bus.response("c2")["success"] is True


def test_a_disk_that_refuses_is_shown_and_nothing_is_lost(bus, reader, jobs, monkeypatch):
    class Full(durable.RealDisk):
        @staticmethod
        def write(descriptor, data, /):
            raise OSError(errno.ENOSPC, "no space left on device")

    bus.enqueue(entry())
    monkeypatch.setattr(durable, "disk", Full())
    assert reader.turn() == commands.TROUBLE_S
    assert "no space left" in reader.trouble
    monkeypatch.setattr(durable, "disk", durable.RealDisk())

    reader.turn()
    assert (jobs.done, bus.queued(), reader.trouble) == (["submit"], [], None)
    assert bus.response("c1")["success"] is True


def test_a_place_that_cannot_be_answered_to_keeps_no_other_answer_back(bus, reader):
    (bus.home.trinity / "responses" / "c1.json").mkdir(parents=True)
    bus.enqueue(entry("c1"), entry("c2"))
    reader.turn()
    assert bus.response("c2")["success"] is True
    assert reader.trouble


def test_a_damaged_memory_is_set_aside_and_the_bus_goes_on(bus, start, jobs):
    life = start()
    life.turn()
    life.close()
    (life.ours / "commands.db").write_bytes(b"garbage" * 1000)
    bus.enqueue(entry())

    start().turn()

    assert bus.response("c1")["success"] is True
    assert list(life.ours.glob("commands.db.damaged-*"))
