"""Do `train` and `cancel` ask the daemon the right thing, and say what became of it?"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from support.cli_house import House

from reactord.cli import main, train


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path / "jarvis")
    yield made
    made.close()


class Daemon:
    """Answers on a port of its own as the sidecar would; `heard` is what it was asked."""

    def __init__(self, path=None):
        self.heard, self.answer = [], (200, {"status": "started"})
        self.then = lambda _body: None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.heard.append((self.path, body))
                outer.then(body)
                status, answer = outer.answer
                raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_):
                pass

            def address_string(self):
                return "a socket file has no address"

        if path is None:
            self.server = HTTPServer(("127.0.0.1", 0), Handler)
            self.port = self.server.server_address[1]
        else:
            self.server = socketserver.UnixStreamServer(str(path), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join(10)
        self.server.server_close()


@pytest.fixture
def daemon():
    made = Daemon()
    yield made
    made.close()


@pytest.fixture
def run(house, daemon, capsys, monkeypatch):
    monkeypatch.setattr(train, "POLL_S", 0.01)

    def go(*arguments):
        with house.running(port=daemon.port):
            code = main([*arguments, "--home", str(house.home.root)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return go


def test_a_job_is_asked_for_under_an_id_of_ours(run, daemon):
    code, out, _ = run("train", "--recipe", "sft")
    path, body = daemon.heard[0]
    assert (code, path) == (0, "/api/training/start")
    assert body == {
        "job_id": body["job_id"], "model_type": "llm", "experiences": [], "config": {}, "source": "reactord-cli",
        "recipe": "sft",
    }  # fmt: skip
    assert body["job_id"].startswith("cli-")
    assert out == f"{body['job_id']} is queued; watch it: reactord status -w\n"


def test_a_job_may_be_told_to_wait_for_its_data(run, daemon):
    run("train", "--needs", "500", "--after", "job-1")

    body = daemon.heard[0][1]
    assert (body["needs_experiences"], body["needs_dataset"]) == (500, "job-1")
    assert "recipe" not in body


def test_two_requests_have_two_ids(run, daemon):
    run("train")
    run("train")
    assert daemon.heard[0][1]["job_id"] != daemon.heard[1][1]["job_id"]


def test_train_as_json_names_the_job(run, daemon):
    said = json.loads(run("train", "--json")[1])
    assert said == {"schema_version": 1, "job_id": daemon.heard[0][1]["job_id"], "state": "queued"}


def test_the_words_of_a_refusal_are_passed_on(run, daemon):
    daemon.answer = (400, {"error": "recipe `x\x1b[2J` is unknown; use dpo or sft"})
    code, out, err = run("train")
    assert (code, out) == (1, "")
    assert "the daemon refused (400): recipe `x\\x1b[2J` is unknown; use dpo or sft" in err


def test_an_answer_that_is_no_json_is_an_error(run, daemon):
    daemon.answer = (200, b"<html>")
    code, _, err = run("train")
    assert code == 1
    assert "<html>" in err


def test_a_daemon_that_does_not_answer_is_named_with_its_port(house, capsys):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with house.running(port=port):
        assert main(["train", "--home", str(house.home.root)]) == 1
    err = capsys.readouterr().err
    assert f"port {port}) does not answer: ConnectionRefusedError" in err
    assert err.endswith("See: reactord logs\n")


@pytest.fixture
def file_daemon(house):
    made = Daemon(house.home.http_socket)
    yield made
    made.close()


def test_the_socket_file_is_asked_before_the_port(house, daemon, file_daemon):
    with house.running(port=daemon.port, socket=str(house.home.http_socket)):
        assert main(["train", "--home", str(house.home.root)]) == 0
    assert ([path for path, _ in file_daemon.heard], daemon.heard) == (["/api/training/start"], [])


def test_a_refusal_through_the_file_is_not_asked_for_again_at_the_port(house, daemon, file_daemon, capsys):
    file_daemon.answer = (429, {"error": "too many submissions; ask again in 1 s"})
    with house.running(port=daemon.port, socket=str(house.home.http_socket)):
        assert main(["train", "--home", str(house.home.root)]) == 1
    assert "refused (429)" in capsys.readouterr().err
    assert daemon.heard == []


def test_what_breaks_off_behind_the_file_is_not_asked_for_again_at_the_port(house, daemon, capsys):
    with socket.socket(socket.AF_UNIX) as rude:
        rude.bind(str(house.home.http_socket))
        rude.listen()

        def take_and_close():
            rude.accept()[0].close()

        hang_up = threading.Thread(target=take_and_close)
        hang_up.start()
        with house.running(port=daemon.port, socket=str(house.home.http_socket)):
            assert main(["train", "--home", str(house.home.root)]) == 1
        hang_up.join(10)
    assert "does not answer" in capsys.readouterr().err
    assert daemon.heard == []


@pytest.mark.parametrize("path", [None, "no/such/file", "x" * 200, 7])
def test_without_a_socket_file_the_port_is_asked(house, daemon, path):
    with house.running(port=daemon.port, socket=path):
        assert main(["train", "--home", str(house.home.root)]) == 0
    assert len(daemon.heard) == 1


def born(house, *moves):
    """What the daemon does with a request: the job appears, and goes its way."""
    return lambda body: house_job(house, body["job_id"], moves)


def house_job(house, job_id, moves):
    from reactord.ledger.state import Store

    mine, house.store = house.store, Store(house.home.state_db)  # SQLite wants one connection per thread
    house.machine.store = house.store
    house.job(job_id, *moves)
    house.step(job_id, 12)
    house.store.close()
    house.store = house.machine.store = mine


GOOD = (
    ("admit", "its turn"),
    ("start", "granted"),
    ("export", "trained"),
    ("deploy", "passed"),
    ("complete", "deployed"),
)
WORSE = (*GOOD[:3], ("reject", "3 empty replies"))


def test_waiting_ends_with_the_job_and_its_status(house, run, daemon):
    daemon.then = born(house, *GOOD)
    code, out, err = run("train", "--wait")
    assert code == 0
    assert "completed: deployed" in out
    assert "completed · train 12/24" in err


@pytest.mark.parametrize("moves", [WORSE, (("fail", "killed"),), (("cancel", "on request"),)])
def test_a_job_that_did_not_end_well_is_status_5(house, run, daemon, moves):
    daemon.then = born(house, *moves)
    code, out, _ = run("train", "--wait")
    assert code == 5
    assert moves[-1][1] in out
    assert "more: reactord jobs cli-" in out


def test_waiting_as_json_says_how_it_ended(house, run, daemon):
    daemon.then = born(house, *WORSE)
    code, out, _ = run("train", "--wait", "--json")
    said = json.loads(out)
    assert (code, said["state"], said["cause"], said["schema_version"]) == (5, "rejected", "3 empty replies", 1)


def test_nobody_waits_for_ever_for_a_daemon_that_is_gone(house, daemon, capsys, monkeypatch):
    monkeypatch.setattr(train, "POLL_S", 0.01)
    monkeypatch.setattr(train, "PATIENCE_S", 0.05)
    alive = contextlib.ExitStack()

    def accept_and_die(body):
        house_job(house, body["job_id"], GOOD[:2])
        alive.close()

    daemon.then = accept_and_die
    with alive:
        alive.enter_context(house.running(port=daemon.port))
        assert main(["train", "--wait", "--home", str(house.home.root)]) == 3
    assert "goes on when it is started again: reactord run" in capsys.readouterr().err


def test_a_job_that_never_appears_is_an_error(run, monkeypatch):
    monkeypatch.setattr(train, "APPEARS_S", 0.05)
    code, _, err = run("train", "--wait")
    assert code == 1
    assert "was accepted but is not in the ledger" in err


def test_cancel_names_the_job_to_the_daemon(house, run, daemon):
    house.job("job-1", *GOOD[:2])
    code, out, _ = run("cancel", "job-1")
    assert (code, daemon.heard[0][0]) == (0, "/api/training/cancel/job-1")
    assert "job-1 is told to stop" in out


def test_a_finished_job_is_not_cancelled(house, run, daemon):
    house.job("job-1", *GOOD)
    code, out, err = run("cancel", "job-1")
    assert (code, out, daemon.heard) == (0, "", [])
    assert "job-1 is completed already" in err


def test_an_unknown_job_cannot_be_cancelled(run, daemon):
    code, _, err = run("cancel", "../../health")
    assert (code, daemon.heard) == (1, [])
    assert "there is no job" in err
