"""The quick way of a hot format may give up, and must never disagree with the parser."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ledgers import line

from reactord.errors import BadRecord
from reactord.formats import FORMATS, Record
from reactord.formats.telemetry import TelemetryEvent

QUICK = {name: form for name, form in FORMATS.items() if form.identities}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
FIELDS = [*TelemetryEvent.model_fields, "record_id", "prompt", "completion", "unknown"]
BODIES = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=8) | st.fixed_dictionaries(
    {"event_type": st.text(), "event_id": st.text()}, optional=dict.fromkeys(FIELDS[2:], JSON)
)


def _agree(form, raw):
    (identity,) = form.identities([raw])
    if identity is None:
        return False
    items = form.parse(raw, "somewhere")
    assert [type(item) for item in items] == [Record]
    assert items[0].identity == identity
    return True


def test_telemetry_has_a_quick_way_and_it_knows_the_lines_that_are_really_written():
    assert "telemetry" in QUICK
    assert _agree(QUICK["telemetry"], line("a"))
    assert _agree(QUICK["telemetry"], json.dumps({"record_id": "r", "prompt": "p", "completion": "c"}).encode())


@pytest.mark.parametrize("name", QUICK)
@settings(max_examples=400)
@given(body=BODIES)
def test_whatever_the_fields_hold_it_agrees_with_the_parser(name, body):
    _agree(QUICK[name], json.dumps(body).encode())


@pytest.mark.parametrize("name", QUICK)
@settings(max_examples=400)
@given(at=st.integers(0, 200), drop=st.integers(0, 4), put=st.text(max_size=3))
def test_a_line_with_a_few_characters_changed_is_read_alike_or_not_at_all(name, at, drop, put):
    whole = line("an-id", metadata={"a": [1, {"b": "\\u00e9 é"}], "n": 1e3}, user_rating=4).decode()
    raw = (whole[:at] + put + whole[at + drop :]).encode("utf-8", "replace")
    _agree(QUICK[name], raw.replace(b"\n", b" "))


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("depth", [10, 62, 64, 70, 500, 5000])
def test_what_nests_too_deep_is_left_to_the_parser(name, depth):
    raw = line("a").removesuffix(b"}") + b', "unknown": ' + b"[" * depth + b"]" * depth + b"}"
    try:
        good = bool(QUICK[name].parse(raw, "x"))
    except BadRecord:
        good = False
    assert _agree(QUICK[name], raw) <= good
