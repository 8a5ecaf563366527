"""Does the synthetic day hold what it says, and does a dataset made of it hold what was planted?"""

import json
import os
import subprocess
import sys
from collections import Counter
from datetime import date

import pytest
from data_helpers import examples, made, parsed

from reactord.data.query import read
from reactord.data.verify import verdict, without_article
from reactord.demo.sample import OLD, TERSE, VERBOSE, write_sample
from reactord.demo.sample_facts import CODE, DOMAINS, JSON_TASKS, OPEN

FILE = "interactions_20261121.jsonl"
CANONICAL_KEYS = 22
RIGHT = {
    read(question.format(subject)).key: answer
    for d in DOMAINS
    for subject, answer in d.rows()
    for question in d.questions
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("telemetry")
    return directory, write_sample(directory)


@pytest.fixture(scope="module")
def dataset(planted, tmp_path_factory):
    directory = tmp_path_factory.mktemp("dataset")
    version = made(parsed(planted[0] / FILE), directory)
    return directory, version.manifest


def lines(directory):
    return [json.loads(line) for line in (directory / FILE).read_text().splitlines()]


def test_there_are_at_least_400_interactions_by_three_models_each_said_to_be_synthetic(planted):
    said = [line.get("data", line) for line in lines(planted[0])]
    answers = [line for line in said if line["model_id"]]
    assert len(answers) >= 400
    assert {line["model_id"] for line in answers} == {TERSE, VERBOSE, OLD}
    assert all(line["metadata"]["synthetic"] is True for line in said)
    assert planted[1]["lines"] == len(said) == sum(n for kind, n in planted[1].items() if kind != "lines")


def test_the_lines_are_canonical_or_raw_and_each_comes_once(planted):
    found = lines(planted[0])
    raw = [line for line in found if "data" in line]
    assert len(raw) > 40
    assert all(len(line) == CANONICAL_KEYS for line in found if "data" not in line)
    assert len({line["event_id"] for line in found}) == len(found)


def test_the_same_seed_gives_the_same_bytes_and_a_real_day_is_never_overwritten(planted, tmp_path):
    write_sample(tmp_path)
    first = (tmp_path / FILE).read_bytes()
    assert first == (planted[0] / FILE).read_bytes()
    write_sample(tmp_path, seed=1)
    assert (tmp_path / FILE).read_bytes().startswith(first)
    write_sample(tmp_path, day=date(2026, 1, 2))
    assert (tmp_path / "interactions_20260102.jsonl").exists()


def test_the_command_says_what_it_planted(planted, tmp_path):
    command = [sys.executable, "-m", "reactord.demo.sample", "--out", str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert json.loads(done.stdout) == planted[1]


def test_questions_are_diverse_and_most_are_simple(planted):
    prompts = {read(p).key: read(p) for line in lines(planted[0]) if (p := line.get("data", line)["user_input"])}
    assert len(prompts) > 250
    assert sum(q.task_type == "fact" for q in prompts.values()) / len(prompts) >= 0.6


def test_no_answer_known_to_be_wrong_is_ever_chosen(dataset):
    """Whoever made the sample knows the answers; the dataset does not."""
    for example in examples(dataset[0]):
        right = RIGHT.get(read(example.prompt).key)
        if right:
            assert f" {without_article(right).lower()}" in " " + example.chosen.lower().replace('"', ""), example
        assert verdict(read(example.prompt), example.chosen) is not False
        assert example.chosen not in {worse for _, _, worse in (*OPEN, *JSON_TASKS, *CODE)}


def test_what_was_planted_was_found(planted, dataset):
    plan, manifest = planted[1], dataset[1]
    kinds = Counter(e.evidence[0].kind for e in examples(dataset[0]))
    tasks = Counter(e.task_type for e in examples(dataset[0]))
    print(
        json.dumps({k: v for k, v in manifest.items() if k != "fates"}, indent=2)
    )  # pytest -s shows the whole account
    assert kinds == manifest["counts"]["by_evidence"]
    assert kinds["correction"] == plan["correction"]
    assert kinds["feedback"] == plan["feedback"]
    assert tasks["code"] == plan["code_wrong"]
    assert tasks["json"] == plan["json_wrong"]
    assert tasks["open"] == plan["open"] // 2
    assert kinds["brevity"] > 150
    assert 0 < kinds["standing"] < 20
    not_paired, rejected = manifest["not_paired"], manifest["counts"]["records_rejected"]
    assert not_paired["conflicting_evidence"] == plan["sum_conflict"] // 2
    assert not_paired["template_only"] == plan["fact_template_only"] // 2
    assert not_paired["alone"] == plan["lone"] + plan["fact_same"] // 2
    assert rejected == {
        "conflicting_evidence": plan["sum_conflict"], "template_only": plan["fact_template_only"],
        "correction_without_answers": plan["emptied"], "not_an_interaction": plan["error"],
    }  # fmt: skip
    assert manifest["counts"]["records"] == plan["lines"]


def test_every_type_of_task_is_held_out_and_most_simple_questions_can_be_scored(dataset):
    held = dataset[1]["counts"]["holdout_by_task_type"]
    assert held.keys() == {"fact", "arithmetic", "equation", "json", "code", "open"}
    share = dataset[1]["counts"]["holdout"] / (dataset[1]["counts"]["train"] + dataset[1]["counts"]["holdout"])
    assert 0.14 < share < 0.20
    facts = [e for e in examples(dataset[0]) if e.task_type == "fact"]
    assert sum(e.check is not None for e in facts) > 0.75 * len(facts)


def test_the_set_prefers_the_shorter_answer_only_because_of_brevity(dataset):
    bias = dataset[1]["length_bias"]
    assert bias["brevity"]["chosen_shorter"] == 1.0
    assert bias["all"]["cohens_d"] < 0
    assert abs(bias["verifier"]["cohens_d"]) < 0.5


def test_another_process_with_another_hash_seed_makes_the_same_version(planted, tmp_path):
    script = (
        "import sys; from pathlib import Path; from data_helpers import made, parsed; "
        f"print(made(parsed(Path({str(planted[0] / FILE)!r})), Path(sys.argv[1])).sha256)"
    )
    names = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", script, str(tmp_path / seed)]
        names.add(subprocess.run(command, check=True, capture_output=True, timeout=60, env=environment).stdout)
    assert len(names) == 1
