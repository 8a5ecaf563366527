"""Is what we print harmless, and within its width?"""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactord.cli import parts, text

ANY = st.text(st.characters(codec=None, exclude_categories=()))


@given(ANY)
def test_nothing_that_steers_a_terminal_survives(said):
    shown = text.safe(said)
    assert shown.isprintable() or shown == ""
    shown.encode("utf-8")


def test_an_escape_sequence_is_shown_and_not_sent():
    assert text.safe("a\x1b[2Jb\x9b31m\u202ec") == r"a\x1b[2Jb\x9b31m\u202ec"


def test_line_ends_are_visible_and_other_space_is_a_blank():
    assert text.safe("one\ntwo\tthree\u00a0four") == "one↵two three four"


@given(ANY.map(text.safe), st.integers(1, 60))
def test_clipping_never_exceeds_the_width(said, width):
    assert text.cells(text.clip(said, width)) <= width


def test_a_wide_character_takes_two_columns_and_a_mark_none():
    assert text.cells("日本") == 4
    assert text.cells("e\u0301") == 1
    assert text.clip("日本語", 4) == "日…"


@given(st.lists(st.lists(ANY, min_size=3, max_size=3), max_size=5), st.integers(10, 80))
def test_no_line_of_a_table_is_wider_than_the_screen(rows, width):
    for line in text.table(["ONE", "TWO", "THREE"], rows, width):
        assert text.cells(line) <= width
        assert "\x1b" not in line


def test_the_last_column_of_a_table_gives_way_first():
    header, row = text.table(["ID", "WHY"], [["job-1", "because of a long story"]], 16)
    assert row == "job-1  because …"
    assert header == "ID     WHY"


def test_colour_does_not_move_the_columns():
    plain = text.table(["ID", "STATE", "WHY"], [["1", "failed", "x"]], 40)
    paint = text.Paint(on=True)
    coloured = text.table(["ID", "STATE", "WHY"], [["1", "failed", "x"]], 40, colours={1: paint.state})
    assert coloured[1].replace("\x1b[31m", "").replace("\x1b[0m", "") == plain[1]
    assert "\x1b[31m" in coloured[1]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (0.04, "0.0 s"),
        (-3, "0.0 s"),
        (48.4, "48 s"),
        (302, "5 min 02 s"),
        (7380, "2 h 03 min"),
        (273_600, "3 d 04 h"),
    ],
)
def test_durations_use_the_two_units_that_matter(seconds, words):
    assert text.duration(seconds) == words


def test_what_was_not_measured_is_a_dash_and_never_a_zero():
    assert text.number(None) == "-"
    assert text.number(True) == "-"
    assert text.size(None) == "-"
    assert text.clock(None) == "-"
    assert text.number(0) == "0"


def test_numbers_are_rounded_but_never_to_nothing():
    assert [text.number(n, 3) for n in (0.0005, 0.41, 1.0, 21.0, 0.0)] == ["0.0005", "0.410", "1.000", "21", "0.000"]


def test_a_bar_is_as_wide_as_it_was_asked_for():
    assert text.bar(0.0, 8) == "░" * 8
    assert text.bar(0.5, 8) == "████░░░░"
    assert text.bar(7.0, 8) == "█" * 8
    assert {len(text.bar(i / 97, 20)) for i in range(98)} == {20}


def test_a_chart_rises_where_its_values_rise():
    assert text.chart([0, 1, 2, 3, 4, 5, 6, 7], 8) == ["▁▂▃▄▅▆▇█"]
    assert text.chart([1.0, 1.0], 8) == ["▁▁"]
    top, bottom = text.chart([0.0, 1.0], 8, 2)
    assert (top, bottom) == (" █", "▁█")
    assert len(text.chart(list(range(1000)), 50)[0]) == 50


def test_a_curve_ignores_steps_without_a_loss():
    lines = parts.curve([[1, 2.0, 0.5], [2, None, None], [3, 1.0, 1.0]], 80)
    assert "2.0000" in lines[1]
    assert parts.curve([], 80) == ["no step was reported"]


def test_a_judgement_shows_a_dash_where_nothing_was_measured():
    table = parts.judgement({"base": {"preference_accuracy": 0.4}, "candidate": None}, 80)
    assert "0.400" in table[1]
    assert table[1].split()[-1] == "-"


def test_json_on_a_terminal_carries_no_control_characters():
    said = {"a": "x\x9b31m\u202e\x7f", "ü": "日本"}
    written = text.json_text(said)
    assert written.replace("\n", "").isprintable()
    assert json.loads(written) == said


def test_colour_needs_a_terminal_that_wants_it(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert text.Paint.on_stream(Terminal()).on
    assert not text.Paint.on_stream(io.StringIO()).on
    monkeypatch.setenv("NO_COLOR", "1")
    assert not text.Paint.on_stream(Terminal()).on


def test_a_block_is_drawn_over_itself():
    stream = io.StringIO()
    block = text.Block(stream)
    block.draw(["one", "two"])
    block.draw(["three"])
    assert stream.getvalue() == "one\x1b[K\ntwo\x1b[K\n\x1b[J" + "\x1b[2Fthree\x1b[K\n\x1b[J"
