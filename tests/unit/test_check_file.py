"""Does `reactord check-file` say which format a file is and what is wrong with it, whatever the file is?"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sqlite3

import pytest

from reactord.cli import check_file, check_read
from reactord.cli.check_file import MAX_PROBLEMS, check
from reactord.errors import BadConfig
from reactord.formats import FORMATS
from reactord.home import Home
from reactord.ipc import rows

LINE = {"event_id": "e1", "event_type": "interaction", "user_input": "q", "assistant_output": "a"}
TURNS = json.dumps({"turns": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})
GOOD = json.dumps(LINE).encode() + b"\n"


@pytest.fixture
def run(tmp_path, capsys):
    """Check a file; (exit status, standard output)."""

    def go(path=None, *, form=None, as_json=False, schemas=None):
        options = argparse.Namespace(path=path and str(path), format=form, json=as_json, schemas=schemas)
        code = check_file.command(Home(tmp_path / "home"), options)
        return code, capsys.readouterr().out

    return go


@pytest.fixture
def telemetry(tmp_path):
    return tmp_path / "interactions_20261121.jsonl"


# -- which format ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("place", "name", "content", "form"),
    [
        ("telemetry", "interactions_20261121.jsonl", GOOD, "telemetry"),
        ("trinity/events", "5_1_p.json", b'{"payload": {"experiences": []}}', "experiences"),
        ("training/experiences", "anything.jsonl", GOOD, "experience_lines"),
        ("reactor/data", "conversation_1.jsonl", GOOD, "instructions"),
        ("correction_queue", "c1.json", b"{}", "corrections"),
    ],
)
def test_a_file_in_its_place_is_known_by_it(tmp_path, place, name, content, form):
    path = tmp_path / place / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)

    assert (check(path).format, check(path).found_by) == (form, "by its place")


def test_a_place_that_a_variable_names_is_a_place_too(tmp_path, monkeypatch):
    monkeypatch.setenv("JPRIME_REPO_DIR", str(tmp_path / "prime"))
    path = tmp_path / "prime/telemetry/telemetry_20261121_101500.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(GOOD)

    assert check(path).format == "telemetry"


def test_a_variable_may_name_a_place_from_where_we_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CORRECTION_QUEUE_DIR", "queue")
    path = tmp_path / "queue/c1.json"
    path.parent.mkdir()
    path.write_bytes(b"{}")

    assert (check(path).format, check(path).found_by) == ("corrections", "by its place")


def test_elsewhere_it_is_known_by_its_name_else_by_what_it_says_else_it_is_asked_for(tmp_path, telemetry):
    telemetry.write_bytes(GOOD)
    other, garbage = tmp_path / "x.txt", tmp_path / "y.txt"
    other.write_bytes(GOOD)
    garbage.write_bytes(b"\x00\x01garbage")

    assert (check(telemetry).format, check(telemetry).found_by) == ("telemetry", "by its name")
    assert (check(other).format, check(other).found_by) == ("telemetry", "by what it says")
    assert check(garbage).format is None
    assert "--format" in check(garbage).problems[0][1].cure


def test_a_format_that_is_named_is_taken_at_its_word(run, tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(GOOD)

    assert run(path, form="corrections")[0] == 1
    with pytest.raises(BadConfig, match=r"take one of: .*telemetry"):
        run(path, form="telemetri")


# -- what is wrong -----------------------------------------------------------------------------------------------------
def test_a_good_file_says_what_becomes_of_it_and_ends_with_0(run, telemetry):
    telemetry.write_bytes(GOOD * 3)

    code, said = run(telemetry)

    assert code == 0
    assert "telemetry (by its name)" in said
    assert "3  documents, 3 of them fine" in said
    assert "3  experience: answer" in said


def test_each_problem_names_line_and_field_and_what_to_write_and_ends_with_1(run, telemetry):
    telemetry.write_bytes(GOOD + json.dumps({**LINE, "user_rating": "5"}).encode() + b"\n\n{\n")

    code, said = run(telemetry)
    table = [" ".join(row.split()) for row in said.splitlines()[-2:]]

    assert code == 1
    assert table[0] == "2 user_rating is not a number it is a string; write a number"
    assert table[1].startswith("4 - not JSON")


def test_json_says_the_same(run, telemetry):
    telemetry.write_bytes(GOOD + b'{"event_type": 7}\n')

    code, said = run(telemetry, as_json=True)
    report = json.loads(said)

    assert code == 1
    assert (report["format"], report["documents"], report["fine"]) == ("telemetry", 2, 1)
    assert report["becomes"] == {"experience: answer": 1}
    assert report["problems"] == [
        {"line": 2, "field": "event_type", "problem": "is not a string", "write": "it is a number; write a string"}
    ]


def test_the_first_problems_are_shown_and_the_others_counted(run, telemetry):
    telemetry.write_bytes(b"{}\n" * (MAX_PROBLEMS + 7))

    code, said = run(telemetry)

    assert code == 1
    assert said.rstrip().endswith("and 7 more")
    assert len(json.loads(run(telemetry, as_json=True)[1])["problems"]) == MAX_PROBLEMS


def test_what_had_to_be_repaired_is_flagged_and_no_problem(run, telemetry):
    telemetry.write_bytes(
        b"\xef\xbb\xbf" + GOOD
        + rb'{"event_type": "x", "a": NaN, "b": -Infinity, "c": "\ud83d", "\udc00": 1}' + b"\n"
        + rb'{"event_type": "x", "c": "\ud83d\ude00"}' + b"\n"
    )  # fmt: skip

    code, said = run(telemetry, as_json=True)

    assert code == 0
    assert json.loads(said)["repaired"] == {"byte order mark": 1, "NaN": 1, "Infinity": 1, "lone surrogate": 1}


def test_a_last_line_that_has_not_ended_is_said_and_looked_at_all_the_same(telemetry):
    telemetry.write_bytes(GOOD + GOOD.rstrip())
    report = check(telemetry)

    assert [(line, problem.problem) for line, problem in report.problems] == [(2, "the last line has no newline")]
    assert report.fine == 2


def test_bytes_that_steer_a_terminal_are_shown_and_not_sent(run, tmp_path):
    path = tmp_path / "evil\x1b[2J.jsonl"
    path.write_bytes(GOOD)

    assert "\x1b" not in run(path)[1]


# -- what a file can be ------------------------------------------------------------------------------------------------
def test_gzip_is_unpacked(tmp_path):
    path = tmp_path / "job.json.gz"
    path.write_bytes(
        gzip.compress(b'[{"experience_id": "x", "input_data": {"query": "q"}, "output_data": {"response": "a"}}]')
    )

    assert (check(path).format, check(path).problems) == ("experiences", [])


def test_damaged_gzip_is_a_problem(tmp_path):
    path = tmp_path / "job.json.gz"
    path.write_bytes(gzip.compress(os.urandom(5000))[:-400])

    assert "damaged gzip" in check(path).problems[0][1].problem


def test_a_bomb_is_unpacked_no_further_than_the_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(check_read, "MAX_BYTES", 1000)
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(GOOD * 1000))
    report = check(path)

    assert not report.whole
    assert report.documents == 1000 // len(GOOD)
    assert report.problems == []


def test_a_whole_document_that_is_too_large_is_refused_as_the_daemon_would(tmp_path, monkeypatch):
    monkeypatch.setattr(check_read, "MAX_FILE_BYTES", 10)
    path = tmp_path / "experiences_x.json"
    path.write_bytes(b'{"experiences": []}')

    assert "larger than 10 bytes" in check(path).problems[0][1].problem


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (os.mkfifo, "is not a regular file"),
        (os.mkdir, "is a directory"),
        (lambda path: path.symlink_to("/etc/hostname"), "is a symbolic link"),
    ],
    ids=["fifo", "directory", "link"],
)
def test_what_is_no_plain_file_is_said_at_once_and_never_opened(tmp_path, make, problem):
    path = tmp_path / "interactions_20261121.jsonl"
    make(path)

    assert check(path).problems[0][1].problem == problem


def test_a_name_that_is_not_utf_8_is_shown(run, tmp_path):
    path = tmp_path / os.fsdecode(b"interactions\xff.jsonl")
    path.write_bytes(GOOD)

    assert r"interactions\xff" in run(path)[1]


def test_a_file_that_is_not_there_is_the_shells_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        check(tmp_path / "nothing")


def test_the_rows_of_a_database_are_checked_one_by_one(tmp_path):
    path = tmp_path / "conversations.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE conversations(id, data, category, quality_score, raw)")
        found = [("a", TURNS, "c", 0.9, b"\xff"), ("b", TURNS, "c", 0.0, None), ("c", "{}", "c", 0.9, None)]
        db.executemany("INSERT INTO conversations VALUES (?,?,?,?,?)", found)
    db.close()
    report = check(path)

    assert (report.format, report.documents, report.fine) == ("conversations", 3, 1)
    assert [line for line, _ in report.problems] == [2, 3]


@pytest.fixture
def table(tmp_path):
    """A database of so many good rows."""

    def make(n, turns=None):
        path = tmp_path / "conversations.db"
        turns = turns or TURNS
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE conversations(id, data, quality_score)")
            db.executemany("INSERT INTO conversations VALUES (?,?,0.9)", [(f"r{i}", turns) for i in range(n)])
        db.close()
        return path

    return make


@pytest.mark.parametrize(("bound", "value"), [("MAX_ROWS", 2), ("MAX_BYTES", 200)])
def test_of_a_large_table_it_is_said_how_many_rows_of_how_many_were_checked(run, table, monkeypatch, bound, value):
    monkeypatch.setattr(check_read, bound, value)
    path = table(5)

    said, report = run(path)[1], json.loads(run(path, as_json=True)[1])

    assert (report["documents"], report["rows"], report["whole"]) == (2, 5, False)
    assert "only the first 2 of 5 rows were checked; put the others into a database of their own" in said
    assert "64 MiB" not in said


def test_a_table_that_was_checked_to_its_end_is_whole(run, table, monkeypatch):
    monkeypatch.setattr(check_read, "MAX_ROWS", 5)

    report = json.loads(run(table(5), as_json=True)[1])

    assert (report["documents"], report["rows"], report["whole"]) == (5, 5, True)


def test_a_blob_is_read_as_the_daemon_reads_it(table):
    turns = json.dumps({"turns": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "\ufffd"}]})
    report = check(table(1, turns.encode().replace(b"\\ufffd", b"\xff")))

    assert (report.problems, report.becomes) == ([], {"experience: answer": 1})


def test_a_row_that_is_too_large_is_refused_as_the_daemon_would(table, monkeypatch):
    path = table(2)
    monkeypatch.setattr(rows.dropfile, "MAX_FILE_BYTES", 10)

    assert [problem.field for _, problem in check(path).problems] == ["data", "data"]


def test_another_database_is_a_problem(tmp_path):
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE t(a)")
    db.close()

    assert "database without readable conversations" in check(path).problems[0][1].problem


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"\0" * 5000, b"[" * 100_000, b"\xff" * 100, b"{" + b'"a":1,' * 9999]
)
@pytest.mark.parametrize("form", [None, *FORMATS])
def test_no_content_is_more_than_a_problem(tmp_path, content, form):
    path = tmp_path / "x"
    path.write_bytes(content)

    check(path, FORMATS.get(form))


# -- the schemas -------------------------------------------------------------------------------------------------------
def test_the_schemas_are_written_where_they_are_wanted(run, tmp_path):
    code, said = run(schemas=str(tmp_path / "made/schemas"))

    assert code == 0
    assert {f"{name}.json" for name in FORMATS} < {path.name for path in (tmp_path / "made/schemas").iterdir()}
    assert "schemas written to" in said


def test_nothing_to_check_is_wrong_usage(run):
    with pytest.raises(BadConfig, match="check-file PATH"):
        run()
