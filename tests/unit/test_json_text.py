"""Are the kernels for JSON texts their slow references, and do they tell the truth of what can be parsed?"""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference import json_text as slow

from reactord.kernels import ffi, json_text, lib
from reactord.kernels.json_text import depth_of, object_lines, pieces_of, values_of

MIB = 1 << 20
#: what the kernels look for is drawn more often than chance would
PIECES = st.sampled_from(
    [b'"', b"\\", b'\\"', b"\\\\", b"[", b"]", b"{", b"}", b"{}", b"\n", b"}\n{", b",", b":", b"a"]
)
SOUP = st.binary(max_size=40) | st.lists(PIECES, max_size=40).map(b"".join)
STRINGS = st.text(max_size=9) | st.text('[]{}"\\\n', max_size=9)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | STRINGS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STRINGS, inner, max_size=4),
    max_leaves=12,
)


def depth_of_value(value):
    """The containers of a parsed value that are open at once, at most."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth_of_value, value), default=0) if isinstance(value, list) else 0


# -- depth -------------------------------------------------------------------------------------------------------------
@settings(max_examples=600)
@given(SOUP)
@example(b'"\\')
@example(b'["\\"]')
@example(b'"\\\\\\"[[[')
@example(b'"\\\\"[[[')
@example(b"]}]}[[")
def test_the_depth_equals_its_slow_reference_on_any_bytes(text):
    assert depth_of(text) == slow.depth(text) <= len(text)


@settings(max_examples=250)
@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_the_depth_of_valid_json_is_that_of_the_parsed_value(value, ascii_only, indent):
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert depth_of(text) == depth_of_value(json.loads(text))


@settings(max_examples=250)
@given(VALUES, st.integers(0, 200))
def test_a_json_text_that_is_cut_off_is_never_deeper_than_it_was(value, at):
    text = json.dumps(value).encode()
    assert depth_of(text[:at]) == slow.depth(text[:at]) <= depth_of(text)


@given(st.integers(0, 40))
def test_only_an_even_run_of_backslashes_lets_a_string_end(backslashes):
    text = b'["' + b"\\" * backslashes + b'"[[]]'
    assert depth_of(text) == slow.depth(text) == (1 if backslashes % 2 else 3)


@pytest.mark.parametrize("text", [b"", b" ", b"1", b'"', b'"[{', b"null", b"]", b"\0"])
def test_what_opens_nothing_has_no_depth(text):
    assert depth_of(text) == 0


@pytest.mark.parametrize("piece", [b"[", b"{", b'"', b'\\"', b"[]", b'"[', b"\\"])
@pytest.mark.parametrize("before", [b"", b'"', b'["\\'])
def test_a_megabyte_of_anything_is_quick(piece, before):
    text = before + piece * (MIB // len(piece))
    began = time.perf_counter()
    found = depth_of(text)
    assert time.perf_counter() - began < 0.25
    assert found <= len(text)
    assert found == MIB or piece != b"[" or before


# -- values ------------------------------------------------------------------------------------------------------------
@settings(max_examples=600)
@given(SOUP)
def test_the_values_equal_their_slow_reference_on_any_bytes(text):
    assert values_of(text) == slow.values(text)


def count(value):
    """(values, of them containers) of a parsed value; a key is part of its value."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    counts = [count(one) for one in inner]
    return 1 + sum(n for n, _ in counts), isinstance(value, dict | list) + sum(n for _, n in counts)


@settings(max_examples=250)
@given(VALUES)
def test_valid_json_is_never_more_values_than_were_told_and_exactly_as_many_containers(value):
    values, containers = values_of(json.dumps(value).encode())
    assert count(value)[1] == containers
    assert count(value)[0] <= values <= count(value)[0] + containers  # an empty container holds none


