"""Do the command line and a real daemon understand each other?"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
from support.cli_house import reactord

from reactord.home import Home

PATIENCE_S = 30


@pytest.fixture
def daemon(tmp_path):
    home = tmp_path / "jarvis"
    argv = [sys.executable, "-m", "reactord.cli", "run", "--home", str(home), "--port", "0"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE_S
    while reactord("status", home=home).returncode != 0:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield home, process
    process.terminate()  # not kill: a worker would be left without its daemon
    process.communicate(timeout=PATIENCE_S)


def status(home):
    done = reactord("status", "--json", home=home)
    return done.returncode, json.loads(done.stdout)


def test_a_daemon_is_seen_asked_and_left(daemon):
    home, process = daemon
    code, said = status(home)
    assert (code, said["health"], said["pid"]) == (0, "healthy", process.pid)
    assert said["port"] > 0
    assert said["queue"]["threshold"] == 100

    second = reactord("run", "--port", "0", home=home)
    assert second.returncode == 1
    assert f"held by process {process.pid} on port {said['port']}" in second.stderr
    assert len(second.stderr.splitlines()) == 1

    file = home / "reactor" / "reactord.sock"
    assert file.is_socket()
    asked = reactord("train", home=home)
    assert asked.returncode == 0, asked.stderr
    job = re.match(r"cli-\S+", asked.stdout)[0]
    told = reactord("cancel", job, home=home)
    assert told.returncode in (0, 1), told.stderr  # 1: it was over before we could say so
    found = json.loads(reactord("jobs", job, "--json", home=home).stdout)
    assert found["born_of"] == "cli"
    assert found["history"][0]["topic"] == "job.queued"

    refused = reactord("train", "--recipe", "no such recipe", home=home)
    assert refused.returncode == 1
    assert "choose one of dpo, sft" in refused.stderr
    assert reactord("cancel", "unknown", home=home).returncode == 1
    assert "ready on port" in reactord("logs", home=home).stdout
    assert reactord("events", home=home).stdout.count(job) >= 1

    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    assert not file.exists()
    code, said = status(home)
    assert (code, said["running"], said["state"]) == (3, False, "stopped")
    assert reactord("train", home=home).returncode == 3


def test_a_killed_daemon_is_lost_and_not_alive(daemon):
    home, process = daemon
    process.kill()
    process.wait(PATIENCE_S)
    code, said = status(home)
    assert (code, said["state"], said["health"]) == (3, "lost", "down")


def test_a_config_that_becomes_right_needs_only_another_start(tmp_path):
    (tmp_path / "reactor").mkdir()
    config = tmp_path / "reactor" / "config.json"
    config.write_text('{"port": "eighty"}')
    done = reactord("run", home=tmp_path)
    assert done.returncode == 1
    assert "port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_state_is_one_line_and_stays_as_it_is(tmp_path):
    home = Home(tmp_path)
    home.create()
    home.state_db.write_bytes(b"garbage" * 1000)
    done = reactord("run", "--port", "0", home=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "is damaged" in done.stderr
    assert "move it away" in done.stderr
    assert home.state_db.read_bytes() == b"garbage" * 1000


def test_a_daemon_that_is_drained_takes_nothing_more_and_leaves_by_itself(daemon):
    home, process = daemon
    port = status(home)[1]["port"]

    def ask(path, document):
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(document).encode(), headers)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    ask("/api/v1/experiences/batch", {"experiences": [{"id": "before"}]})
    assert ask("/lifecycle/drain", {"timeout_s": 30})["status"] == "draining"
    with pytest.raises(OSError, match=r"503|refused|reset|closed"):  # a refusal, or it is gone already
        ask("/api/v1/experiences/batch", {"experiences": [{"id": "after"}]})
    assert process.wait(PATIENCE_S) == 0
    assert json.loads(reactord("ledger", "--json", home=home).stdout)["received"] == 1
