"""Does `status` say what the files say, whether the daemon runs or not?"""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace

import pytest
from support.cli_house import PORT, House

from reactord.cli import main, text
from reactord.cli.status import one_line, screen
from reactord.cli.view import look
from reactord.home import Home
from reactord.ipc.room import CRITICAL, GIB, LOW, Room

PLAIN = text.Paint(on=False)


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path / "jarvis")
    yield made
    made.close()


def shown(house, width=100):
    return "\n".join(screen(look(house.home, time.time()), width, PLAIN))


def as_json(house, capsys, *arguments):
    code = main([*(arguments or ("status",)), "--json", "--home", str(house.home.root)])
    return code, json.loads(capsys.readouterr().out)


def test_a_home_that_does_not_exist_is_down_and_is_not_made(tmp_path, capsys):
    assert main(["status", "--home", str(tmp_path / "no")]) == 3
    assert "has never run here; start it: reactord run" in capsys.readouterr().out
    assert not (tmp_path / "no").exists()


def test_a_running_daemon_is_healthy(house, capsys):
    with house.running():
        code, said = as_json(house, capsys)
    assert code == 0
    assert (said["schema_version"], said["health"], said["running"], said["state"]) == (1, "healthy", True, "ready")
    assert said["port"] == PORT
    assert said["uptime_s"] == pytest.approx(7380, abs=5)
    unknown = ("score", "score_complete", "score_counts", "score_threshold", "schedule", "paused")
    assert said["queue"] == {"queued": 0, "fresh": 0, "threshold": 100, **dict.fromkeys(unknown)}


def test_looking_does_not_keep_a_daemon_from_starting(house):
    look(house.home, time.time())
    assert not house.home.daemon_lock.exists()


def test_a_daemon_that_said_goodbye_is_stopped_since_then(house):
    house.state(status="offline", timestamp=time.time() - 7380)
    assert "is not running: it stopped 2 h 03 min ago" in shown(house)


def test_a_daemon_that_was_killed_is_not_taken_for_alive(house):
    house.state(timestamp=time.time() - 42)
    view = look(house.home, time.time())
    assert (view.health, view.daemon.state) == ("down", "lost")
    assert "ended without goodbye, last heard 42 s ago" in shown(house)


def test_the_state_of_a_killed_predecessor_says_nothing_about_the_new_daemon(house):
    with house.running(pid=1, status="degraded", errors=["disk full"]):
        view = look(house.home, time.time())
    assert (view.daemon.state, view.daemon.errors, view.health) == ("starting", [], "healthy")


def test_a_trouble_of_the_daemon_degrades_it_and_names_the_command(house, capsys):
    with house.running(errors=["cannot take anything in: No space left on device"]):
        code, said = as_json(house, capsys)
        words = shown(house)
    assert code == 4
    assert said["problems"][0]["command"] == "reactord logs"
    assert "No space left on device" in words
    assert "→ reactord logs" in words


def test_a_daemon_that_lives_but_is_silent_is_degraded(house):
    with house.running(timestamp=time.time() - 100):
        view = look(house.home, time.time())
    assert view.health == "degraded"
    assert "said nothing for 100 s" in view.problems[0].text


def _room(monkeypatch, free):
    disk = SimpleNamespace(f_bavail=free, f_blocks=1000 * GIB, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)


def test_a_full_disk_degrades_even_a_daemon_that_says_nothing_of_it(house, capsys, monkeypatch):
    _room(monkeypatch, CRITICAL[1] - 1)
    with house.running():
        code, said = as_json(house, capsys)
    assert (code, said["health"]) == (4, "degraded")
    assert any("little room on the disk of" in str(problem) for problem in said["problems"])


def test_little_room_is_said_once_also_when_the_daemon_says_it(house, capsys, monkeypatch):
    _room(monkeypatch, LOW[1] - 1)
    room = Room(house.home.ledger)
    room.look()
    with house.running(errors=[room.trouble]):
        said = as_json(house, capsys)[1]
    assert [problem["text"] for problem in said["problems"]] == [room.trouble]


def test_a_disk_that_may_not_be_looked_at_is_a_problem_and_no_end(house, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "statvfs", refused)
    assert any("Permission denied" in problem.text for problem in look(house.home, time.time()).problems)


def test_the_ledger_line_adds_up(house, capsys):
    house.interactions(4)
    house.receive('{"not": "a record"}')
    code, said = as_json(house, capsys)
    ledger = said["ledger"]
    assert (ledger["received"], ledger["pending"], ledger["duplicates"], ledger["balanced"]) == (5, 4, 0, True)
    assert sum(ledger["rejected"].values()) == 1
    assert said["queue"]["fresh"] == 4
    assert "5 received, balanced: 4 pending · 0 in datasets · 0 held out · 1 rejected · 0 duplicates" in shown(house)
    assert code == 3  # shown all the same, though nothing runs


def test_records_that_a_job_has_looked_at_are_not_fresh(house):
    house.interactions(4)
    house.job("job-1", ("admit", "its turn"), ("fail", "no evidence"), upto=3)
    with house.running():
        assert "0 waiting · 1 of 100 new experiences that start the next job" in shown(house)


