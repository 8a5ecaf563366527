from __future__ import annotations

import json
import random

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactord.errors import BadRecord
from reactord.formats import FORMATS, Notice, Pointer, Record, Refusal
from reactord.formats.experiences import MAX_ITEMS
from reactord.formats.experiences import parse as experiences
from reactord.formats.records import MAX_DEPTH, MAX_IDENTITY_CHARACTERS, load
from reactord.formats.telemetry import parse as telemetry

CANONICAL = {
    "event_id": "11111111-2222-3333-4444-555555555555", "schema_version": "1.0", "event_type": "interaction",
    "source": "jarvis_body", "timestamp": "2026-11-21T10:00:00+00:00", "user_input": "What is 2 + 2?",
    "assistant_output": "4", "system_context": None, "outcome": "success", "confidence": 0.9, "model_id": "m",
    "latency_ms": 12.5, "tokens_used": 3, "session_id": "s", "task_type": "math", "complexity_level": "simple",
    "original_response": None, "corrected_response": None, "user_rating": None, "feedback_text": None, "metadata": {},
    "retry_count": 0,
}  # fmt: skip
RAW = {
    "event_id": "e-7", "event_type": "correction", "timestamp": 1795281245.1, "source": "jarvis_agent",
    "data": {"user_input": "2+2", "original_response": "5", "corrected_response": "4"}, "retry_count": 0,
    "created_at": 1795281245.1, "correlation_id": None, "schema_version": "1.0",
}  # fmt: skip
PRIME = {"record_id": "r-9", "prompt": "2+2", "completion": "4", "x_jarvis_routing": {"tier": 1}}
ITEM = {"experience_id": "x-1", "experience_type": "conversation", "input_data": {}, "output_data": {}}


def _bytes(value):
    return json.dumps(value).encode()


# -- telemetry ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("line", "identity"), [(CANONICAL, CANONICAL["event_id"]), (RAW, "e-7"), (PRIME, "r-9")])
def test_each_form_of_a_telemetry_line_is_one_record_under_its_own_id_and_kept_as_sent(line, identity):
    assert telemetry(_bytes(line), "f@0") == [Record(identity, line)]


@pytest.mark.parametrize(
    "line",
    [
        b"", b" ", b"\0" * 100, b"{", b"null", b"17", b'"text"', b"[]", b"{}", b'{"event_type": 7}',
        b'{"prompt": "p"}', b'{"a": 1} {"b": 2}', b"\xff\xfe", b"not JSON at all",
    ],
)  # fmt: skip
def test_what_is_no_telemetry_is_refused_in_words(line):
    with pytest.raises(BadRecord, match=r"\w+"):
        telemetry(line, "f@0")


def test_lines_without_an_id_are_told_apart_by_their_place_and_a_replay_is_not():
    line = _bytes({"event_type": "interaction"})
    first, second, again = (telemetry(line, where)[0].identity for where in ("f@0", "f@31", "f@0"))

    assert first == again != second


@pytest.mark.parametrize(
    ("field", "value"),
    [("user_input", 17), ("assistant_output", ["a"]), ("outcome", {}), ("user_rating", "5"), ("user_rating", True),
     ("metadata", []), ("data", "d"), ("event_type", None), ("model_id", 1.5)],
)  # fmt: skip
def test_a_field_that_we_use_and_that_is_of_another_kind_is_refused_and_named(field, value):
    with pytest.raises(BadRecord, match=rf"^{field} is not .*; write "):
        telemetry(_bytes({**CANONICAL, field: value}), "f@0")


def test_a_field_that_we_do_not_use_may_be_anything():
    line = {**CANONICAL, "confidence": "very", "tokens_used": [], "of tomorrow": {}}

    assert telemetry(_bytes(line), "f@0") == [Record(CANONICAL["event_id"], line)]


@pytest.mark.parametrize("wrong", ["", "x" * (MAX_IDENTITY_CHARACTERS + 1), 7, None, ["a"], {"a": 1}])
def test_an_id_that_is_empty_too_long_or_no_text_is_no_id(wrong):
    body = {**RAW, "event_id": wrong}

    assert telemetry(_bytes(body), "f@0")[0].identity == telemetry(_bytes(body), "f@0")[0].identity
    assert telemetry(_bytes(body), "f@0")[0].identity != telemetry(_bytes(body), "f@1")[0].identity


def test_an_id_of_the_greatest_length_is_taken():
    assert telemetry(_bytes({**RAW, "event_id": "x" * MAX_IDENTITY_CHARACTERS}), "")[0].identity == "x" * 256


# -- experiences -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "document",
    [
        {"batch_id": "b-1", "model_type": "llm", "experiences": [ITEM]},
        {
            "event_type": "learning_signal", "event_id": "p-1", "source": "jarvis", "target": "reactor_core",
            "timestamp": 1.5, "priority": 5,
            "payload": {"signal_type": "experience_batch", "packet_id": "p-1", "experiences": [ITEM], "batch_size": 1},
            "metadata": {"retry_count": 0},
        },
        [ITEM],
    ],
    ids=["as documented", "as really written", "a bare list"],
)  # fmt: skip
def test_each_form_of_an_experience_file_gives_its_items(document):
    assert experiences(_bytes(document), "f.json") == [Record("x-1", ITEM)]


@pytest.mark.parametrize("kind", ["interaction_end", "correction", "feedback"])
def test_a_single_event_is_one_record(kind):
    event = {"event_type": kind, "event_id": "e-1", "payload": {"user_input": "hi"}}

    (record,) = experiences(_bytes(event), "5_1_a.json")

    assert record == Record("e-1", {"user_input": "hi", "event_type": kind, "event_id": "e-1"})


