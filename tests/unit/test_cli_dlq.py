"""Can a person read, bring back and remove dead letters, as text and as JSON, with the right exit status?"""

from __future__ import annotations

import argparse
import json
import time

import pytest

from reactord.cli import dlq, exits
from reactord.errors import BadRequest
from reactord.ipc.deadletter import DeadLetters, Why

COMMAND = {"id": "f1", "intent": "train", "target": "reactor_core", "payload": {"note": "a\x1b[31mb"}}


@pytest.fixture
def letters(home):
    return DeadLetters(home, time.time)


@pytest.fixture
def run(home, capsys, monkeypatch):
    """Run one command line, as reactord.cli.arguments parses it; (exit status, standard output, standard error)."""
    monkeypatch.setenv("COLUMNS", "160")

    def go(*arguments):
        code = dlq.command(home, _parse(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    return go


def _parse(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("action", choices=("list", "show", "replay", "drop"))
    parser.add_argument("id", nargs="?")
    parser.add_argument("--all", action="store_true")
    return parser.parse_args(arguments)


def put(letters, raw=None, **changes):
    known = {"reason": "train failed 5 times", "came_from": "1_f1.json", "first_seen": time.time() - 60, "attempts": 5,
             "last_error": "no space left", "command_id": "f1", "action": "train"}  # fmt: skip
    return letters.put(json.dumps(COMMAND).encode() if raw is None else raw, Why(**(known | changes)))


def test_no_dead_letters_is_a_message_and_no_data(run, home):
    assert run("list") == (0, "", "no dead letters: every command could be read and done\n")
    assert json.loads(run("list", "--json")[1]) == {
        "schema_version": 1, "letters": [], "dropped": {"total": 0, "reasons": {}},
    }  # fmt: skip
    assert not (home.trinity / "dlq").exists()


def test_the_list_says_what_failed_how_often_and_why(run, letters):
    identity = put(letters)
    code, out, _ = run("list")
    header, line = out.splitlines()
    assert code == exits.OK
    assert header.split() == ["ID", "AGE", "TRIES", "ACTION", "FROM", "WHY"]
    assert line.startswith(identity)
    assert line.endswith("5      train   1_f1.json  train failed 5 times; no space left")


def test_the_list_as_json_has_everything_known(run, letters):
    identity = put(letters)
    (said,) = json.loads(run("list", "--json")[1])["letters"]
    assert (said["id"], said["attempts"], said["from"], said["last_error"]) == (
        identity,
        5,
        "1_f1.json",
        "no space left",
    )
    assert said["first_seen"] < said["at"]


def test_the_list_tells_what_was_dropped(run, letters):
    letters.drop(put(letters))
    assert "1 more were dropped: by hand 1" in run("list")[2]
    assert json.loads(run("list", "--json")[1])["dropped"]["reasons"] == {"by hand": 1}


def test_a_letter_is_shown_with_its_reason_and_its_bytes_and_steers_no_terminal(run, letters):
    identity = put(letters)
    code, out, _ = run("show", identity)
    assert code == exits.OK
    for said in (identity, "reason      train failed 5 times", "last_error  no space left", '"intent": "train"'):
        assert said in out, said
    assert "\x1b" not in out


def test_bytes_that_are_no_json_are_shown_too(run, letters):
    identity = put(letters, b"\xff\x1b]0;title\x07{")
    assert "\\xff\\x1b]0;title\\x07{" in run("show", identity)[1]
    assert "\x1b" not in run("show", identity, "--json")[1]


def test_a_letter_as_json_is_everything(run, letters):
    identity = put(letters)
    said = json.loads(run("show", identity, "--json")[1])
    assert said["schema_version"] == 1
    assert json.loads(said["letter"]["bytes"]) == COMMAND
    assert said["letter"]["command_id"] == "f1"


def test_a_replay_says_the_new_id_and_the_letter_is_gone(run, letters, home):
    identity = put(letters)
    code, out, _ = run("replay", identity)
    (path,) = (home.trinity / "commands").glob("*.json")
    new_id = json.loads(path.read_bytes())["id"]
    assert (code, out) == (exits.OK, f"{identity} is a command again: {new_id}\n")
    assert letters.all() == []


def test_a_replay_as_json(run, letters):
    identity = put(letters)
    said = json.loads(run("replay", identity, "--json")[1])
    assert said["id"] == identity
    assert said["command_id"].startswith("f1-r")


def test_drop_removes_one(run, letters):
    gone, kept = put(letters), put(letters, b"{")
    assert run("drop", gone) == (exits.OK, f"{gone} is dropped\n", "")
    assert [letter.identity for letter in letters.all()] == [kept]


def test_drop_all_removes_all_and_says_how_many(run, letters):
    put(letters)
    put(letters, b"{")
    assert json.loads(run("drop", "--all", "--json")[1]) == {"schema_version": 1, "dropped": 2}
    assert run("drop", "--all") == (exits.OK, "0 dropped\n", "")


@pytest.mark.parametrize("verb", ["show", "replay", "drop"])
def test_a_wrong_id_is_an_error_with_the_next_command(run, letters, verb):
    put(letters)
    for wrong in ("nope", "1795281095000-aaaaaaaaaaaa", "\x1b[31m"):
        with pytest.raises(BadRequest, match="see: reactord dlq list") as refused:
            run(verb, wrong)
        assert "\x1b" not in str(refused.value)
    assert len(letters.all()) == 1


@pytest.mark.parametrize(
    "line", [["show"], ["replay"], ["drop"], ["replay", "--all"], ["show", "x", "--all"], ["drop", "x", "--all"]]
)
def test_a_verb_without_its_id_is_wrong_usage(run, letters, line):
    put(letters)
    code, out, err = run(*line)
    assert (code, out) == (exits.USAGE, "")
    assert "See: reactord dlq list" in err
    assert len(letters.all()) == 1


def test_what_cannot_be_replayed_says_why_and_stays(run, letters):
    identity = put(letters, b"{")
    with pytest.raises(BadRequest, match="is no command"):
        run("replay", identity)
    assert len(letters.all()) == 1
