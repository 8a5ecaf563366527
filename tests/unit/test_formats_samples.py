"""Does every format read its committed samples, and say what is wrong with the broken ones?"""

from __future__ import annotations

from pathlib import Path

import pytest

from reactord.cli.check_file import check
from reactord.data.experience import Experience, Refused, normalise
from reactord.formats import FORMATS, Notice, Pointer, Record
from reactord.ledger.reading import StoredRecord

SAMPLES = Path(__file__).parents[1] / "samples"
#: each good file, and what its documents become
GOOD = {
    "bus_events/good-jarvis_events.jsonl": {"experience: answer": 2, "news: curriculum": 1, "nothing for us": 1},
    "command/good-file.json": {"a command: start_training": 1},
    "command/good-for-body.json": {"nothing for us": 1},
    "command_queue/good-queue.json": {"a command: shutdown_announce": 1},
    "conversations/good-row.json": {"experience: answer": 1},
    "conversations/good-three-turns.json": {"experience: answer": 1},
    "corrections/good-batch.json": {"experience: correction": 2},
    "corrections/good-c1.json": {"experience: correction": 1},
    "cross_repo_event/good-generated.json": {"experience: answer": 1},
    "cross_repo_event/good-several.json": {"experience: answer": 2},
    "cross_repo_event/good-training-started.json": {"nothing for us": 1},
    "curriculum/good-curriculum.json": {"news: curriculum": 1},
    "deployment/good-deploy_report.json": {"news: prime.deployment": 1},
    "deployment/good-deployment_status.json": {"news: prime.deployment": 1},
    "experience_lines/good-fallback.jsonl": {"experience: answer": 2, "experience: feedback": 1},
    "experiences/good-correction.json": {"experience: correction": 1},
    "experiences/good-curriculum.json": {"news: curriculum": 1},
    "experiences/good-data-batch-ready.json": {"a file to read": 1},
    "experiences/good-documented.json": {"experience: answer": 2},
    "experiences/good-feedback.json": {"experience: feedback": 1},
    "experiences/good-heartbeat.json": {"nothing for us": 1},
    "experiences/good-interaction-end.json": {"experience: answer": 1},
    "experiences/good-learning-signal.json": {"experience: answer": 3, "not learned from: autonomy_infrastructure": 1},
    "experiences/good-list.json": {"experience: answer": 1},
    "instructions/good-generic.jsonl": {"experience: answer": 3},
    "ipc_hub/good-reactor-core_events.jsonl": {
        "experience: answer": 1,
        "news: prime.feedback": 1,
        "not learned from: no_prompt": 1,
        "nothing for us": 1,
    },
    "preference_pairs/good-dpo_dataset.jsonl": {"experience: pair": 3},
    "preference_pairs/good-useless.jsonl": {
        "not learned from: pair_side_too_short": 1,
        "not learned from: pair_sides_equal": 1,
    },
    "prime_feedback/good-feedback.jsonl": {"experience: feedback": 2},
    "prime_samples/good-samples.jsonl": {
        "experience: answer": 1,
        "experience: correction": 1,
        "not learned from: sender_rejected_it": 1,
    },
    "queued_experience/good-exp.json": {"experience: answer": 1},
    "reactor_inbox/good-experiences.msg": {"experience: answer": 1},
    "reactor_inbox/good-feedback.msg": {"experience: feedback": 1},
    "reactor_inbox/good-heartbeat.msg": {"nothing for us": 1},
    "scraped/good-scraped.jsonl": {"experience: answer": 1, "not learned from: no_reply": 1},
    "telemetry/good-interactions.jsonl": {"experience: answer": 3, "experience: correction": 1},
    "telemetry/good-repaired.jsonl": {"experience: answer": 2},
    "training_messages/good-training.jsonl": {"experience: answer": 1},
}
#: each broken file: (line, field, what is wrong)
BAD = {
    "bus_events/bad-jarvis_events.jsonl": [
        (1, "payload.experiences", "is missing"),
        (2, "payload", "is not an object"),
        (3, "topic", "is missing"),
        (4, "", "not JSON"),
    ],
    "command/bad-file.json": [
        (1, "id", "is not accepted"),
        (1, "intent", "is missing"),
        (1, "timestamp", "is not a number"),
    ],
    "command_queue/bad-no-list.json": [(1, "commands", "is not a list")],
    "command_queue/bad-queue.json": [
        (1, "item 1", "a command whose timeout_seconds is not a number"),
        (1, "item 2", "a command whose command_id is not accepted"),
    ],
    "conversations/bad-data.json": [(1, "", "turns is not a list")],
    "conversations/bad-first-write.json": [(1, "", "quality_score below 0.6")],
    "conversations/bad-no-score.json": [(1, "quality_score", "is missing")],
    "corrections/bad-batch.json": [(1, "item 1", "a correction whose original_prompt is missing")],
    "corrections/bad-c2.json": [(1, "corrected_response", "is not a string")],
    "cross_repo_event/bad-event.json": [(1, "type", "is not a string"), (1, "payload", "is not an object")],
    "cross_repo_event/bad-items.json": [(1, "item 0", "experience not an object")],
    "curriculum/bad-curriculum.json": [
        (1, "top_k.0.task_type", "is missing"),
        (1, "top_k.0.priority", "is not a number"),
    ],
    "deployment/bad-deployment_status.json": [(1, "model_id", "is not a string")],
    "deployment/bad-empty.json": [(1, "", "not JSON")],
    "experience_lines/bad-fallback.jsonl": [
        (1, "outcome", "is missing"),
        (2, "", "is not an object"),
        (3, "", "not JSON"),
    ],
    "experiences/bad-half-written.json": [(1, "", "not JSON")],
    "experiences/bad-items.json": [
        (1, "item 1", "experience not an object"),
        (1, "item 2", "an autonomy event without its metadata"),
    ],
    "experiences/bad-no-list.json": [(1, "experiences", "is missing")],
    "experiences/bad-no-path.json": [(1, "", "experience_collected without a file")],
    "instructions/bad-generic.jsonl": [
        (1, "output", "is missing"),
        (2, "instruction", "is missing"),
        (3, "output", "is not a string"),
    ],
    "ipc_hub/bad-reactor-core_events.jsonl": [
        (1, "interactions", "is not a list"),
        (2, "feedback_type", "is not a string"),
        (3, "", "not JSON"),
    ],
    "preference_pairs/bad-dpo_dataset.jsonl": [
        (1, "rejected", "is missing"),
        (2, "chosen_score", "is not a number"),
        (3, "rejected", "is not a string"),
    ],
    "prime_feedback/bad-feedback.jsonl": [
        (1, "record_id", "is missing"),
        (2, "record_id", "is not a string"),
        (3, "feedback", "is not a string or a number"),
    ],
    "prime_samples/bad-samples.jsonl": [
        (1, "input_text", "is not a string"),
        (2, "feedback_score", "is not a number"),
        (3, "input_text", "is missing"),
    ],
    "queued_experience/bad-exp.json": [(1, "user_input", "is not a string")],
    "reactor_inbox/bad-message.msg": [(1, "message_type", "is missing"), (1, "payload", "is not an object")],
    "scraped/bad-scraped.jsonl": [(1, "text", "is missing"), (2, "text", "is not a string")],
    "telemetry/bad-last-line.jsonl": [(1, "", "the last line has no newline")],
    "telemetry/bad-types.jsonl": [
        (2, "user_input", "is not a string"),
        (3, "user_rating", "is not a number"),
        (4, "event_type", "is missing"),
        (5, "", "not JSON"),
        (6, "", "not JSON"),
        (7, "", "is not an object"),
        (8, "metadata", "is not an object"),
    ],
    "training_messages/bad-training.jsonl": [
        (1, "messages", "is missing"),
        (2, "messages", "is not a list"),
        (3, "messages.0.content", "is missing"),
    ],
}


