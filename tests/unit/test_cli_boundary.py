"""Does every error become one line that says what to do next, with the exit status that was promised?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli_house import House, reactord

from reactord.cli import main
from reactord.cli.arguments import parser

READING = (["status"], ["jobs"], ["jobs", "job-1"], ["events"], ["models"], ["ledger"], ["logs"], ["doctor"])


def verbs():
    return sorted(parser()._subparsers._group_actions[0].choices)


def test_every_verb_of_the_issue_is_there_and_has_help(capsys):
    expected = "cancel check-file demo dlq doctor events jobs ledger logs models plan run status train version"
    assert verbs() == expected.split()
    for verb in verbs():
        assert main([verb, "--help"]) == 0
        assert "--home" in capsys.readouterr().out


def test_the_home_may_stand_before_or_behind_the_verb(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JARVIS_HOME", str(tmp_path / "environment"))
    for arguments, named in (
        (["status"], "environment"),
        (["--home", str(tmp_path / "before"), "status"], "before"),
        (["status", "--home", str(tmp_path / "behind")], "behind"),
    ):
        main(arguments)
        assert str(tmp_path / named) in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [[], ["dance"], ["status", "--jsno"], ["jobs", "-n", "0"], ["run", "--port", "70000"], ["cancel"]]
)
def test_wrong_usage_is_status_2_and_one_line(arguments, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert "--help" in said.err


def test_version_is_printed(capsys):
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("reactord 0.")


@pytest.mark.parametrize("arguments", READING)
def test_a_missing_home_is_no_traceback(arguments, tmp_path, capsys):
    assert main([*arguments, "--home", str(tmp_path / "no")]) in (0, 1, 3, 4)
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("arguments", READING)
def test_broken_databases_are_no_traceback(arguments, tmp_path, capsys):
    house = House(tmp_path)
    house.close()
    for path in (house.home.state_db, house.home.index_db):
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.write_bytes(b"this is no database, " * 500)
    code = main([*arguments, "--home", str(tmp_path)])
    said = capsys.readouterr()
    if arguments[0] in ("status", "doctor", "logs"):
        assert code in (0, 3, 4)
    else:
        assert code == 1
        assert said.err.startswith("reactord: the ledger cannot be read: ")
        assert said.err.endswith("Check it with: reactord doctor\n")


def test_an_index_without_tables_is_an_error_and_not_a_bug(tmp_path, capsys):
    house = House(tmp_path)
    house.close()
    house.home.index_db.touch()
    assert main(["ledger", "--home", str(tmp_path)]) == 1
    assert "the ledger cannot be read" in capsys.readouterr().err


def test_rows_that_hold_no_json_are_an_error_and_not_a_bug(tmp_path, capsys):
    house = House(tmp_path)
    house.job("job-1")
    house.store.db.execute("UPDATE jobs SET facts = '{torn'")
    house.close()
    assert main(["jobs", "--home", str(tmp_path)]) == 1
    assert "the ledger cannot be read" in capsys.readouterr().err
    assert main(["status", "--home", str(tmp_path)]) == 3


def test_what_is_no_directory_is_named(tmp_path, capsys):
    (tmp_path / "reactor").write_text("a file")
    assert main(["logs", "-f", "--home", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert f"{tmp_path}/reactor/logs/reactord.jsonl: Not a directory" in said


@pytest.mark.parametrize("arguments", [["train"], ["train", "--wait"]])
def test_what_needs_the_daemon_is_status_3_without_it(arguments, tmp_path, capsys):
    assert main([*arguments, "--home", str(tmp_path)]) == 3
    assert capsys.readouterr().err.endswith("Start it: reactord run\n")


def test_a_config_that_cannot_be_used_is_one_line(tmp_path, capsys):
    house = House(tmp_path)
    house.close()
    house.home.config.write_text('{"prot": 8091}')
    assert main(["run", "--home", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "prot" in said


def test_a_user_without_a_home_directory_is_told_to_name_one(monkeypatch, capsys):
    monkeypatch.delenv("JARVIS_HOME", raising=False)
    monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError("no home directory")))
    assert main(["status"]) == 1
    assert "--home DIR" in capsys.readouterr().err


def test_the_module_runs_like_the_command():
    done = reactord("version")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_had_enough_is_no_error(tmp_path):
    house = House(tmp_path)
    for number in range(300):
        house.job(f"job-{number}")
    house.close()
    read, write = os.pipe()
    os.close(read)
    argv = [sys.executable, "-m", "reactord.cli", "events", "-n", "300", "--home", str(tmp_path)]
    done = subprocess.run(argv, stdout=write, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_the_output_is_one_line(tmp_path):
    with Path("/dev/full").open("w") as full:
        argv = [sys.executable, "-m", "reactord.cli", "ledger", "--home", str(tmp_path)]
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == "reactord: No space left on device. Check it with: reactord doctor\n"


def test_closed_streams_are_no_error(tmp_path):
    argv = f"{sys.executable} -m reactord.cli ledger --home {tmp_path} >&- 2>&-"
    assert subprocess.run(argv, shell=True, timeout=60, check=False).returncode == 0


def test_a_stream_that_cannot_show_a_dot_shows_a_question_mark(tmp_path):
    done = reactord("status", home=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 3
    assert done.stdout.startswith("? reactord has never run here")
    assert done.stderr == ""
