"""Which file is whose, and is the same event by several doors one record?"""

from __future__ import annotations

import json
import os

import pytest

from reactord.formats import FORMATS, Door, Notice, Pointer, Record, Refusal
from reactord.formats.autonomy import REQUIRED

METADATA = {key: key for key in REQUIRED} | {"idempotency_key": "k", "trace_id": "t"}
ITEM = {"id": "e1", "type": "interaction", "input": {"text": "q"}, "output": {"text": "a"}}


def parse(name, document, where="f"):
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return FORMATS[name].parse(raw, where)


def claimants(directory, name):
    return [
        (form.name, door.kind)
        for form in FORMATS.values()
        for door in form.doors
        if door.directory == directory and door.admits(name)
    ]


@pytest.mark.parametrize(
    ("directory", "name", "form", "kind"),
    [
        ("telemetry", "interactions_20261121.jsonl", "telemetry", "tail"),
        ("telemetry", "telemetry_20261121_101500.jsonl", "telemetry", "tail"),
        ("telemetry", "training_20261121_101500.jsonl", "training_messages", "tail"),
        ("telemetry", "feedback.jsonl", "prime_feedback", "tail"),
        ("trinity/bus_sync", "jarvis_events.jsonl", "bus_events", "tail"),
        ("trinity/events", "events_20261121_101500.jsonl", "bus_events", "tail"),
        ("trinity/events", "5_1795281245000_p-1.json", "experiences", "drop"),
        ("trinity/events", "experiences_nlu_17.json", "experiences", "drop"),
        ("trinity/inbox/reactor_core", "2_000001795281245_ab.json", "experiences", "drop"),
        ("trinity/reactor/inbox", "1795281245.123456_ab.msg", "reactor_inbox", "drop"),
        ("trinity/ipc", "reactor-core_events.jsonl", "ipc_hub", "tail"),
        ("experience_fallback", "experiences_1795281245.jsonl", "experience_lines", "tail"),
        ("training/experiences", "experiences_1795281245.jsonl", "experience_lines", "tail"),
        ("training/experiences", "2026-11-21_experiences.jsonl", "experience_lines", "tail"),
        ("experience_queue/ouroboros", "exp_1795281245.123456_ab.json", "queued_experience", "spool"),
        ("correction_queue", "c1.json", "corrections", "spool"),
        ("prime/data", "samples.jsonl", "prime_samples", "tail"),
        ("reactor/data", "experiences_20261121_101500.jsonl", "instructions", "tail"),
        ("reactor/data", "conversation_20261121_101500.jsonl", "instructions", "tail"),
        ("reactor/data", "preferences_20261121_101500.jsonl", "preference_pairs", "tail"),
        ("reactor/training_data", "scraped_training_20261121_101500.jsonl", "scraped", "tail"),
        ("training_data", "conversations.db", "conversations", "rows"),
        ("", "dpo_dataset.jsonl", "preference_pairs", "tail"),
        ("training/dpo_pairs", "dpo_pairs_20261121.jsonl", "preference_pairs", "tail"),
        ("cross_repo", "deployment_status.json", "deployment", "spool"),
        ("reactor/feedback", "deploy_20261121_m.json", "deployment", "spool"),
        ("reactor_events", "curriculum_1795281245000.json", "curriculum", "spool"),
        ("ouroboros/events/pending", "evt-31.json", "cross_repo_event", "spool"),
        ("trinity/commands", "1795281245000_6552d300.json", "command", "command"),
        ("trinity/commands", "command_queue.json", "command_queue", "command"),
    ],
)
def test_each_file_has_exactly_one_reader_who_knows_whether_it_may_be_deleted(directory, name, form, kind):
    assert claimants(directory, name) == [(form, kind)]


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("trinity/events", "packet_abc.json"),
        ("trinity/events", "5_1795281245000_p.json.failed"),
        ("trinity/events", ".5_1795281245000_p.json.tmp"),
        *(("trinity/events", f"{priority}_000001795281245_ab.json") for priority in range(5)),
        ("trinity/inbox/reactor_core", ".hidden.json"),
        ("trinity/inbox/reactor_core", "half.json.tmp"),
        ("trinity/reactor/inbox", "1795281245.1_ab.msg.tmp"),
        ("trinity/bus_sync", "reactor_events.jsonl"),
        ("telemetry_queue", "e1.json"),
        ("cross_repo/events", "20261121_101500_ab.json"),
        ("correction_queue", "c1.json.tmp"),
        ("trinity/commands", ".command_queue.json.ab12.tmp"),
        ("trinity/commands", "command_queue.json.lock"),
        ("trinity/commands", ".hidden.json"),
        ("reactor/training_data", "snapshot_job-1.jsonl"),
        ("reactor_events", "reactor_1.json"),
        ("training_data", "conversations.db-wal"),
    ],
)
def test_what_is_not_ours_has_no_reader(directory, name):
    assert claimants(directory, name) == []


