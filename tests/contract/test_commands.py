"""Does every command for us take effect once, whatever is killed, and does nobody lose one? (contract/body.md 3.7)"""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import logging
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid

import pytest
from support.disks import FailingDisk, WatchedDisk

from reactord import durable
from reactord.errors import BadRequest, DiskFull
from reactord.home import Home
from reactord.ipc import command_memory, command_queue, commands
from reactord.ipc.command_actions import ACTIONS
from reactord.ipc.commands import Commands, backoff_s
from reactord.ipc.deadletter import DeadLetters

NOW = 1_795_281_095.0


class Killed(BaseException):
    """kill -9, as far as a test in one process can tell."""


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


class Jobs:
    """What the daemon passes in: idempotent by the job's id. It survives the reader of the commands."""

    def __init__(self):
        self.jobs, self.calls, self.trouble = {}, [], None
        self.after = None  # raised when the effect has happened

    def _called(self, name, *arguments):
        self.calls.append((name, *arguments))
        if self.trouble is not None:
            raise self.trouble

    def submit(self, job_id, payload):
        self._called("submit", job_id)
        new = job_id not in self.jobs
        self.jobs.setdefault(job_id, dict(payload))
        if self.after is not None:
            raise self.after
        return {"job_id": job_id, "new": new}

    def cancel(self, job_id):
        self._called("cancel", job_id)
        if job_id not in self.jobs:
            raise BadRequest(f"there is no job {job_id}; see `reactord jobs`")
        return {"job_id": job_id, "state": "cancelled"}

    def facts(self):
        self._called("facts")
        return {"phase": "ready", "active_jobs": 0}

    def checkpoint(self, why):
        self._called("checkpoint", why)
        return {"checkpointing": True}

    def drain(self, why):
        self._called("drain", why)
        return {"draining": True}

    @property
    def done(self):
        return [name for name, *_ in self.calls]


