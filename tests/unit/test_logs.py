"""What the daemon says can be read by a program, and never ends in a pipe."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest

from reactord import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def fresh(monkeypatch):
    """Logging as a new process finds it; what `set_up` changed is put back."""
    root, ours = logging.getLogger(), logging.getLogger("reactord")
    before = root.handlers[:], root.level, ours.level
    monkeypatch.setattr(logging, "raiseExceptions", True)
    monkeypatch.setattr(root, "handlers", [])
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def lines(directory):
    return [json.loads(line) for line in (directory / logs.FILE_NAME).read_text().splitlines()]


def test_a_line_is_one_json_object_with_time_level_logger_and_message(fresh, tmp_path):
    logs.set_up(tmp_path, "INFO")
    logging.getLogger("reactord.jobs").info("job %s:\nready", "j")
    logging.getLogger("reactord.jobs").debug("not asked for")
    logging.getLogger("aiohttp").info("not ours")

    (line,) = lines(tmp_path)

    assert line.pop("at") > 1e9
    assert line == {"level": "INFO", "logger": "reactord.jobs", "message": "job j:\nready"}


def test_a_bug_brings_its_traceback_in_the_same_line(fresh, tmp_path):
    logs.set_up(tmp_path, "INFO")
    try:
        {}["gone"]
    except KeyError as error:
        logging.getLogger("reactord").exception("a bug", exc_info=error)

    (line,) = lines(tmp_path)

    assert line["message"] == "a bug"
    assert line["traceback"].startswith("Traceback")
    assert line["traceback"].endswith("KeyError: 'gone'\n")


def test_a_file_name_that_is_no_utf8_does_not_lose_the_line(fresh, tmp_path):
    logs.set_up(tmp_path, "INFO")
    logging.getLogger("reactord").warning("cannot read %s", b"caf\xe9".decode("utf-8", "surrogateescape"))

    assert lines(tmp_path)[0]["message"] == "cannot read caf\udce9"


def test_nothing_is_written_to_a_stderr_that_is_a_pipe(fresh, tmp_path, monkeypatch):
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    logs.set_up(tmp_path, "INFO")
    logging.getLogger("reactord").error("said")
    logging.getLogger("reactord").error("a bad %d", "call")

    assert pipe.getvalue() == ""
    assert lines(tmp_path)[0]["message"] == "said"


def test_a_terminal_shows_text(fresh, tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    logs.set_up(tmp_path, "INFO")
    logging.getLogger("reactord").warning("careful")

    assert terminal.getvalue().endswith(" W careful\n")
    assert lines(tmp_path)[0]["message"] == "careful"


def test_a_daemon_without_stderr_logs_all_the_same(fresh, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    logs.set_up(tmp_path, "INFO")
    logging.getLogger("reactord").warning("alone")

    assert lines(tmp_path)[0]["message"] == "alone"