@pytest.mark.parametrize("form", FORMATS.values(), ids=lambda form: form.name)
def test_a_pattern_never_reaches_into_another_directory(form):
    for door in form.doors:
        assert not door.directory.startswith("/")
        assert not door.admits("a/b.jsonl")
        assert not door.admits("../experiences_x.json")


@pytest.mark.parametrize(
    ("value", "directories"),
    [
        ("/prime", ["/prime/telemetry"]),
        (" /prime/x/.. ", ["/prime/telemetry"]),
        ("here", [f"{os.getcwd()}/here/telemetry"]),  # noqa: PTH109 - a string is wanted
        ("~/prime", ["/somebody/prime/telemetry"]),
        ("~nobody-of-this-name/x", [f"{os.getcwd()}/~nobody-of-this-name/x/telemetry"]),  # noqa: PTH109
        ("  ", []),
    ],
)
def test_a_variable_names_a_directory_however_it_is_written(monkeypatch, value, directories):
    monkeypatch.setenv("HOME", "/somebody")
    door = Door("tail", "telemetry", "x", ("UNSET", "PRIME/telemetry"))

    assert [str(path) for path in door.elsewhere({"PRIME": value})] == directories


def test_the_same_event_by_three_doors_is_one_record():
    packet = {"packet_id": "p", "experiences": [ITEM]}
    found = [
        parse("experiences", {"event_type": "learning_signal", "event_id": "p", "payload": packet}),
        parse("bus_events", {"topic": "reactor.experiences", "event_id": "b", "payload": packet}, "jarvis_events@0"),
        parse("bus_events", {"topic": "reactor.experiences", "event_id": "b", "payload": packet}, "events_1@70"),
        parse("experience_lines", ITEM),
        parse("queued_experience", ITEM),
        parse("telemetry", {"event_id": "e1", "event_type": "interaction"}),
        parse("instructions", {"event_id": "e1", "event_type": "interaction"}),
        parse("reactor_inbox", {"message_type": "EVENT", "payload": packet}),
        parse("ipc_hub", {"batch_id": "p", "interactions": [ITEM]}),
    ]

    assert {item.identity for items in found for item in items} == {"e1"}


def test_items_without_an_id_have_the_same_name_on_the_bus_and_in_a_file():
    packet = {"packet_id": "p", "experiences": [{"input": {"text": "q"}}]}
    bus = parse("bus_events", {"topic": "reactor.experiences", "event_id": "b", "payload": packet}, "x@9")

    assert bus[0].identity == parse("experiences", {"payload": packet})[0].identity == "p:0"


