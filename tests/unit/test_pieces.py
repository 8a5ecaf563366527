"""Is a text that is parsed in pieces what it would be in one, and does nobody wait for more than a piece?"""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reactord.errors import BadRecord
from reactord.formats import pieces
from reactord.formats.mended import mended
from reactord.formats.pieces import elements, parsed
from reactord.formats.records import load, load_some

#: with pieces of so few bytes every way of cutting is met
SMALL = st.integers(1, 30)
STRINGS = st.text(max_size=9) | st.text('[]{}:,"\\\n ', max_size=9)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | STRINGS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(STRINGS, inner, max_size=5),
    max_leaves=25,
)
TOKENS = st.sampled_from(
    [b"[", b"]", b"{", b"}", b",", b":", b" ", b"1", b"null", b'"a"', b'"b":2', b'"', b"[1,2]", b'{"c":[]}', b"\\"]
)


def smaller(monkeypatch, size):
    monkeypatch.setattr(pieces, "SMALL_BYTES", size)


@settings(max_examples=500)
@given(VALUES, SMALL, st.sampled_from([None, 1]))
def test_valid_json_is_the_same_in_pieces(value, small, indent):
    text = json.dumps(value, ensure_ascii=False, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        smaller(patch, small)
        assert parsed(text, _loads) == json.loads(text)


def _loads(text):
    return json.loads(bytes(text))


def _outcome(parse, text):
    try:
        return parse(text)
    except ValueError:
        return ValueError


@settings(max_examples=1000)
@given(st.lists(TOKENS, max_size=14).map(b"".join), SMALL)
@example(b"[1,2,]", 2)
@example(b"[,1,2]", 1)
@example(b"[1,,2]", 1)
@example(b"[[1],,[2]]", 2)
@example(b'{"a":1,}', 1)
@example(b'["b":2]', 1)
@example(b"{1:2}", 1)
@example(b"[[1]:[2]]", 1)
@example(b'{"a":1:2}', 1)
@example(b"[1]]", 1)
@example(b"[1}", 1)
@example(b"[ ]", 1)
def test_what_is_no_json_in_one_piece_is_none_in_several(text, small):
    with pytest.MonkeyPatch.context() as patch:
        smaller(patch, small)
        assert _outcome(lambda text: parsed(text, _loads), text) == _outcome(_loads, text)


@settings(max_examples=300)
@given(st.lists(TOKENS, max_size=14).map(b"".join) | VALUES.map(lambda value: json.dumps(value).encode()), SMALL)
def test_the_elements_of_a_list_are_those_of_the_parsed_list_and_nothing_else_is_a_list(text, small):
    with pytest.MonkeyPatch.context() as patch:
        smaller(patch, small)
        found = _outcome(lambda text: [one for some in elements(text, _loads, len) for one in some], text)
    whole = _outcome(_loads, text)
    assert found == (whole if isinstance(whole, list) else ValueError)


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b"[]," * 40_000 + b"0]", b'{"a": [' + b'{"b": {}},' * 20_000 + b"0]}",
        b"{" + b",".join(b'"%d": [1]' % n for n in range(20_000)) + b"}",
        b"[" * 60 + b"[]," * 40_000 + b"0" + b"]" * 60, b" " * 100_000 + b"[" + b"[]," * 40_000 + b"0]",
        b"[" + b" " * 100_000 + b"[]," + b"[]," * 40_000 + b"0]",
    ],
)  # fmt: skip
def test_nobody_waits_for_more_than_a_piece(text):
    sizes = []

    def parse(piece):
        sizes.append(len(bytes(piece).strip()))
        return orjson.loads(piece)

    assert parsed(text, parse) == orjson.loads(text)
    assert max(sizes) <= 2 * pieces.SMALL_BYTES + 2
    assert len(sizes) > 1


@pytest.mark.parametrize("end", [b"", b"]", b"}", b'"', b",]", b"x]"])
def test_of_what_is_not_whole_no_more_is_parsed_than_a_piece(end):
    """A parser that finds the damage at the end has made everything before it."""
    sizes = []

    def parse(piece):
        sizes.append(len(bytes(piece).strip()))
        return orjson.loads(piece)

    text = b"[" + b"[]," * 40_000 + (end or b"[]")
    with pytest.raises(ValueError):  # noqa: PT011 - whatever the parser raises
        parsed(text, parse)
    assert max(sizes, default=0) <= 2 * pieces.SMALL_BYTES + 2


# -- what else is mended -----------------------------------------------------------------------------------------------
LARGE = b'"%s"' % (b"x" * pieces.SMALL_BYTES)


@pytest.mark.parametrize(
    ("text", "value", "what"),
    [
        (b"\xef\xbb\xbf[1,%s]" % LARGE, [1, LARGE[1:-1].decode()], ["byte order mark"]),
        (b"[NaN,-Infinity,%s]" % LARGE, [None, None, LARGE[1:-1].decode()], ["Infinity", "NaN"]),
        (b'["\\ud800",%s]' % LARGE, ["?", LARGE[1:-1].decode()], ["lone surrogate"]),
        (b'{"a":1e400,"b":%s,"c":%s}' % (b"9" * 40, LARGE), {"a": None, "b": 1e40, "c": LARGE[1:-1].decode()}, None),
    ],
)
def test_a_large_text_is_mended_like_a_small_one(text, value, what):
    assert load(text) == value
    if what is not None:
        assert [found.what for found in mended(text)] == what


@pytest.mark.parametrize("text", [b"[" * 200_000, b"[" * 70 + LARGE + b"]" * 70])
def test_what_is_deep_and_large_is_not_parsed_at_all(text, monkeypatch):
    monkeypatch.setattr(orjson, "loads", None)
    with pytest.raises(BadRecord, match="nested deeper"):
        load(text)
    with pytest.raises(BadRecord, match="nested deeper"):
        list(load_some(text, len))


def test_a_large_element_is_looked_at_before_it_is_parsed():
    looked = []
    text = b"[1, [%s], 2]" % LARGE
    assert [one for some in load_some(text, looked.append) for one in some] == [1, [LARGE[1:-1].decode()], 2]
    assert [bytes(one).strip() for one in looked] == [b"[%s]" % LARGE]