def test_the_job_at_work_shows_its_bar_loss_and_eta(house):
    house.job("job-1", ("admit", "its turn"), ("start", "granted"))
    house.job("job-2")
    house.step("job-1", 6)
    house.step("job-1", 12, loss=0.4123, reward_accuracy=0.94)
    house.progress("job-1", "train", "checkpoint", step=12, path="x", size_bytes=1)
    with house.running():
        words = shown(house)
    assert "job-1 training: granted" in words
    assert "██████████░░░░░░░░░░  50%  train 12/24" in words
    assert "loss 0.4123 · reward accuracy 0.94 · ETA 24 s · worker 2.0 GB" in words
    assert "1 waiting" in words


def test_a_job_that_waits_for_memory_says_what_was_measured(house, capsys):
    house.job("job-1", ("admit", "its turn"), waits_for="needs 4.0 GiB, 1.0 GiB can be given")
    with house.running():
        assert "job-1 reserving: needs 4.0 GiB, 1.0 GiB can be given" in shown(house)
        assert as_json(house, capsys)[1]["job"]["cause"] == "needs 4.0 GiB, 1.0 GiB can be given"


def test_a_stage_without_steps_shows_what_it_does(house):
    house.job("job-1", ("admit", "its turn"), ("start", "granted"))
    house.step("job-1", 24)
    house.progress("job-1", "export", "work", text="quantising to Q8_0", done=3, total=5, unit="files")
    words = shown(house)
    assert "60%  export: quantising to Q8_0" in words
    assert "loss" not in words


def test_a_recipe_without_rewards_shows_a_dash(house):
    house.job("job-1", ("admit", "its turn"), ("start", "granted"))
    house.step("job-1", 3, reward_accuracy=None)
    assert "reward accuracy -" in shown(house)


def test_torn_progress_costs_a_picture_not_the_answer(house):
    house.job("job-1", ("admit", "its turn"), ("start", "granted"))
    (house.home.jobs / "job-1" / "progress.jsonl").write_bytes(b'{"at": 1, "stage": }\n{"half')
    assert "job-1 training" in shown(house)


def test_the_model_in_service_stands_beside_its_base(house, capsys):
    house.model("v1.0.0", "superseded", "job-0")
    house.model("v1.1.0", "deployed", "job-1")
    _, said = as_json(house, capsys)
    assert said["model"]["version"] == "v1.1.0"
    assert said["model"]["candidate"]["preference_accuracy"] == 0.96
    assert said["model"]["base"]["preference_accuracy"] == 0.41
    words = shown(house, 160)
    assert "jarvis-m v1.1.0, since 1 min 00 s, 144 MB" in words
    assert "preference 0.96 (base 0.41) · exact 0.71 (base 0.43)" in words


def test_the_last_failures_name_the_command_that_explains_each(house):
    for number in range(5):
        house.job(f"job-{number}", ("fail", f"cause {number}"))
    words = shown(house)
    assert words.count("failed: cause") == 3
    assert "→ reactord jobs job-" in words


def test_a_failure_of_yesterday_does_not_degrade_a_daemon_that_works(house, capsys):
    house.job("job-1", ("fail", "killed"))
    with house.running():
        assert as_json(house, capsys)[0] == 0


@pytest.mark.parametrize("name", ["state_db", "index_db"])
def test_a_broken_database_is_a_problem_and_the_rest_is_shown(house, capsys, name):
    house.interactions(3)
    house.close()
    path = getattr(house.home, name)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.write_bytes(b"this is no database, " * 500)
    with house.running():
        code, said = as_json(house, capsys)
    assert code == 4
    assert "not a database" in said["problems"][0]["text"]
    assert said["problems"][0]["command"] == "reactord doctor"
    assert (said["ledger"] is None) == (name == "index_db")


def test_no_line_is_wider_than_the_screen(house):
    house.trained()
    house.model("v1.0.0", "deployed", "job-1")
    house.job("job-2", ("admit", "日本" * 200), ("start", "\x1b[31m" * 100))
    house.step("job-2", 1)
    with house.running(errors=["é" * 500]):
        view = look(house.home, time.time())
    for width in (20, 40, 80, 200):
        for line in screen(view, width, PLAIN):
            assert text.cells(line) <= max(width, 11), (width, line)
            assert "\x1b" not in line


def test_the_first_screen_is_about_a_dozen_lines(house):
    house.trained()
    house.model("v1.0.0", "deployed", "job-1")
    house.job("job-2", ("admit", "its turn"), ("start", "granted"))
    house.step("job-2", 1)
    with house.running():
        assert len(shown(house).splitlines()) <= 14


def test_colours_are_in_the_line_and_words_stay_the_same(house):
    house.job("job-1", ("fail", "killed"))
    with house.running(errors=["trouble"]):
        view = look(house.home, time.time())
    coloured = screen(view, 80, text.Paint(on=True))
    plain = [
        line.replace("\x1b[0m", "").replace("\x1b[2m", "").replace("\x1b[1m", "").replace("\x1b[33m", "")
        for line in coloured
    ]
    assert plain == screen(view, 80, PLAIN)
    assert plain != coloured


def test_one_line_says_it_all_for_a_log(house):
    house.interactions(2)
    house.job("job-1", ("admit", "its turn"), ("start", "granted"))
    house.step("job-1", 12)
    with house.running():
        line = one_line(look(house.home, time.time()))
    assert "healthy · ready · pending 2 of 2 · job-1 training · train 12/24" in line
    assert "\n" not in line


def test_an_unreadable_home_is_one_line_not_a_traceback(tmp_path):
    (tmp_path / "reactor").write_text("a file where a directory should be")
    view = look(Home(tmp_path), time.time())
    assert view.problems[0].command == "reactord doctor"