def test_items_without_an_id_are_named_by_their_packet_and_place_so_that_the_same_packet_by_two_routes_is_one():
    by_file = {"event_id": "p-1", "event_type": "learning_signal", "payload": {"packet_id": "p-1", "experiences": [{}]}}
    by_bus = {"packet_id": "p-1", "experiences": [{}]}

    assert experiences(_bytes(by_file), "a")[0].identity == experiences(_bytes(by_bus), "b")[0].identity == "p-1:0"


def test_items_without_an_id_in_a_file_without_a_name_are_named_by_name_and_content():
    one, other = experiences(b"[{}, {}]", "a.json"), experiences(b"[{}, {}]", "b.json")

    assert len({record.identity for record in [*one, *other]}) == 4
    assert experiences(b"[{}, {}]", "a.json") == one


@pytest.mark.parametrize("item", [1, "x", None, [], 1.5, True])
def test_an_item_that_is_no_object_is_refused_by_itself_and_its_neighbours_stay(item):
    before, refused, after = experiences(_bytes([ITEM, item, {"id": "x-2"}]), "f.json")

    assert isinstance(before, Record)
    assert isinstance(after, Record)
    assert refused == Refusal(refused.identity, "experience_not_an_object")


@pytest.mark.parametrize(
    "document", [b"", b"{}", b"7", b'"x"', b"null", b'{"experiences": {}}', b'{"experiences": "x"}',
                 b'{"payload": [1]}', b'{"payload": {}}', b'{"event_type": "x", "payload": 3}'],
)  # fmt: skip
def test_a_file_without_a_list_of_experiences_is_refused_in_words(document):
    with pytest.raises(BadRecord, match=r"\w+"):
        experiences(document, "f.json")


def test_an_empty_list_is_a_complete_file_of_no_records():
    assert experiences(b"[]", "f.json") == []


def test_too_many_items_are_refused_as_a_whole():
    with pytest.raises(BadRecord, match="send at most"):
        experiences(b"[" + b"1," * MAX_ITEMS + b"1]", "f.json")


# -- what JSON can do to us --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": NaN, "b": [Infinity, -Infinity, 1.5]}', {"a": None, "b": [None, None, 1.5]}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (rb'{"a": "\ud800x", "\udc00": 1}', {"a": "?x", "?": 1}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{"a": 18446744073709551615}', {"a": 2**64 - 1}),
        (b'{"a": 18446744073709551616}', {"a": float(2**64)}),
        (b'{"a": NaN, "b": 18446744073709551616}', {"a": None, "b": float(2**64)}),
        (b'{"a": NaN, "b": 18446744073709551615, "c": -9223372036854775808}', {"a": None, "b": 2**64 - 1, "c": -2**63}),
        (b'{"a": 1' + b"0" * 400 + b"}", {"a": None}),
        (b'{"a": 1e400}', {"a": None}),
    ],
)  # fmt: skip
def test_what_other_writers_call_json_gets_a_second_chance_and_can_be_written_again(raw, value):
    assert load(raw) == value
    assert orjson.loads(orjson.dumps(load(raw))) == value


def test_an_integer_of_five_thousand_digits_is_refused_and_not_computed():
    with pytest.raises(BadRecord):
        load(b"1" * 5000)


@pytest.mark.parametrize("depth", [*range(60, 70), 254, 255, 1023, 1024, 1025, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_what_is_nested_deeper_than_the_limit_is_refused(depth, opening, closing):
    inner = b"1" if opening != b"[" else b""
    raw = opening * depth + inner + closing * depth
    if depth <= MAX_DEPTH:
        orjson.dumps(load(raw))
    else:
        with pytest.raises(BadRecord):
            load(raw)


def test_deep_nesting_that_needs_the_second_chance_is_refused_too():
    with pytest.raises(BadRecord):
        load(b"[" * 100_000 + b"NaN" + b"]" * 100_000)


@pytest.mark.parametrize("name", FORMATS)
@given(raw=st.binary(max_size=200))
def test_no_bytes_at_all_do_more_than_be_refused(name, raw):
    try:
        found = FORMATS[name].parse(raw, "somewhere")
    except BadRecord:
        return
    assert all(isinstance(item, Record | Refusal | Pointer | Notice) for item in found)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("name", FORMATS)
@given(value=JSON | st.fixed_dictionaries({"experiences": st.lists(JSON, max_size=4)}, optional={"packet_id": JSON}))
def test_whatever_is_accepted_has_an_identity_and_can_be_written_as_json_again(name, value):
    raw = json.dumps(value).encode()
    try:
        found = FORMATS[name].parse(raw, "somewhere")
    except BadRecord:
        return
    for item in found:
        if isinstance(item, Record | Refusal):
            assert item.identity
        orjson.dumps(item.body if isinstance(item, Record) else item.facts if isinstance(item, Notice) else None)
    assert FORMATS[name].parse(raw, "somewhere") == found


def test_damaged_real_lines_are_read_or_refused_and_never_an_error_of_ours():
    rng, raw = random.Random(5), _bytes(CANONICAL)
    for _ in range(2000):
        damaged = bytearray(raw)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            telemetry(bytes(damaged[: rng.randint(0, len(damaged))]), "f@0")
        except BadRecord as refused:
            assert str(refused)  # noqa: PT017