def _sample(name):
    return SAMPLES / name, FORMATS[name.partition("/")[0]]


def test_every_format_has_samples_and_every_sample_is_expected():
    present = {f"{path.parent.name}/{path.name}" for path in SAMPLES.glob("*/*")}

    assert present == {*GOOD, *BAD}
    assert {name.partition("/")[0] for name in GOOD} == {name.partition("/")[0] for name in BAD} == set(FORMATS)


@pytest.mark.parametrize("name", GOOD)
def test_a_good_file_is_read_whole_and_becomes_what_it_should(name):
    path, form = _sample(name)

    report = check(path, form)

    assert report.problems == []
    assert report.fine == report.documents > 0
    assert dict(report.becomes) == GOOD[name]


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_with_a_broken_file_is_said_line_by_line_and_how_to_write_it(name):
    path, form = _sample(name)

    report = check(path, form)

    assert [(line, problem.field, problem.problem) for line, problem in report.problems] == BAD[name]
    assert all(problem.cure for _, problem in report.problems)


@pytest.mark.parametrize("name", GOOD)
def test_a_good_file_is_known_by_what_it_says_alone(name, tmp_path):
    path, form = _sample(name)
    elsewhere = tmp_path / f"zzzz{path.suffix}"
    elsewhere.write_bytes(path.read_bytes())

    report = check(elsewhere)

    assert (report.format, report.found_by) == (form.name, "by what it says")


def _items(name):
    path, form = _sample(name)
    raw = path.read_bytes()
    documents = [line for line in raw.split(b"\n") if line] if form.lines else [raw]
    return form, [item for n, raw in enumerate(documents) for item in form.parse(raw, f"{path.name}@{n}")]


@pytest.mark.parametrize("name", GOOD)
def test_every_record_of_every_format_is_an_experience_or_refused_for_a_plain_reason(name):
    form, items = _items(name)
    for item in items:
        if isinstance(item, Record):
            seen = normalise(StoredRecord(1, item.identity, form.name, 0.0, item.body))
            assert isinstance(seen, Experience) or (
                isinstance(seen, Refused) and seen.reason.replace("_", "").isalpha()
            )
        else:
            assert isinstance(item, Pointer | Notice)


@pytest.mark.parametrize("name", GOOD)
def test_each_record_has_its_own_identity(name):
    identities = [item.identity for item in _items(name)[1] if isinstance(item, Record)]

    assert len(set(identities)) == len(identities)
