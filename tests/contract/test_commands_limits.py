"""What can be asked of us, until when, and how much of it at a time? (contract/body.md 3.7)"""

from __future__ import annotations

import errno
import os

import pytest
from support.command_bus import NOW, Killed, entry, trinity

from reactord import durable
from reactord.ipc import command_memory, commands, leftovers
from reactord.ipc.command_actions import ACTIONS
from reactord.ipc.commands import Commands

pytestmark = pytest.mark.usefixtures("_errors_are_said")


# -- what can be asked ------------------------------------------------------------------------------------------------
def test_every_action_reaches_its_effect(bus, reader, jobs):
    jobs.jobs["job-1"] = {}
    wanted = {
        "train": "submit", "start_training": "submit", "cancel_training": "cancel", "status": "facts", "ping": "facts",
        "shutdown_announce": "checkpoint", "drain": "drain",
    }  # fmt: skip
    assert set(wanted) == set(ACTIONS)
    bus.enqueue(*(entry(action, action, payload={"job_id": "job-1", "reason": "upgrade"}) for action in wanted))

    reader.turn()

    assert [bus.response(action)["success"] for action in wanted] == [True] * len(wanted)
    assert sorted(jobs.done) == sorted(wanted.values())
    assert ("checkpoint", "jarvis_body announced a shutdown: upgrade") in jobs.calls
    assert bus.response("ping")["result"] == {"phase": "ready", "active_jobs": 0}


def test_an_unknown_action_is_answered_with_the_known_ones(bus, reader, letters):
    bus.enqueue(entry(action="make_coffee"))

    reader.turn()

    said = bus.response("c1")
    assert said["success"] is False
    assert "unknown action 'make_coffee'" in said["error"]
    assert said["result"]["known_actions"] == sorted(ACTIONS)
    assert letters.all() == []


def test_a_cancel_without_a_job_says_what_is_missing(bus, reader):
    bus.enqueue(entry(action="cancel_training"))
    reader.turn()
    assert "send payload.job_id" in bus.response("c1")["error"]


def test_the_most_urgent_goes_first_over_both_families(bus, reader, jobs):
    bus.enqueue(entry("q-low", priority=3), entry("q-normal", priority=2), entry("q-critical", priority=0))
    bus.send(trinity("f-urgent", priority=1))
    bus.send(trinity("f-late", priority=10))

    reader.turn()

    assert [job for _, job in jobs.calls] == [
        "cmd-q-critical", "cmd-f-urgent", "cmd-q-normal", "cmd-q-low", "cmd-f-late",
    ]  # fmt: skip


# -- time limits ------------------------------------------------------------------------------------------------------
def test_an_expired_command_is_not_done_but_its_sender_is_told(bus, reader, jobs, letters):
    bus.enqueue(entry(timestamp=NOW - 5.1))
    bus.send(trinity(timestamp=NOW - 30.1, requires_ack=True))
    bus.send(trinity("ms", timestamp=(NOW - 31) * 1000, requires_ack=True), "1_ms.json")
    everybody = bus.send(trinity("f2", timestamp=NOW - 30.1, target=None, requires_ack=True))

    reader.turn()

    assert jobs.calls == []
    assert "expired" in bus.response("c1")["error"]
    assert "expired" in bus.response("f1")["payload"]["message"]
    assert "expired" in bus.response("ms")["payload"]["message"]
    assert (bus.queued(), bus.files(), letters.all()) == ([], [everybody.name], [])
    assert bus.responses() == ["c1", "f1", "ms"]


def test_a_command_within_its_time_is_done(bus, reader, jobs):
    bus.enqueue(entry(timestamp=NOW - 4.9))
    bus.send(trinity("ms", timestamp=(NOW - 1) * 1000), "1_ms.json")
    bus.send(
        {key: value for key, value in trinity("bare").items() if key not in ("timestamp", "ttl_seconds")}, "2.json"
    )
    reader.turn()
    assert len(jobs.jobs) == 3