def test_primes_two_lines_of_one_turn_are_one_record():
    flat = {"record_id": "r-9", "prompt": "q", "completion": "a"}
    messages = {"id": "r-9", "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}

    assert parse("telemetry", flat)[0].identity == parse("training_messages", messages)[0].identity == "r-9"


def test_feedback_on_a_record_is_another_record_and_refers_to_it():
    line = {"record_id": "r-9", "feedback": "good", "timestamp": "2026-11-21T10:00:00"}
    (once,), (elsewhere,) = parse("prime_feedback", line, "a@0"), parse("prime_feedback", line, "b@7")

    assert once == elsewhere
    assert once.identity != "r-9"
    assert (once.body["refers_to"], once.body["event_type"]) == ("r-9", "feedback")
    assert once.identity != parse("prime_feedback", {**line, "feedback": "bad"})[0].identity


def test_how_an_experience_ended_is_another_record_and_refers_to_it():
    (update,) = parse("experience_lines", {"type": "outcome_update", "record_id": "r", "outcome": "success"})

    assert update.identity != "r"
    assert update.body["refers_to"] == "r"


def test_a_pair_is_what_it_says_in_whatever_file_and_line():
    pair = {"prompt": "q", "chosen": "the better one", "rejected": "the worse one"}
    found = [
        parse("preference_pairs", pair, "dpo_dataset.jsonl@0"),
        parse("preference_pairs", {**pair, "chosen_score": 0.9}, "dpo_pairs_1.jsonl@99"),
        parse("instructions", pair, "x@1"),
        parse("experience_lines", pair, "x@2"),
    ]

    assert len({item.identity for items in found for item in items}) == 1
    assert parse("preference_pairs", {**pair, "chosen": "another"})[0].identity != found[0][0].identity


# -- events ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["data_batch_ready", "experience_collected"])
def test_an_event_that_names_a_file_points_to_it(kind):
    assert parse("experiences", {"event_type": kind, "payload": {"data_path": "/a/b.jsonl"}}) == [Pointer("/a/b.jsonl")]


NO_FILE = [None, "", "b.jsonl", "../b.jsonl", 7, "/a\0b.jsonl", ["/a"], "/a/b.json", "/" + "a/" * 2046 + ".jsonl"]


@pytest.mark.parametrize("path", NO_FILE)
def test_an_event_that_names_no_file_that_is_ever_read_is_refused_in_words(path):
    (refused,) = parse("experiences", {"event_type": "data_batch_ready", "payload": {"data_path": path}})

    assert isinstance(refused, Refusal)
    assert "data_path" in refused.reason


def test_what_concerns_no_experience_is_nothing_for_us():
    assert parse("experiences", {"event_type": "health_changed", "payload": {"status": "failed"}}) == []
    assert parse("bus_events", {"topic": "training.started", "payload": {}}) == []
    assert parse("reactor_inbox", {"message_type": "HEARTBEAT", "payload": {"a": 1}}) == []
    assert parse("ipc_hub", {"command": "start_training", "payload": {}}) == []


def test_curriculum_signals_are_news_by_every_door():
    top = {"top_k": [{"task_type": "bug_fix", "priority": 0.4}]}
    found = [
        parse("experiences", {"event_type": "curriculum_signal", "event_id": "c", "payload": top}),
        parse("bus_events", {"topic": "curriculum.signal", "event_id": "c", "payload": top}),
        parse("curriculum", {"event_type": "curriculum_signal", **top}),
    ]

    assert {type(item) for items in found for item in items} == {Notice}
    assert {item.topic for items in found for item in items} == {"curriculum"}


def test_an_event_between_repositories_is_its_experience_under_its_own_id_or_else_the_event_s():
    payload = {"user_input": "2+2?", "assistant_output": "4"}
    event = {"id": "evt-1", "type": "experience_generated", "payload": payload}

    assert parse("cross_repo_event", event) == [Record("evt-1", payload)]
    assert parse("cross_repo_event", {**event, "payload": {"experience": {"id": "x"}}}) == [Record("x", {"id": "x"})]
    assert parse("cross_repo_event", {**event, "type": "health_check"}) == []


def test_a_deployment_is_news_under_our_job_or_else_its_model():
    ack = {"model_id": "m", "deployment_status": "rollback", "reactor_job_id": "job-42"}
    (ours,) = parse("deployment", ack)
    (without_job,) = parse("deployment", {**ack, "reactor_job_id": None})
    (report,) = parse("deployment", {"model_name": "m.gguf", "model_path": "/x/m.gguf", "health_verified": True})

    assert ours == Notice("prime.deployment", "job-42", ack)
    assert (without_job.subject, report.subject) == ("m", "m.gguf")


# -- autonomy ----------------------------------------------------------------------------------------------------------
def test_an_autonomy_event_is_known_by_its_key_type_and_trace():
    event = {"id": "changes on each retry", "type": "autonomy:committed", "metadata": METADATA}

    assert parse("experiences", [event])[0].identity == "k|autonomy:committed|t"


@pytest.mark.parametrize("missing", REQUIRED)
def test_an_autonomy_event_without_one_of_its_keys_is_refused_and_the_key_is_named(missing):
    event = {"type": "autonomy:failed", "metadata": {k: v for k, v in METADATA.items() if k != missing}}
    refused, neighbour = parse("experiences", [event, ITEM])

    assert isinstance(refused, Refusal)
    assert missing in refused.reason
    assert isinstance(neighbour, Record)


# -- conversations -----------------------------------------------------------------------------------------------------
def test_a_row_that_is_not_good_enough_yet_leaves_its_id_free():
    row = {"id": "c", "data": {"turns": []}, "quality_score": 0.59}
    (early,), (later,) = parse("conversations", row), parse("conversations", {**row, "quality_score": 0.6})

    assert isinstance(early, Refusal)
    assert early.identity != later.identity == "c"


def test_a_row_that_is_known_by_a_number_is_not_confused_with_another_producers_number():
    row = {"id": 7, "data": {"turns": []}, "quality_score": 0.9}

    assert parse("conversations", row)[0].identity != parse("experiences", [{"id": "7"}])[0].identity
    assert parse("conversations", row, "a")[0].identity == parse("conversations", row, "b")[0].identity
