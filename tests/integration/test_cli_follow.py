"""Do the verbs that stay open show what is new, and leave quietly when asked?"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading

import pytest
from support.cli_house import House

PATIENCE_S = 20


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path / "jarvis")
    yield made
    made.close()


class Following:
    """A verb at work in a process of its own, its lines read as they come."""

    def __init__(self, house, *arguments):
        argv = [sys.executable, "-m", "reactord.cli", *arguments, "--home", str(house.home.root)]
        # said in so many words: readline, which pytest imports, puts COLUMNS where only C code sees it
        self.process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        self.lines = queue.SimpleQueue()
        self.reader = threading.Thread(target=lambda: [self.lines.put(line) for line in self.process.stdout])
        self.reader.start()

    def next(self):
        return self.lines.get(timeout=PATIENCE_S).rstrip("\n")

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(PATIENCE_S) == 130
        self.reader.join(PATIENCE_S)
        return self.process.stderr.read()


@pytest.fixture
def follow(house):
    started = []

    def start(*arguments):
        started.append(Following(house, *arguments))
        return started[-1]

    yield start
    for following in started:
        with contextlib.suppress(ProcessLookupError):
            following.process.kill()
        following.process.wait(PATIENCE_S)
        following.reader.join(PATIENCE_S)
        following.process.stdout.close()
        following.process.stderr.close()


def log_line(message):
    return json.dumps({"at": 1795291000.5, "level": "INFO", "logger": "reactord", "message": message}) + "\n"


def test_events_appear_as_they_happen_and_once(house, follow):
    house.job("job-1")
    events = follow("events", "-f")
    assert events.next().endswith("job-1  100 new experiences (threshold 100)")
    house.job("job-2", ("fail", "killed"))
    assert "job-2" in events.next()
    assert events.next().endswith("job-2  killed")
    assert events.interrupt() == ""
    assert events.lines.empty()


def test_a_log_is_followed_across_its_rotation(house, follow):
    path = house.home.logs / "reactord.jsonl"
    path.write_text(log_line("one"))
    logs = follow("logs", "-f")
    assert logs.next().endswith("reactord: one")
    with path.open("a") as file:
        file.write(log_line("two"))
        file.write(log_line("three")[:20])
        file.flush()
        assert logs.next().endswith("reactord: two")
        file.write(log_line("three")[20:])
    path.rename(path.with_suffix(".jsonl.1"))
    path.write_text(log_line("four"))
    assert logs.next().endswith("reactord: three")
    assert logs.next().endswith("reactord: four")
    assert logs.interrupt() == ""


def test_a_log_that_is_not_there_yet_can_be_followed(house, follow):
    logs = follow("logs", "-f")
    (house.home.logs / "reactord.jsonl").write_text(log_line("first"))
    assert logs.next().endswith("reactord: first")
    assert logs.interrupt() == ""


def test_a_watched_status_is_a_line_a_second_where_there_is_no_terminal(house, follow):
    with house.running():
        status = follow("status", "-w")
        assert "healthy · ready · pending 0 of 0 · no job" in status.next()
        assert "healthy" in status.next()
        assert status.interrupt() == ""


def test_a_watched_status_is_drawn_over_itself_on_a_terminal(house):
    controller, terminal = os.openpty()
    argv = [sys.executable, "-m", "reactord.cli", "status", "-w", "--home", str(house.home.root)]
    process = subprocess.Popen(argv, stdout=terminal, env={**os.environ, "COLUMNS": "80", "TERM": "xterm"})
    os.close(terminal)
    seen = b""
    while seen.count(b"has never run here") < 2:
        seen += os.read(controller, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130
    os.close(controller)
    first, second = re.split(rb"\x1b\[(?=\d+F)", seen)[:2]
    assert first.count(b"\n") == int(second.split(b"F")[0])  # up over its own lines, and no further
    assert b"\x1b[2J" not in seen
