"""Is a file for us done and answered, and every other one left alone or kept aside? (contract/body.md 3.7)"""

from __future__ import annotations

import json
import os
import socket

import pytest
from support.command_bus import trinity

from reactord.ipc import commands

pytestmark = pytest.mark.usefixtures("_errors_are_said")


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
