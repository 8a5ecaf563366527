"""Do the parsers accept what the schemas accept, and are the published schemas those?"""

from __future__ import annotations

import json
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactord.errors import BadRecord
from reactord.formats import FORMATS
from reactord.formats.autonomy import AutonomyEvent
from reactord.formats.autonomy import record as autonomy
from reactord.formats.command import CommandFile
from reactord.formats.command_queue import QueueEntry
from reactord.formats.records import Record, load
from reactord.formats.schema import Problem, problems
from reactord.formats.schemas import documents
from reactord.formats.telemetry import Telemetry, accepts
from reactord.ipc import command_queue as commands

ROOT = Path(__file__).parents[2]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
#: values that mean something to some format
MEANT = st.sampled_from(
    [
        "experience_generated",
        "reactor.experiences", "outcome_update", "curriculum_signal", "data_batch_ready", "heartbeat", 0.7, 1, True,
        [{"role": "user", "content": "q"}], [{"task_type": "t", "priority": 1}], [{}], [7], {"experiences": []},
        {"experiences": [{}]}, {"experiences": 3}, {"turns": []}, {"data_path": "/x"},
    ]
)  # fmt: skip


def _names(form):
    schema = form.schema.model_json_schema()
    return sorted({n for part in (schema, *schema.get("$defs", {}).values()) for n in part.get("properties", {})})


def _objects(form):
    """Objects of the fields that the schema knows: often right, often nearly right."""
    return st.dictionaries(st.sampled_from(_names(form)), st.text(max_size=4) | MEANT | VALUES, max_size=8)


@pytest.mark.parametrize("form", FORMATS.values(), ids=lambda form: form.name)
@given(data=st.data())
def test_a_parser_accepts_exactly_the_documents_that_its_schema_accepts(form, data):
    document = data.draw(_objects(form) | VALUES)
    raw = json.dumps(document).encode()
    fits = not problems(form.schema, load(raw))
    try:
        form.parse(raw, "f")
        accepted = True
    except BadRecord as bad:
        accepted = False
        assert ": " in str(bad)  # noqa: PT017 - both ways are looked at
    if form.name == "conversations" and isinstance(document, dict) and isinstance(document.get("data"), str):
        assert fits or not accepted  # JSON within JSON: the schema sees a string
    else:
        assert accepted == fits


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            (
                "prompt",
                "completion",
                "record_id",
                *FORMATS["telemetry"].schema.model_fields["root"].annotation.__args__[0].model_fields,
            ),
            st.text(max_size=3) | st.none() | VALUES,
        ),
    )
)
def test_the_hot_parser_decides_by_hand_as_the_schema_does(body):
    body = load(json.dumps(body).encode())

    assert accepts(body) == (not problems(Telemetry, body))


@given(st.fixed_dictionaries({"type": st.just("autonomy:x")}, optional={"metadata": VALUES}) | st.builds(
    lambda missing: {"type": "autonomy:x", "metadata": {
        k: "v" for k in AutonomyEvent.model_fields["metadata"].annotation.model_fields if k not in missing}},
    st.sets(st.sampled_from(["trace_id", "action", "other"])),
))  # fmt: skip
def test_an_autonomy_event_is_accepted_exactly_when_its_schema_accepts_it(item):
    assert isinstance(autonomy(item, "f"), Record) == (not problems(AutonomyEvent, item))


@pytest.mark.parametrize(("schema", "family"), [(CommandFile, "file"), (QueueEntry, "queue")])
@given(data=st.data())
def test_a_command_is_obeyed_exactly_when_its_schema_accepts_it(schema, family, data):
    names = [*schema.model_fields, "more"]
    words = st.text(max_size=4) | st.sampled_from(["id-1", " ping ", "x" * 64, "x" * 65, "a\n", "é"])
    document = load(json.dumps(data.draw(st.dictionaries(st.sampled_from(names), words | VALUES, max_size=8))).encode())
    try:
        commands.parse(document, family, 0.0)
        accepted = True
    except BadRecord:
        accepted = False

    assert accepted == (not problems(schema, document))


def test_unknown_fields_are_kept():
    line = {"event_type": "interaction", "event_id": "e", "of tomorrow": {"a": [1]}}

    assert FORMATS["telemetry"].parse(json.dumps(line).encode(), "f")[0].body == line


@pytest.mark.parametrize(
    ("name", "document", "found"),
    [
        ("telemetry", {}, [Problem("event_type", "is missing", "add it")]),
        ("telemetry", [], [Problem("", "is not an object", "it is a list; write an object")]),
        ("telemetry", {"event_type": "x", "outcome": 1},
         [Problem("outcome", "is not a string", "it is a number; write a string")]),
        ("prime_feedback", {"record_id": "r", "feedback": []},
         [Problem("feedback", "is not a string or a number", "it is a list; write a string or a number")]),
        ("experiences", {"batch_id": "b"}, [Problem("experiences", "is missing", "add it")]),
        ("experiences", {"payload": {}}, [Problem("payload.experiences", "is missing", "add it")]),
        ("conversations", {"id": 1, "quality_score": 1, "data": {"turns": [{"role": "user"}]}},
         [Problem("data.turns.0.content", "is missing", "add it")]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_of_the_nearest_form_in_plain_words(name, document, found):
    said = problems(FORMATS[name].schema, document)

    assert found[0] in said


def test_the_published_schemas_are_those_that_are_checked_in():
    made = documents(FORMATS.values())
    kept = {path.name: path.read_bytes() for path in (ROOT / "docs/schemas").iterdir()}

    assert kept == made, "write them again: reactord check-file --schemas docs/schemas"


@pytest.mark.parametrize("name", [*FORMATS, "experience_item", "autonomy_event", "command_entry"])
def test_each_schema_names_itself_and_its_version(name):
    schema = orjson.loads(documents(FORMATS.values())[f"{name}.json"])

    assert (schema["title"], schema["x-schema-version"]) == (f"reactord {name}", "1.0")


def test_the_table_of_formats_names_each_one_with_its_places():
    table = (ROOT / "docs/formats.md").read_text()
    rows = {line.split("|")[1].strip(" `"): line for line in table.splitlines() if line.startswith("| `")}

    assert set(rows) == set(FORMATS)
    for name, form in FORMATS.items():
        for door in form.doors:
            assert (door.directory or "dpo_dataset.jsonl") in rows[name], (name, door)
            assert all(variable.partition("/")[0] in rows[name] for variable in door.env), (name, door)