def test_what_expired_while_we_were_down_is_not_done_after_the_restart(bus, start, jobs, clock, monkeypatch):
    bus.enqueue(entry())
    monkeypatch.setattr(Commands, "_work", lambda self: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        start().turn()
    monkeypatch.undo()
    clock.now += 6

    start().turn()

    assert (jobs.calls, bus.queued()) == ([], [])
    assert "expired" in bus.response("c1")["error"]


# -- bounds -----------------------------------------------------------------------------------------------------------
def test_a_turn_takes_a_bounded_number_and_says_that_there_is_more(bus, reader, jobs):
    for i in range(100):
        bus.send(trinity(f"f{i:03d}"), f"{i:013d}_f{i:03d}.json")
    assert reader.turn() == 0.0
    assert len(jobs.calls) == commands.WORK_PER_TURN
    assert len(bus.files()) == 100 - commands.FILES_PER_TURN
    while reader.turn() == 0.0:
        pass
    assert len(jobs.jobs) == 100
    assert bus.files() == []


class _Stubborn(durable.RealDisk):
    """In a sticky directory the files of another user can be seen, and not be moved."""

    @staticmethod
    def rename(source, target, /):
        if "_stuck" in str(source):
            raise PermissionError(errno.EPERM, "not permitted", str(source))
        os.replace(source, target)  # noqa: PTH105 - as the real disk


def test_files_that_cannot_be_taken_keep_nothing_else_waiting_and_are_not_tried_without_a_pause(
    bus, reader, jobs, monkeypatch
):
    monkeypatch.setattr(durable, "disk", _Stubborn())
    for i in range(commands.FILES_PER_TURN + 6):
        bus.send(trinity(f"s{i}"), f"1_stuck{i:03d}.json")
    bus.send(trinity("f1"), "2_f1.json")

    assert reader.turn() == commands.TROUBLE_S

    assert list(jobs.jobs) == ["cmd-f1"]
    assert "not permitted" in reader.trouble
    assert reader.turn() == commands.TROUBLE_S
    monkeypatch.setattr(durable, "disk", durable.RealDisk())
    while reader.turn() == 0.0:
        pass
    assert (len(jobs.jobs), bus.files(), reader.trouble) == (commands.FILES_PER_TURN + 7, [], None)


def test_files_that_are_still_being_written_keep_nothing_else_waiting(bus, reader, jobs):
    for i in range(commands.FILES_PER_TURN + 6):
        (bus.directory / f"1_half{i:03d}.json").write_text("{")
    bus.send(trinity("f1"), "2_f1.json")

    assert reader.turn() == commands.LOOK_EVERY_S

    assert list(jobs.jobs) == ["cmd-f1"]


def test_a_claimed_file_that_cannot_be_read_keeps_nothing_else_waiting(bus, reader, jobs, monkeypatch):
    reader.turn()
    (reader.claimed / "1_broken.json").write_text("{}")
    bus.send(trinity("f1"), "2_f1.json")
    real = commands.command_queue.read_plain

    def broken(path, limit):
        if path.name == "1_broken.json":
            raise OSError(errno.EIO, "input/output error")
        return real(path, limit)

    monkeypatch.setattr(commands.command_queue, "read_plain", broken)

    assert reader.turn() == commands.TROUBLE_S

    assert list(jobs.jobs) == ["cmd-f1"]
    assert "input/output error" in reader.trouble


# -- leftovers --------------------------------------------------------------------------------------------------------
def test_our_own_old_temporaries_are_swept_at_the_start_and_a_peers_are_not(bus, start, clock):
    responses = bus.home.trinity / "responses"
    responses.mkdir()
    ours = [bus.directory / ".command_queue.json.4711.tmp", responses / ".c1.json.7.tmp"]
    theirs = [
        bus.directory / ".command_queue.json.0123456789abcdef0123456789abcdef.tmp",
        bus.directory / ".command_queue.json.12345678.tmp",
        bus.directory / "1_f1.json.4711.tmp",
        responses / ".c2.json.tmp",
    ]
    for path in (*ours, *theirs):
        path.write_text("{")
        os.utime(path, (clock.now - leftovers.OLD_S - 1, clock.now - leftovers.OLD_S - 1))
    young = responses / ".c3.json.4711.tmp"
    young.write_text("{")
    os.utime(young, (clock.now - leftovers.OLD_S + 1, clock.now - leftovers.OLD_S + 1))

    life = start()
    life.turn()
    assert [path.exists() for path in (*ours, *theirs, young)] == [False, False, True, True, True, True, True]

    clock.now += commands.TIDY_EVERY_S
    life.turn()
    assert not young.exists()


def test_what_waits_is_bounded_and_the_rest_stays_on_the_bus(bus, reader, jobs, monkeypatch):
    monkeypatch.setattr(commands, "MAX_WAITING", 5)
    jobs.trouble = OSError(errno.ENOSPC, "no space left")
    bus.enqueue(*(entry(f"c{i}", timeout_seconds=3600) for i in range(8)))
    bus.send(trinity("f1", ttl_seconds=3600))
    for _ in range(3):
        reader.turn()
    assert (len(bus.queued()), len(bus.files())) == (3, 1)

    jobs.trouble = None
    reader.clock.now += 61
    for _ in range(4):
        reader.turn()
    assert (len(jobs.jobs), bus.queued(), bus.files()) == (9, [], [])


def test_the_memory_is_bounded_by_number_and_by_age_and_takes_its_answers_along(bus, reader, clock, monkeypatch):
    monkeypatch.setattr(command_memory, "KEEP", 3)
    for i in range(5):
        clock.now += 1
        bus.enqueue(entry(f"c{i}", timestamp=clock.now))
        reader.turn()
    assert len(bus.responses()) == 5
    clock.now += commands.TIDY_EVERY_S
    reader.turn()
    assert bus.responses() == ["c2", "c3", "c4"]

    clock.now += command_memory.KEEP_S
    reader.turn()
    assert bus.responses() == []
    assert reader._memory.came_from("c4") is None


def test_the_bytes_of_a_done_command_are_not_kept(bus, reader):
    bus.enqueue(entry(payload={"x": "y" * 100_000}))
    reader.turn()
    assert reader._memory._db.execute("SELECT max(length(raw)) FROM commands").fetchone() == (None,)


def test_ours_are_private(bus, reader):
    reader.turn()
    assert reader.ours.stat().st_mode & 0o077 == 0
