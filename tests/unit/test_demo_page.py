"""Is the demo's page drawn from its figures alone, within the screen, and harmless?"""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cli_house import BASE, CANDIDATE

from reactord.cli import text
from reactord.demo import page

PLAIN = text.Paint(on=False)
FIGURES = {
    "deployed": True, "version": "v1.0.0", "model_id": "m", "gguf": "/h/models/m-v1.0.0.gguf", "loop_s": 301.5,
    "peak_rss_mb": 2900, "peak_worker_rss_mb": 2840, "stop_s": 0.21, "home": "/h", "trouble": None,
    "job": {"id": "job-1", "state": "completed", "cause": "v1.0.0 is deployed"},
    "dataset": {"received": 640, "pending": 5, "in_datasets": 500, "held_out": 100, "rejected": {"alone": 30},
                "duplicates": 5, "balanced": True, "train": 320, "holdout": 57, "by_evidence": {"brevity": 300}},
    "training": {"curve": [[1, 2.0, 0.5], [2, 0.5, 1.0]]}, "base": BASE, "candidate": CANDIDATE,
    "chosen": "Q8_0.gguf", "verdict": "pass", "reasons": [],
    "answers": {"of": 57, "shown": [{"prompt": "What is 2 + 2?", "before": "The answer is 5.", "after": "4",
                                     "expected": "4", "right_before": False, "right_after": True}]},
    "phases": [{"name": "train", "s": 61.0}, {"name": "judge", "s": 30.5}],
    "written": [{"what": "deployed model", "path": "/h/models/m-v1.0.0.gguf", "size_bytes": 144_000_000}],
    "worker_log": [],
}  # fmt: skip
NONE = {"of": 0, "shown": []}


def drawn(width=100, **changes):
    return page.lines({**copy.deepcopy(FIGURES), **changes}, width, PLAIN)


def test_the_headline_says_time_and_memory():
    assert drawn()[1] == ("✓ v1.0.0 is deployed: telemetry in, a better model out, in 5 min 02 s with 3.0 GB of memory")


def test_each_held_out_prompt_stands_with_both_answers_and_what_was_right():
    lines = drawn()
    at = next(i for i, line in enumerate(lines) if "What is 2 + 2?" in line)
    assert lines[at : at + 3] == [
        "     1  What is 2 + 2?  (4)"[2:], "      before ✗ The answer is 5.", "      after  ✓ 4"
    ]  # fmt: skip


def test_an_answer_nobody_can_check_is_neither_right_nor_wrong():
    answer = {"prompt": "Tell me a joke", "before": "x", "after": "", "expected": None, "right_before": None}
    said = "\n".join(drawn(answers={"of": 1, "shown": [answer]}))
    assert "before · x" in said
    assert "after  · (empty)" in said


def test_the_times_are_drawn_in_proportion():
    lines = [line for line in drawn() if line.strip().startswith(("train", "judge"))][-2:]
    assert lines[0].count("█") == 20
    assert lines[1].count("█") == 10


def test_a_failure_shows_cause_and_the_workers_last_words_and_no_empty_tables():
    nothing = dict.fromkeys(BASE)
    said = "\n".join(drawn(
        deployed=False, verdict=None, base=nothing, candidate=nothing, answers=NONE, loop_s=None,
        training={"curve": []},
        job={"id": "job-1", "state": "failed", "cause": "killed"}, worker_log=["MemoryError"],
    ))  # fmt: skip
    assert "✗ nothing was deployed: failed: killed" in said
    assert "    MemoryError" in said
    assert "judged on" not in said
    assert "loss" not in said
    assert "in all                       -" in said


def test_a_ledger_that_does_not_balance_is_shouted():
    assert any("THE LEDGER DOES NOT BALANCE" in line for line in drawn(dataset={"received": 1, "balanced": False}))


def test_nothing_is_invented_where_nothing_is_known():
    empty = {
        "deployed": False, "version": None, "loop_s": None, "peak_rss_mb": None, "peak_worker_rss_mb": None,
        "stop_s": None, "job": None, "dataset": {}, "training": {"curve": []}, "base": {}, "candidate": {},
        "verdict": None, "answers": NONE, "phases": [], "written": [], "trouble": None,
    }  # fmt: skip
    said = "\n".join(drawn(**empty))
    assert "✗ nothing was deployed: no job was born" in said
    assert "peak memory                  -" in said


ANY = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)


@settings(max_examples=50, deadline=None)
@given(ANY, ANY, st.sampled_from([40, 80, 120]))
def test_prompts_and_replies_cannot_steer_the_terminal_nor_break_the_lines(prompt, reply, width):
    answer = {"prompt": prompt, "before": reply, "after": reply * 5, "expected": prompt, "right_after": True}
    lines = drawn(width, answers={"of": 3, "shown": [answer] * 3}, reasons=[reply], worker_log=[reply], deployed=False)
    for line in lines:
        assert line.isprintable()
    at = next(i for i, line in enumerate(lines) if line == "3 of 3 held-out prompts, before and after")
    for line in lines[at + 1 : at + 10]:
        assert text.cells(line) <= width


@pytest.mark.parametrize("width", [40, 80, 120])
def test_everything_but_titles_paths_and_commands_fits_the_screen(width):
    for line in drawn(width):
        if "/" not in line:
            assert text.cells(line) <= max(width, 56), line