# -- pieces ------------------------------------------------------------------------------------------------------------
@settings(max_examples=900)
@given(
    SOUP | SOUP.map(lambda soup: b"[" + soup + b"]") | SOUP.map(lambda soup: b" {" + soup + b"}\n"), st.integers(1, 12)
)
@example(b"[,]", 1)
@example(b"[1,,2]", 1)
@example(b"[1,2,]", 2)
@example(b'{"a":"}', 1)
@example(b"[", 1)
@example(b"[}", 1)
@example(b"[]]", 1)
def test_the_pieces_equal_their_slow_reference_on_any_bytes(text, least):
    assert pieces_of(text, least) == slow.pieces(text, least)


@settings(max_examples=300)
@given(st.lists(VALUES, max_size=9) | st.dictionaries(STRINGS, VALUES, max_size=9), st.integers(1, 40))
def test_the_pieces_of_valid_json_are_all_of_it_and_small_or_alone(value, least):
    text = json.dumps(value, ensure_ascii=False).encode()
    pieces = pieces_of(text, least)
    inside = b",".join(text[piece.begin : piece.end] for piece in pieces)
    assert text[:1] + inside + text[-1:] == text
    for piece in pieces:
        size = piece.end - piece.begin
        assert size < 2 * least if piece.value < 0 else size >= least
        if piece.value >= 0:
            json.loads(text[piece.value : piece.end])


@given(st.integers(0, 6), st.integers(0, 6))
def test_no_more_pieces_are_told_than_there_is_room_for(elements, cap):
    text, untouched = b"[" + b",".join([b"1"] * elements) + b"]", 99
    pieces = ffi.new("rk_piece[]", [(untouched, untouched, untouched)] * (cap + 1))

    found = lib.rk_json_pieces(text, len(text), 1, pieces, cap)

    assert found == (elements if elements <= cap else lib.RK_EINVAL)
    assert (pieces[cap].begin, pieces[cap].end, pieces[cap].value) == (untouched, untouched, untouched)


# -- lines -------------------------------------------------------------------------------------------------------------
@settings(max_examples=600)
@given(SOUP | st.lists(st.sampled_from([b"{}\n", b"{a}\n", b"{\r}\n", b"{}", b"\n", b"{\n", b"}\n"])).map(b"".join))
@example(b"\n")
@example(b"{}\n\n")
@example(b"{\n}\n")
def test_the_lines_equal_their_slow_reference_on_any_bytes(text):
    assert object_lines(text) == slow.line_ends(text, json_text.MAX_LINES)


@given(st.integers(0, 6), st.integers(0, 6))
def test_no_more_lines_are_told_than_there_is_room_for(lines, cap):
    text, untouched = b"{}\n" * lines, 99
    ends = ffi.new("int64_t[]", [untouched] * (cap + 1))

    found = lib.rk_json_lines(text, len(text), ends, cap)

    wanted = slow.line_ends(text, cap)
    assert found == (lib.RK_EINVAL if wanted is None else len(wanted))
    assert wanted is None or ffi.unpack(ends, cap)[: len(wanted)] == wanted
    assert ends[cap] == untouched


def test_a_text_of_too_many_lines_is_left_to_others(monkeypatch):
    monkeypatch.setattr(json_text, "MAX_LINES", 3)

    assert object_lines(b"{}\n" * 3) == [3, 6, 9]
    assert object_lines(b"{}\n" * 4) is None


@given(st.lists(st.dictionaries(STRINGS, STRINGS | st.lists(STRINGS, max_size=2), max_size=3), max_size=4))
def test_objects_that_are_written_one_a_line_are_found_where_they_are(objects):
    lines = [json.dumps(one).encode() + b"\n" for one in objects]
    text = b"".join(lines)

    ends = object_lines(text)

    assert ends is not None
    assert [json.loads(text[start:end]) for start, end in zip([0, *ends], ends, strict=False)] == objects


@pytest.mark.parametrize("text", [b"{}\n" * (1 << 16), b"{" * MIB, b"{" + b" " * MIB + b"}\n", b"\n" * MIB])
def test_a_megabyte_of_lines_is_quick(text):
    began = time.perf_counter()
    object_lines(text)
    assert time.perf_counter() - began < 0.25
