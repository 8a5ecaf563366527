"""The quick way of a hot format may give up, and must never disagree with the parser."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.ledgers import line

from reactord.errors import BadRecord
from reactord.formats import FORMATS
from reactord.formats.autonomy import REQUIRED
from reactord.formats.items import ITEM_KEYS, PACKET_KEYS
from reactord.formats.records import MAX_DEPTH
from reactord.formats.telemetry import TelemetryEvent

QUICK = {name: form for name, form in FORMATS.items() if form.quick}
SLOW = {name: dataclasses.replace(form, quick=None) for name, form in QUICK.items()}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def _outcome(form, raw):
    """What a format says of a document, or why it refuses it."""
    try:
        return list(form.said(raw, "somewhere"))
    except BadRecord as bad:
        return str(bad)


def _agree(name, raw):
    """Whether the quick way knew the document; that it says the same as the parser is checked."""
    assert _outcome(QUICK[name], raw) == _outcome(SLOW[name], raw)
    return QUICK[name].quick.of(raw) is not None


# -- texts: what json.dumps would never write is among them, so they are put together from parts -----------------------
def _object(*fields, at_least=0):
    """JSON objects with these (key, strategy of its text); each field may be missing, come twice, in any order."""
    pairs = st.one_of(*(value.map(lambda text, key=key: f"{json.dumps(key)}: {text}") for key, value in fields))
    return st.lists(pairs, min_size=at_least, max_size=5).map(lambda parts: f"{{{', '.join(parts)}}}")


def _list(items):
    return st.lists(items, max_size=4).map(lambda parts: f"[{', '.join(parts)}]")


def _told(value):
    return st.sampled_from([json.dumps(value), json.dumps(value, ensure_ascii=False)])


#: \udcff stands for a byte that is no UTF-8
STRANGE = st.sampled_from([
    "null", "true", "0", "-0", "1.5", "1e3", "1e999", "-1e999", "NaN", "Infinity", "-Infinity", "9" * 19, "9" * 20,
    "-" + "9" * 30, "01", "1.", "", '"', '""', '"a', '"\\ud800"', '"\\ud83c\\udfd6"', '"\udcff"', '"\\q"', '"\t"',
    '"\0"', '"\\u0000"', '"[{"', "[]", "{}", "[1,]", "{,}", "[" * 70 + "]" * 70, '"\ufeff"', '"é🏖"',
    "nul", "}", "]", "/**/1",
])  # fmt: skip
ANYTHING = STRANGE | JSON.flatmap(_told)
NAME = st.sampled_from([
    '"a"', '"b"', '"c"', '"\\u0061"', '"a b"', '"é"', '" "', '""', "null", "1", "true", '["a"]', '{"id": "a"}',
    '"\\ud800"', '"\\u0000"', '"\udcff"', json.dumps("x" * 256), json.dumps("x" * 257),
    json.dumps("é" * 256, ensure_ascii=False), json.dumps("🏖" * 256, ensure_ascii=False), json.dumps("🏖" * 257),
])  # fmt: skip
GOOD_NAME = st.sampled_from(['"a"', '"b"', '"c"', '"é"', '"\\u0061"'])


def _text(texts):
    """The bytes of a text, with what may stand around it."""
    around = st.sampled_from(["", "", "", " ", "\n", "\ufeff", "\0", "{}", "]"])
    return st.tuples(around, texts, around).map(lambda parts: "".join(parts).encode("utf-8", "surrogateescape"))


# -- telemetry ---------------------------------------------------------------------------------------------------------
FIELDS = [*TelemetryEvent.model_fields, "record_id", "prompt", "completion", "unknown"]
BODIES = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=8) | st.fixed_dictionaries(
    {"event_type": st.text(), "event_id": st.text()}, optional=dict.fromkeys(FIELDS[2:], JSON)
)
LINE_TEXTS = _object(
    ("event_type", st.just('"e"')), ("event_id", NAME), ("record_id", NAME), ("prompt", st.just('"p"') | STRANGE),
    ("completion", st.just('"c"') | STRANGE), ("user_rating", STRANGE), ("metadata", STRANGE), ("unknown", STRANGE),
)  # fmt: skip


def test_telemetry_has_a_quick_way_and_it_knows_the_lines_that_are_really_written():
    assert _agree("telemetry", line("a"))
    assert _agree("telemetry", json.dumps({"record_id": "r", "prompt": "p", "completion": "c"}).encode())


@settings(max_examples=400)
@given(body=BODIES)
def test_whatever_the_fields_of_telemetry_hold_both_ways_agree(body):
    _agree("telemetry", json.dumps(body).encode())


@settings(max_examples=500)
@given(raw=_text(LINE_TEXTS))
def test_however_a_line_of_telemetry_is_written_both_ways_agree(raw):
    _agree("telemetry", raw)


# -- experiences -------------------------------------------------------------------------------------------------------
METADATA = st.sampled_from([json.dumps(dict.fromkeys(keys, "m")) for keys in (REQUIRED, REQUIRED[1:])]) | STRANGE
KIND = st.sampled_from(['"autonomy:committed"', '"autonomy:"', '"chat"', "null", "1"])
ITEM = _object(*((key, NAME) for key in ITEM_KEYS), ("type", KIND), ("metadata", METADATA), ("x", ANYTHING))
GOOD_ITEM = _object(*((key, GOOD_NAME) for key in ITEM_KEYS), ("x", JSON.flatmap(_told)), at_least=1)
ITEMS = _list(GOOD_ITEM) | _list(GOOD_ITEM | ITEM | STRANGE) | _list(ITEM)
PACKET = _object(("experiences", ITEMS), ("experiences", ITEMS | STRANGE), *((key, NAME) for key in PACKET_KEYS),
                 ("x", ANYTHING))  # fmt: skip
EVENT_TYPE = st.sampled_from(['"learning_signal"', '"curriculum_x"', '"heartbeat"', '"data_batch_ready"', "1", "null"])
DOCUMENT = _object(
    ("experiences", ITEMS), ("payload", PACKET), ("payload", PACKET | STRANGE), ("event_type", EVENT_TYPE),
    ("experience", ITEM), *((key, NAME) for key in PACKET_KEYS), ("x", ANYTHING),
)  # fmt: skip
PACKETS = GOOD_ITEM.map("[{}]".format).map(lambda found: f'{{"experiences": {found}}}')


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ({"batch_id": "b", "experiences": [{"experience_id": "e", "id": "i"}, {"record_id": "r"}]}, ["e", "r"]),
        ({"event_type": "learning_signal", "payload": {"packet_id": "p", "experiences": [{"id": "i"}]}}, ["i"]),
        ({"experiences": [{"id": "outer"}], "payload": {"experiences": [{"id": "inner"}]}}, ["inner"]),
        ({"experiences": [{"id": "outer"}], "payload": {"experiences": None}}, ["outer"]),
        ({"experiences": [{"id": "outer"}], "payload": None}, ["outer"]),
        ({"experiences": []}, []),
        ({"experiences": [{"id": "a", "type": None}, {"id": "a", "type": "chat"}]}, ["a", "a"]),
    ],
)
def test_the_quick_way_knows_the_packets_that_are_really_written(document, names):
    raw = json.dumps(document).encode()
    assert _agree("experiences", raw)
    assert QUICK["experiences"].quick.of(raw) == names


@pytest.mark.parametrize(
    "document",
    [
        [{"id": "a"}],
        {"experience": {"id": "a"}},
        {"experiences": [{"id": "a"}, {}]},
        {"experiences": [{"id": "a"}, 7]},
        {"experiences": [{"id": "a"}, {"id": "x" * 257}]},
        {"experiences": [{"id": "a"}, {"id": "b", "type": "autonomy:failed"}]},
        {"experiences": [{"id": 1, "record_id": "a"}]},
        {"event_type": "heartbeat", "payload": {}},
        {"payload": {"experiences": "none"}, "experiences": [{"id": "a"}]},
    ],
)
def test_what_needs_a_look_is_left_to_the_parser(document):
    assert not _agree("experiences", json.dumps(document).encode())


@settings(max_examples=1500)
@given(raw=_text(DOCUMENT | ITEMS | ITEM | PACKET))
@example(b'{"experiences": [{"id": "a", "id": null}]}')
@example(b'{"experiences": [{"id": "a"}], "experiences": null}')
@example(b'{"payload": {"experiences": [{"id": "a"}]}, "payload": {}}')
@example(b'{"experiences": [{"id": "a", "x": "\xff"}]}')
@example(b'{"experiences": [{"id": "a", "x": NaN}]}')
@example(b'{"experiences": [{"id": "a", "x": 1e999}]}')
@example(b'\xef\xbb\xbf{"experiences": [{"id": "a"}]}')
def test_however_a_file_of_experiences_is_written_both_ways_agree(raw):
    _agree("experiences", raw)


@settings(max_examples=500)
@given(
    raw=_text(PACKETS), at=st.integers(0, 60), drop=st.integers(0, 4), put=st.text(max_size=3) | st.binary(max_size=2)
)
def test_a_packet_with_a_few_characters_changed_is_read_alike(raw, at, drop, put):
    put = put.encode("utf-8", "replace") if isinstance(put, str) else put
    _agree("experiences", raw[:at] + put + raw[at + drop :])


def test_a_packet_of_too_many_items_is_refused_both_ways(monkeypatch):
    for module in ("items", "experiences"):
        monkeypatch.setattr(f"reactord.formats.{module}.MAX_ITEMS", 2)
    raw = json.dumps({"experiences": [{"id": str(n)} for n in range(3)]}).encode()

    assert not _agree("experiences", raw)


# -- both --------------------------------------------------------------------------------------------------------------
WHOLE = {
    "telemetry": line("an-id", metadata={"a": [1, {"b": "\\u00e9 é"}], "n": 1e3}, user_rating=4).decode(),
    "experiences": '{"payload": {"x": "\\u00e9 é", "experiences": [{"id": "a", "n": [1e3]}, {"event_id": "b"}]}}',
}


def test_every_quick_way_is_tested_here():
    assert QUICK.keys() == WHOLE.keys()
    assert all(_agree(name, text.encode()) for name, text in WHOLE.items())


@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=400)
@given(at=st.integers(0, 200), drop=st.integers(0, 4), put=st.text(max_size=3) | st.sampled_from(["\udcff", "\udc80"]))
def test_a_document_with_a_few_characters_changed_is_read_alike(name, at, drop, put):
    whole = WHOLE[name]
    raw = (whole[:at] + put + whole[at + drop :]).encode("utf-8", "surrogateescape" if put >= "\udc00" else "replace")
    _agree(name, raw.replace(b"\n", b" "))


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("brackets", ["[]", "{}"])
@pytest.mark.parametrize("depth", [10, *range(MAX_DEPTH - 4, MAX_DEPTH + 4), 70, 500, 5000])
def test_what_nests_too_deep_is_refused_both_ways(name, brackets, depth):
    opened = brackets[0] if brackets == "[]" else '{"a":'
    deep = opened * depth + ("1" if brackets == "{}" else "") + brackets[1] * depth
    whole = WHOLE[name]

    assert _agree(name, f'{whole[:-1]}, "unknown": {deep}}}'.encode()) == (depth < MAX_DEPTH)
    _agree(name, f"{whole[:-3]}, {deep}{whole[-3:]}".encode())
    _agree(name, whole.replace("[1", f"[{deep}, 1").encode())