class Bus:
    """Both families, written as Body and Prime write them."""

    def __init__(self, home):
        self.home, self.directory = home, home.trinity / "commands"
        self.directory.mkdir(parents=True)
        self.queue = self.directory / "command_queue.json"

    def enqueue(self, *entries, **more):
        """trinity_ipc: whole-file read-modify-write under flock, temporary file and rename."""
        with (self.directory / "command_queue.json.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = json.loads(self.queue.read_text()) if self.queue.exists() else {"commands": []}
            known["commands"] = sorted([*known["commands"], *entries], key=lambda entry: entry.get("priority", 2))
            temporary = self.directory / f".command_queue.json.{uuid.uuid4().hex}.tmp"
            temporary.write_text(json.dumps(known | more, indent=2))
            temporary.replace(self.queue)

    def queued(self):
        return json.loads(self.queue.read_text())["commands"]

    def send(self, command, name=None):
        """reactor_bridge: one file, written in place."""
        path = self.directory / (name or f"{int(command['timestamp'] * 1000)}_{command['id']}.json")
        path.write_text(json.dumps(command, indent=2))
        return path

    def files(self):
        return sorted(path.name for path in self.directory.glob("*.json") if path != self.queue)

    def response(self, identity):
        return json.loads((self.home.trinity / "responses" / f"{identity}.json").read_bytes())

    def responses(self):
        return sorted(path.stem for path in (self.home.trinity / "responses").glob("*"))


def entry(identity="c1", action="train", **changes):
    return {
        "command_id": identity, "source": "jarvis_body", "target": "reactor_core", "action": action, "payload": {},
        "priority": 2, "timestamp": NOW, "timeout_seconds": 5.0, "correlation_id": None,
    } | changes  # fmt: skip


def trinity(identity="f1", intent="train", **changes):
    return {
        "id": identity, "timestamp": NOW, "source": "jarvis_body", "intent": intent, "payload": {}, "metadata": {},
        "target": "reactor_core", "priority": 5, "requires_ack": False, "response_to": None, "ttl_seconds": 30.0,
    } | changes  # fmt: skip


@pytest.fixture(autouse=True)
def _errors_are_said(caplog):
    caplog.set_level(logging.DEBUG)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def jobs():
    return Jobs()


@pytest.fixture
def bus(home):
    return Bus(home)


@pytest.fixture
def start(home, clock, jobs):
    """A new life of the daemon."""
    lives = []

    def go():
        lives.append(Commands(home, jobs, clock))
        return lives[-1]

    yield go
    for life in lives:
        life.close()


@pytest.fixture
def reader(start, bus):
    return start()


@pytest.fixture
def letters(home, clock):
    return DeadLetters(home, clock)


# -- the shared queue -------------------------------------------------------------------------------------------------
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


# -- one command a file -----------------------------------------------------------------------------------------------
def test_a_file_for_us_is_done_and_removed_and_not_answered_unless_it_asks(bus, reader, jobs):
    bus.send(trinity())

    reader.turn()

    assert (list(jobs.jobs), bus.files(), bus.responses()) == (["cmd-f1"], [], [])
    assert list(reader.claimed.iterdir()) == []


def test_a_file_that_asks_is_answered_with_an_ack_that_is_itself_a_trinity_command(bus, reader):
    bus.send(trinity(requires_ack=True, source="j_prime"))

    reader.turn()

    said = bus.response("f1")
    assert set(said) == set(trinity())
    assert (said["intent"], said["response_to"], said["source"], said["target"]) == (
        "ack",
        "f1",
        "reactor_core",
        "j_prime",
    )
    assert said["payload"]["success"] is True
    assert said["payload"]["result"]["job_id"] == "cmd-f1"
    assert said["id"] != "f1"
    assert said["requires_ack"] is False


def test_a_refused_file_that_asks_is_answered_with_a_nack(bus, reader):
    bus.send(trinity(intent="cancel_training", payload={"job_id": "nowhere"}, requires_ack=True))

    reader.turn()

    said = bus.response("f1")
    assert (said["intent"], said["payload"]["success"]) == ("nack", False)
    assert "there is no job nowhere" in said["payload"]["message"]


def test_a_command_to_everybody_is_done_once_and_left_for_the_others(bus, start, jobs):
    path = bus.send(trinity(target=None))
    before = path.read_bytes()

    first = start()
    for _ in range(3):
        first.turn()
    start().turn()

    assert jobs.done == ["submit"]
    assert path.read_bytes() == before


def test_a_command_to_everybody_is_not_answered_again_after_every_restart(bus, start):
    bus.send(trinity(target=None, requires_ack=True))
    start().turn()
    (bus.home.trinity / "responses" / "f1.json").unlink()  # fetched

    start().turn()

    assert bus.responses() == []


def test_a_command_to_everybody_that_we_do_not_know_is_nobodys_mistake(bus, reader, jobs, letters):
    bus.send(trinity("m1", "execute_plan", target=None, requires_ack=True))
    bus.send(trinity("m2", "train", target=None, source="reactor_core"))
    bus.send({"no": "command"}, "9_x.json")

    reader.turn()

    assert (jobs.calls, bus.responses(), letters.all(), len(bus.files())) == ([], [], [], 3)


def test_a_command_for_somebody_else_is_not_touched(bus, reader, jobs):
    path = bus.send(trinity("b1", target="jarvis_body", ttl_seconds=0.001))
    half = bus.directory / "1_half.json"
    half.write_text('{"id": "b2", "target": "jarvis_body", "payload": {')
    large = bus.send(trinity("b3", target="jarvis_body", payload={"x": "y" * 2_000_000}))
    before = [(p.stat().st_ino, p.stat().st_mtime_ns) for p in (path, half, large)]

    for _ in range(5):
        reader.turn()
        reader.clock.now += 3

    assert [(p.stat().st_ino, p.stat().st_mtime_ns) for p in (path, half, large)] == before
    assert jobs.calls == []


def test_other_names_in_the_directory_are_not_ours(bus, reader, letters):
    for name in ("notes.txt", ".1_hidden.json", "x.json.tmp", "command_queue.json.lock"):
        (bus.directory / name).write_text("garbage")
    reader.turn()
    reader.clock.now += 10
    reader.turn()

    assert len(list(bus.directory.iterdir())) == 4
    assert letters.all() == []


@pytest.mark.parametrize("raw", [b"", b'{"id": "f1", "target": "reactor_core"', b"\xff\xfe", b"[1]", b"[" * 5000, b"7"])
def test_a_half_file_is_left_alone_for_two_seconds_and_then_a_dead_letter(bus, reader, letters, raw):
    path = bus.directory / "1795281095000_f1.json"
    path.write_bytes(raw)
    reader.turn()
    reader.clock.now += 1.9
    reader.turn()
    assert path.exists()

    reader.clock.now += 0.2
    reader.turn()

    (letter,) = letters.all()
    assert not path.exists()
    assert letters.show(letter.identity)[1] == raw
    assert letter.why["from"] == path.name
    assert letter.why["reason"]


def test_a_file_that_grows_is_taken_when_it_is_whole(bus, reader, jobs, letters):
    whole = json.dumps(trinity(ttl_seconds=600))
    path = bus.directory / "1_f1.json"
    for end in range(10, len(whole), 50):
        path.write_text(whole[:end])
        reader.turn()
        reader.clock.now += 1.9
    path.write_text(whole)
    reader.turn()

    assert list(jobs.jobs) == ["cmd-f1"]
    assert letters.all() == []


def test_a_clock_that_was_set_back_makes_no_half_file_a_dead_letter(bus, reader, letters):
    (bus.directory / "1_f1.json").write_text("{")
    reader.turn()
    reader.clock.now -= 86_400
    reader.turn()
    assert letters.all() == []

    reader.clock.now += 2.1
    reader.turn()
    assert len(letters.all()) == 1


def test_a_file_that_is_too_large_is_a_dead_letter_with_its_two_ends(bus, reader, letters, jobs):
    bus.send(trinity(payload={"x": "y" * (1024 * 1024)}))

    reader.turn()

    (letter,) = letters.all()
    raw = letters.show(letter.identity)[1]
    assert "larger than" in letter.why["reason"]
    assert letter.why["truncated"]
    assert raw.startswith(b'{\n  "id": "f1"')
    assert raw.endswith(b"}")
    assert len(raw) < 100_000
    assert (jobs.calls, bus.files()) == ([], [])


def test_what_is_no_regular_file_is_left_alone_counted_and_never_waited_for(bus, reader, letters, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(json.dumps(trinity()))
    os.mkfifo(bus.directory / "1_pipe.json")
    (bus.directory / "2_link.json").symlink_to(secret)
    (bus.directory / "3_dir.json").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(bus.directory / "4_socket.json"))
    bus.send(trinity("f9"))

    for _ in range(4):
        reader.turn()
        reader.clock.now += 3

    assert reader.counts["left_alone"] == 4
    assert len(list(bus.directory.iterdir())) == 4
    assert (letters.all(), reader.executor.done) == ([], ["submit"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of somebody else")
def test_a_command_of_another_user_is_not_obeyed(bus, reader, letters, jobs):
    for name, command in (
        ("1_a", trinity("a")),
        ("2_b", trinity("b", target="jarvis_body")),
        ("3_c", trinity("c", target=None)),
    ):
        path = bus.send(command, f"{name}.json")
        os.chown(path, 12345, 12345)

    reader.turn()

    assert jobs.calls == []
    assert bus.files() == ["2_b.json", "3_c.json"]
    assert "not owned by" in letters.all()[0].why["reason"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of somebody else")
def test_a_queue_of_another_user_is_not_obeyed(bus, reader, jobs):
    bus.enqueue(entry())
    os.chown(bus.queue, 12345, 12345)

    reader.turn()

    assert jobs.calls == []
    assert len(bus.queued()) == 1
    assert "not owned by" in reader.trouble


def test_a_directory_that_every_user_may_write_is_no_place_for_commands(bus, reader, jobs):
    bus.send(trinity())
    bus.directory.chmod(0o777)
    assert reader.turn() == commands.TROUBLE_S
    assert f"chmod o-w {bus.directory}" in reader.trouble
    assert jobs.calls == []

    bus.directory.chmod(0o755)
    reader.turn()
    assert (jobs.done, reader.trouble) == (["submit"], None)


def test_a_name_of_raw_bytes_is_a_name(bus, reader, jobs, letters):
    directory = os.fsencode(bus.directory)
    for name, raw in ((b"1_\xff.json", json.dumps(trinity()).encode()), (b"2_\xfe.json", b"garbage")):
        with open(os.path.join(directory, name), "wb") as file:  # noqa: PTH118, PTH123 - raw bytes
            file.write(raw)
    reader.turn()
    reader.clock.now += 3
    reader.turn()

    assert jobs.done == ["submit"]
    assert letters.all()[0].why["from"] == "2_\\xfe.json"


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


class World:
    """A bus with a command of each kind on it, and the daemon's lives on it."""

    def __init__(self, root, clock):
        self.home, self.clock, self.jobs = Home(root), clock, Jobs()
        self.home.create()
        self.bus = Bus(self.home)
        self.bus.enqueue(entry("c1"), entry("other", target="jarvis_body"), entry("bad", payload=7))
        self.bus.send(trinity("f1", requires_ack=True))
        self.bus.send(trinity("f2", action=7, intent=7))

    def live(self, turns):
        life = Commands(self.home, self.jobs, self.clock)
        try:
            for _ in range(turns):
                life.turn()
        finally:
            life.close()

    def is_as_it_must_be(self):
        assert self.jobs.done == ["submit", "submit"]
        assert sorted(self.jobs.jobs) == ["cmd-c1", "cmd-f1"]
        assert [left["command_id"] for left in self.bus.queued()] == ["other"]
        assert (self.bus.files(), self.bus.responses()) == ([], ["bad", "c1", "f1"])
        assert len(DeadLetters(self.home, self.clock).all()) == 2


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


def test_an_idle_look_does_not_take_the_lock_of_an_unchanged_queue(bus, reader, monkeypatch):
    bus.enqueue(entry(target="jarvis_body"))
    reader.turn()
    monkeypatch.setattr(command_queue, "flocked", lambda *_: pytest.fail("locked for nothing"))
    reader.turn()
