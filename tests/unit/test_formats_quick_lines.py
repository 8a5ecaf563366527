"""The lines of a chunk lead to the same rows of the index, whether they are known at once or looked at one by one."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.ledgers import chunk, line

from reactord.formats import FORMATS
from reactord.formats.records import MAX_DEPTH
from reactord.kernels import json_text
from reactord.ledger.journal import Place
from reactord.ledger.staged import Staged

NAMED = [name for name, form in FORMATS.items() if form.quick]
SLOW = {name: dataclasses.replace(FORMATS[name], quick=None) for name in NAMED}


def _staged(entries):
    """All that the index would be given of these entries, and what was refused on the way."""
    refusals = []
    staged = Staged(0, lambda entry, *where: refusals.append((entry.raw, *where)))
    for n, entry in enumerate(entries):
        staged.add(Place(1, 1000 * n), entry)
    rows = {field.name: getattr(staged, field.name) for field in dataclasses.fields(staged)}
    return {**rows, "on_refused": refusals}


def _both_ways(entries):
    """What is staged the quick way, once the slow way has come to the same."""
    quick = _staged(entries)
    with pytest.MonkeyPatch.context() as patched:
        for name in NAMED:
            patched.setitem(FORMATS, name, SLOW[name])
        assert _staged(entries) == quick
    return quick


def _deep(levels):
    return line("deep").removesuffix(b"}") + b', "unknown": ' + b"[" * levels + b"]" * levels + b"}"


GOOD = st.builds(line, st.sampled_from(["a", "b", "c", "é"]), text=st.text(max_size=3)) | st.sampled_from(
    [json.dumps({"record_id": "r", "prompt": "p", "completion": "c"}).encode(), _deep(MAX_DEPTH - 1)]
)
BAD = st.sampled_from([
    b"", b"  ", b"\t", b"\r", b"{", b"}", b"{}", b"[]", b"7", b"null", b"{broken}", b"garbage", b"\xff",
    b"\xef\xbb\xbf", line(), line("x" * 257), line("nan", user_rating=float("nan")), line("cr") + b"\r",
    b" " + line("indented"),
    line("bom").replace(b"{", b"\xef\xbb\xbf{", 1), line("byte", text="@").replace(b"@", b"\xff"),
    line("half", text="@").replace(b"@", b"\\ud800"), line("zero", text="@").replace(b"@", b"\0"),
    line("one") + line("two"), line("one") + b" " + line("two"), line("one") + b"," + line("two"),
    line("open")[:-1], line("open", text="}")[:-2], b'{"event_type": "x", "event_id": "spread", "data": {}', b"{},{}",
    b'{"event_type": "x", "event_id": "text}', b'{"}', b"{[{}", b"}]}", _deep(MAX_DEPTH), _deep(MAX_DEPTH + 1),
    _deep(5000),
])  # fmt: skip
LINES = st.lists(GOOD, max_size=6) | st.lists(GOOD | BAD, max_size=6)


@settings(max_examples=1000)
@given(chunks=st.lists(LINES, min_size=1, max_size=3), start=st.integers(0, 9), room=st.sampled_from([2, 1 << 17]))
@example([[line("one") + b" " + line("two"), b'{"event_type": "x", "event_id": "text}', b'{"}']], 0, 9)
@example([[line("one") + line("two"), b""]], 0, 9)
@example([[line("a"), b"", line("b")]], 0, 9)
@example([[_deep(MAX_DEPTH - 1)[:-1], b"}" + _deep(MAX_DEPTH - 1)]], 0, 9)
def test_a_chunk_of_any_lines_leads_to_the_same_rows_both_ways(chunks, start, room):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_text, "MAX_LINES", room)
        _both_ways([chunk(lines, start) for lines in chunks])


PIECES = st.binary(max_size=3) | st.sampled_from([b"\n", b"}\n{", b"{", b"}", b'"', b"\\", b"}{", b"[", b"\r\n"])


@settings(max_examples=500)
@given(lines=st.lists(GOOD, min_size=1, max_size=3), at=st.integers(0, 300), drop=st.integers(0, 4), put=PIECES)
def test_a_chunk_with_a_few_bytes_changed_leads_to_the_same_rows_both_ways(lines, at, drop, put):
    entry = chunk(lines)
    end = len(entry.raw) - 1  # a chunk ends with a whole line
    raw = entry.raw[:at] + put + entry.raw[min(at + drop, end) :] if at < end else entry.raw
    _both_ways([dataclasses.replace(entry, raw=raw)])


def test_a_chunk_of_good_lines_is_known_at_once_and_every_record_lies_where_its_line_is():
    lines = [line("a"), line("b", text="é"), line("a"), _deep(MAX_DEPTH - 1)]
    entry = chunk(lines)

    assert FORMATS["telemetry"].quick.of_lines(entry.raw) is not None
    rows = _both_ways([entry])["records"]

    assert [entry.raw[offset : offset + length] for _, _, offset, length, _ in rows] == lines
    assert rows[0][0] == rows[2][0]
    assert len({identity for identity, *_ in rows}) == 3


@pytest.mark.parametrize("bad", [b"", b" ", b"{broken}", line(), _deep(MAX_DEPTH), line("one") + line("two")])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_one_line_that_needs_a_look_among_good_ones_is_looked_at(bad, at):
    lines = [line("a"), line("b")]
    lines.insert(at, bad)
    entry = chunk(lines)

    assert FORMATS["telemetry"].quick.of_lines(entry.raw) is None
    staged = _both_ways([entry])

    assert len(staged["records"]) == 3 - (not bad.strip())
    assert len(staged["refused"]) == len(staged["on_refused"]) == (len(staged["records"]) - 2) * (bad != line())
