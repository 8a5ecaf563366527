"""Is ours in the shared queue done, answered and taken out, and is no other entry lost? (contract/body.md 3.7)"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time

import pytest
from support.command_bus import entry, trinity

from reactord.ipc import command_queue, commands

pytestmark = pytest.mark.usefixtures("_errors_are_said")


def test_a_queued_command_is_done_taken_out_and_answered_in_the_form_of_trinity_ipc(bus, reader, jobs):
    bus.enqueue(entry(payload={"recipe": "dpo"}))

    assert reader.turn() == commands.LOOK_EVERY_S

    said = bus.response("c1")
    assert jobs.jobs == {"cmd-c1": {"recipe": "dpo"}}
    assert bus.queued() == []
    assert set(said) == {"response_id", "command_id", "source", "success", "result", "error", "timestamp"}
    assert (said["command_id"], said["source"], said["success"], said["error"]) == ("c1", "reactor_core", True, None)
    assert said["result"] == {"job_id": "cmd-c1", "new": True}
    assert isinstance(said["timestamp"], float)
    assert isinstance(said["response_id"], str)


def test_what_is_not_ours_in_the_queue_stays_as_it_was(bus, reader):
    odd = ['{"target": "jarvis_prime", "command_id": "p1", "x": NaN, "big": 123456789012345678901234567890}',
           '"no object"', '{"command_id": "n", "target": null}', '{"s": "\\ud800", "target": "reactor"}']  # fmt: skip
    ours = json.dumps(entry())
    bus.queue.write_text(
        f'{{"_v": 3, "_msg_id": "m", "commands": [{odd[0]}, {ours}, {", ".join(odd[1:])}], "_ts": 1.5}}'
    )

    reader.turn()

    text = bus.queue.read_text()
    expected = f'{{"_v": 3, "_msg_id": "m", "commands": [{", ".join(odd)}], "_ts": 1.5}}'
    assert json.dumps(json.loads(text)) == json.dumps(json.loads(expected))
    assert bus.queue.stat().st_ino  # replaced whole, by rename: no temporary is left
    assert not list(bus.directory.glob("*.tmp"))
    assert not list(bus.directory.glob(".*.tmp"))


def test_a_queue_without_anything_of_ours_is_not_rewritten(bus, reader):
    bus.enqueue(entry(target="jarvis_body"))
    before = bus.queue.stat()

    for _ in range(3):
        reader.turn()

    assert bus.queue.stat() == before
    assert bus.responses() == []


def test_a_writer_that_holds_the_lock_is_not_written_over_and_not_waited_for_long(bus, reader, jobs):
    bus.enqueue(entry("c1"))
    with (bus.directory / "command_queue.json.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        began = time.monotonic()
        reader.turn()
        assert time.monotonic() - began < 2
        assert (len(bus.queued()), jobs.jobs, reader.counts["busy"]) == (1, {}, 1)

    reader.turn()
    assert (bus.queued(), list(jobs.jobs)) == ([], ["cmd-c1"])


def test_nothing_is_lost_between_us_and_three_writers_of_the_queue(bus, reader, jobs):
    def write(who):
        for i in range(20):
            bus.enqueue(entry(f"{who}-{i}"), entry(f"{who}-{i}-other", target="jarvis_body"))

    writers = [threading.Thread(target=write, args=(f"w{n}",)) for n in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        reader.turn()
    for writer in writers:
        writer.join()
    for _ in range(10):
        reader.turn()

    assert len(jobs.jobs) == 60
    assert jobs.done.count("submit") == 60
    assert sorted(left["command_id"] for left in bus.queued()) == sorted(
        f"w{n}-{i}-other" for n in range(3) for i in range(20)
    )


def test_a_queue_that_is_no_queue_is_kept_aside_once_it_has_been_quiet(bus, reader, letters, clock):
    bus.queue.write_text('{"commands": [{"command_id"')
    reader.turn()
    clock.now += 1.9
    reader.turn()
    assert bus.queue.exists()

    clock.now += 0.2
    reader.turn()
    assert not bus.queue.exists()
    assert letters.show(letters.all()[0].identity)[1] == b'{"commands": [{"command_id"'

    bus.enqueue(entry())
    reader.turn()
    assert bus.responses() == ["c1"]


def test_a_queue_that_is_still_being_written_is_waited_for(bus, reader, jobs, clock, letters):
    whole = json.dumps({"commands": [entry(timeout_seconds=60)]})
    for end in range(0, len(whole), 40):
        bus.queue.write_text(whole[:end])
        reader.turn()
        clock.now += 1.0
    bus.queue.write_text(whole)
    reader.turn()

    assert list(jobs.jobs) == ["cmd-c1"]
    assert letters.all() == []


@pytest.mark.parametrize("document", ["[]", '{"commands": {}}', "7", "[" * 100_000])
def test_a_queue_of_another_shape_is_set_aside(bus, reader, letters, clock, document):
    bus.queue.write_text(document)
    for _ in range(2):
        reader.turn()
        clock.now += 2.1

    assert len(letters.all()) == 1
    assert "command_queue.json" in letters.all()[0].why["from"]


def test_a_queue_that_is_a_link_is_neither_read_nor_replaced(bus, reader, jobs, tmp_path):
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text(json.dumps({"commands": [entry()]}))
    bus.queue.symlink_to(elsewhere)

    reader.turn()

    assert jobs.calls == []
    assert bus.queue.is_symlink()
    assert "not a regular file" in reader.trouble


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"command_id": None}, "no usable id"),
        ({"command_id": "../../etc/passwd"}, "no usable id"),
        ({"command_id": "c1\n"}, "no usable id"),
        ({"action": ""}, "no action"),
        ({"action": 7}, "no action"),
        ({"payload": [1]}, "payload is no JSON object"),
        ({"timestamp": "yesterday"}, "timestamp is no number"),
        ({"timeout_seconds": "5"}, "no number"),
        ({"payload": {"deep": json.loads("[" * 80 + "]" * 80)}}, "nested deeper"),
        ({"payload": {"large": "x" * (1024 * 1024)}}, "larger than"),
    ],
)
def test_a_queued_command_that_cannot_be_understood_is_a_dead_letter_with_its_reason(
    bus, reader, letters, broken, says
):
    bus.enqueue(entry("c1") | broken, entry("good"))

    reader.turn()

    assert bus.queued() == []
    assert list(reader.executor.jobs) == ["cmd-good"]
    (letter,) = letters.all()
    assert says in letter.why["reason"]
    assert letter.why["from"] == "command_queue.json"
    assert bus.responses() == (["good"] if "command_id" in broken else ["c1", "good"])
    assert "command_id" in broken or says in bus.response("c1")["error"]
    assert not (bus.home.root / "etc").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of somebody else")
def test_a_queue_of_another_user_is_not_obeyed(bus, reader, jobs):
    bus.enqueue(entry())
    os.chown(bus.queue, 12345, 12345)

    reader.turn()

    assert jobs.calls == []
    assert len(bus.queued()) == 1
    assert "not owned by" in reader.trouble


def test_an_idle_look_does_not_take_the_lock_of_an_unchanged_queue(bus, reader, monkeypatch):
    bus.enqueue(entry(target="jarvis_body"))
    reader.turn()
    monkeypatch.setattr(command_queue, "flocked", lambda *_: pytest.fail("locked for nothing"))
    reader.turn()


def test_a_lock_that_cannot_be_had_keeps_no_command_of_its_own_file_waiting(bus, reader, jobs):
    bus.queue.write_text(json.dumps({"commands": [entry()]}))
    bus.queue.with_name(f"{bus.queue.name}.lock").mkdir()
    bus.send(trinity())

    assert reader.turn() == commands.TROUBLE_S

    assert jobs.done == ["submit"]
    assert "command_queue.json is not read: " in reader.trouble
    bus.queue.with_name(f"{bus.queue.name}.lock").rmdir()
    reader.turn()
    assert (len(jobs.done), reader.trouble) == (2, None)
