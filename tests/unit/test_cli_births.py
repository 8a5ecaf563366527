"""Does `status` say why no job is born, in words and in JSON?"""

from __future__ import annotations

import json
import time

import pytest
from support.cli_house import House

from reactord.cli import main, text
from reactord.cli.births import Births
from reactord.cli.status import screen
from reactord.cli.view import look

PAUSED = {"failures": 4, "job_id": "job-4", "cause": "the disk is full"}


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path / "jarvis")
    yield made
    made.close()


def say(house, **said):
    house.home.births.write_text(json.dumps({"at": time.time(), **said}))


def seen(house, capsys):
    """(exit status, JSON, screen)."""
    with house.running():
        code = main(["status", "--json", "--home", str(house.home.root)])
        said = json.loads(capsys.readouterr().out)
        return code, said, " ".join("\n".join(screen(look(house.home, time.time()), 300, text.Paint(on=False))).split())


def test_score_and_threshold_are_shown_where_the_fresh_ones_are(house, capsys):
    say(house, score={"total": 43.2, "counts": {"correction": 4, "plain": 3}, "complete": True}, score_threshold=100.0)

    code, said, words = seen(house, capsys)

    assert code == 0
    found = {name: value for name, value in said["queue"].items() if name.startswith("score")}
    assert found == {
        "score": 43.2, "score_threshold": 100, "score_complete": True, "score_counts": {"correction": 4, "plain": 3},
    }  # fmt: skip
    assert "score 43.2 of 100" in words
    say(house, score={"total": 103, "counts": {}, "complete": False}, score_threshold=100.0)
    assert "score at least 103 of 100" in seen(house, capsys)[2]


def test_a_pause_says_when_it_will_try_again_and_is_a_problem(house, capsys):
    until = time.time() + 3600
    say(house, paused={**PAUSED, "until": until})

    code, said, words = seen(house, capsys)

    assert code == 4
    assert said["queue"]["paused"]["until"] == until
    assert f"after 4 failures in a row; will try again at {text.clock(until)}" in words
    assert "the disk is full" in words
    assert "reactord jobs job-4" in words


def test_a_pause_that_is_over_is_none(house, capsys):
    say(house, paused={**PAUSED, "until": time.time() - 1})

    code, said, words = seen(house, capsys)

    assert (code, said["queue"]["paused"]) == (0, None)
    assert "again" not in words


def test_the_next_night_and_an_open_one_are_shown(house, capsys):
    opens = time.time() + 7200
    say(house, schedule={"text": "22:00-06:00", "next": opens, "open_until": None})
    assert f"the next night begins at {text.clock(opens)}" in seen(house, capsys)[2]

    say(house, schedule={"text": "22:00-06:00", "next": opens, "open_until": opens - 3600})
    assert f"a night is open until {text.clock(opens - 3600)}" in seen(house, capsys)[2]


def test_a_night_without_its_run_is_a_problem_until_it_is_made_up(house, capsys):
    missed = {"night": "night-2026-11-20-2200", "ended": time.time() - 3600, "why": "the machine slept"}
    say(house, schedule={"text": "22:00-06:00", "next": None, "last_missed": missed, "owed": missed["night"]})
    assert "night-2026-11-20-2200 had no run: the machine slept" in seen(house, capsys)[2]

    say(house, schedule={"text": "22:00-06:00", "next": None, "last_missed": missed, "owed": None})
    assert "had no run" not in seen(house, capsys)[2]


def test_what_a_daemon_that_is_gone_said_counts_no_more(house):
    say(house, paused={**PAUSED, "until": time.time() + 3600})

    assert look(house.home, time.time()).births == Births()


@pytest.mark.parametrize(
    "raw", ["", "{", "[]", '{"score": 3, "schedule": [], "paused": "x"}', '{"paused": {"until": "soon"}}',
            '{"schedule": {"last_missed": 3, "owed": 1, "next": {}}, "score": {"total": true}}']
)  # fmt: skip
def test_a_file_of_another_shape_says_nothing_and_hurts_nobody(house, capsys, raw):
    house.home.births.write_text(raw)

    code, said, _ = seen(house, capsys)

    assert (code, said["queue"]["score"], said["queue"]["paused"]) == (0, None, None)
