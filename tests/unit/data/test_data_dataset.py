"""Does every record get one fate, and do the same records always give the same bytes?"""

import hashlib
import random
from datetime import datetime

import orjson
import pytest
from data_helpers import NOW, corrected, examples, identity, made, published, said, stored
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_data_experience import FIELDS, JSON

from reactord.data.dataset import LostParent, read_examples
from reactord.data.query import read
from reactord.data.split import overlap
from reactord.errors import Conservation

DAY_S = 86_400


def day(number, first=0):
    """Questions with a right answer and a failure each."""
    return [
        body
        for i in range(first, first + number)
        for body in (
            said(f"Who wrote book{i}?", f"author{i}", "a"),
            said(f"Who wrote book{i}?", f"nobody{i}", "b", "failure"),
        )
    ]


def files(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def everyone(manifest):
    fates = manifest["fates"]
    return sorted(
        [*fates["train"], *fates["holdout"], *fates["waiting"], *(i for ids in fates["rejected"].values() for i in ids)]
    )


def test_the_name_is_the_hash_of_the_manifest_and_the_manifest_holds_those_of_the_files(tmp_path):
    version = made(stored(day(30)), tmp_path / "d")
    found = files(tmp_path / "d")
    assert version.sha256 == hashlib.sha256(found["manifest.json"]).hexdigest()
    assert orjson.loads(found["manifest.json"]) == version.manifest
    for name, facts in version.manifest["files"].items():
        assert facts["sha256"] == hashlib.sha256(found[name]).hexdigest()
        assert facts["lines"] == found[name].count(b"\n")


def test_the_same_records_give_the_same_bytes_in_whatever_order_they_come(tmp_path):
    records = stored([*day(25), corrected("Who wrote it?", "he", "she"), said("lone", "answer")])
    made(records, tmp_path / "one")
    random.Random(3).shuffle(records)
    made(records, tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_another_seed_or_moment_is_another_version(tmp_path):
    records = stored(day(30))
    names = {
        made(records, tmp_path / "a").sha256, made(records, tmp_path / "b", seed=8).sha256,
        made(records, tmp_path / "c", as_of=NOW + 1).sha256, made(records, tmp_path / "d", name="sft").sha256,
    }  # fmt: skip
    assert len(names) == 4
    assert files(tmp_path / "a")["holdout.jsonl"] != files(tmp_path / "b")["holdout.jsonl"]


def test_nothing_held_out_has_a_twin_in_training(tmp_path):
    asked = [
        body | {"user_input": f"Hey Jarvis, {body['user_input']}"} if i % 3 else body for i, body in enumerate(day(60))
    ]
    made(stored(asked), tmp_path / "d")
    train, holdout = (read_examples(tmp_path / "d" / f"{side}.jsonl") for side in ("train", "holdout"))
    assert holdout
    assert overlap(train, holdout) == 0
    assert not {read(e.prompt).key for e in train} & {read(e.prompt).key for e in holdout}
    assert not {i for e in train for i in e.records} & {i for e in holdout for i in e.records}


def test_each_fate_has_its_reason(tmp_path):
    bodies = [
        *day(1), {"event_type": "error"}, said("lone question", "answer"), said("old question", "answer"),
        said("What is 15 + 27?", "42", "a", user_rating=1), said("What is 15 + 27?", "43", "b", user_rating=5),
        said("Who is it?", "Ann", "a"), said("Who is it?", "Sure! Ann.", "b", "failure"),
        said("", "", event_type="feedback", interaction_id="e9", feedback_text="wrong"),
    ]  # fmt: skip
    records = stored(bodies)
    records[4] = type(records[4])(5, identity(4), "telemetry", NOW - 7 * DAY_S - 1, bodies[4])
    manifest = made(records, tmp_path / "d").manifest
    fates = manifest["fates"]
    assert fates["train"] == [identity(0), identity(1)]
    assert fates["rejected"] == {
        "not_an_interaction": [identity(2)], "unpaired_after_7_days": [identity(4)],
        "conflicting_evidence": [identity(5), identity(6)], "template_only": [identity(7), identity(8)],
    }  # fmt: skip
    assert fates["waiting"] == [identity(3), identity(9)]
    assert manifest["not_paired"] == {"alone": 2, "conflicting_evidence": 1, "template_only": 1}


def test_feedback_shares_the_fate_of_what_it_speaks_about(tmp_path):
    bodies = [
        said("Who is it?", "Ann", "a", event_id="e1"), said("Who is it?", "Bob", "b", event_id="e2"),
        said("", "", event_type="feedback", interaction_id="e2", feedback_text="wrong"),
        said("Who was it?", "Cid", "a", event_id="e3"),
        said("", "", event_type="feedback", interaction_id="e3", feedback_text="wrong"),
    ]  # fmt: skip
    fates = made(stored(bodies), tmp_path / "d").manifest["fates"]
    assert (fates["train"], fates["waiting"]) == ([identity(0), identity(1), identity(2)], [identity(3), identity(4)])


SOUP = st.lists(
    st.one_of(
        st.dictionaries(FIELDS, JSON, max_size=6),
        st.builds(
            said,
            st.sampled_from(["What is 6 * 7?", "Who is it?", "Return JSON.", "q", ""]),
            st.sampled_from(["42", "41", "{}", "Ann", "It is Ann.", ""]),
            st.sampled_from("ab"),
            st.sampled_from(["success", "failure", "unknown"]),
            user_rating=st.none() | st.integers(1, 5),
            event_id=st.sampled_from(["e1", "e2", None]),
        ),
        st.builds(
            corrected,
            st.sampled_from(["What is 6 * 7?", "Who is it?"]),
            st.sampled_from(["41", "Bob"]),
            st.sampled_from(["42", "Ann", "41"]),
        ),
        st.builds(
            said,
            st.just(""),
            st.just(""),
            event_type=st.just("feedback"),
            interaction_id=st.sampled_from(["e1", "e9"]),
            feedback_text=st.sampled_from(["good", "wrong", None]),
        ),
    ),
    max_size=25,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(SOUP, st.sampled_from(["dpo", "sft"]), st.integers(1, 4), st.floats(0, 10 * DAY_S))
def test_whatever_arrives_every_record_is_accounted_for_once(tmp_path, bodies, name, max_pairs, age_s):
    records = stored(bodies, age_s=age_s)
    manifest = made(records, tmp_path / "soup", name=name, max_pairs=max_pairs).manifest
    assert everyone(manifest) == sorted(record.identity for record in records)
    counts = manifest["counts"]
    assert (
        counts["records"]
        == len(records)
        == (
            counts["records_train"]
            + counts["records_holdout"]
            + counts["records_waiting"]
            + sum(counts["records_rejected"].values())
        )
    )
    used = {i for e in examples(tmp_path / "soup") for i in e.records}
    assert used == {*manifest["fates"]["train"], *manifest["fates"]["holdout"]} - {
        i for i, body in zip((r.identity for r in records), bodies, strict=True) if body.get("event_type") == "feedback"
    }
    assert len(examples(tmp_path / "soup")) <= max_pairs


def test_a_record_that_comes_twice_stops_the_build(tmp_path):
    records = stored(day(2))
    with pytest.raises(Conservation):
        made([*records, records[0]], tmp_path / "d")


# -- going on from a parent -------------------------------------------------------------------------------------------


def child_of(tmp_path, first, second, **recipe):
    """(parent directory, child version) of two days."""
    parent = published(made(stored(first), tmp_path / "p", **recipe), tmp_path)
    return parent, made(stored(second), tmp_path / "c", parent=parent, **recipe)


def sides(directory):
    return {side: read_examples(directory / f"{side}.jsonl") for side in ("train", "holdout")}


def test_the_parents_examples_are_carried_on_and_stay_on_their_side(tmp_path):
    parent, child = child_of(tmp_path, day(40), day(40, first=100))
    before, after = sides(parent), sides(tmp_path / "c")
    assert child.manifest["parents"] == [parent.name]
    for side in ("train", "holdout"):
        assert before[side]
        assert {(e.prompt, e.chosen) for e in before[side]} < {(e.prompt, e.chosen) for e in after[side]}
    assert child.manifest["counts"]["records"] == 80
    assert overlap(after["train"], after["holdout"]) == 0


def test_a_twin_of_a_trained_prompt_is_trained_and_one_of_a_held_out_prompt_held_out(tmp_path):
    parent = published(made(stored(day(40)), tmp_path / "p"), tmp_path)
    before = sides(parent)
    again = [
        body
        for e in (*before["train"], *before["holdout"])
        for body in (said(f"Hi! {e.prompt} Thanks!", "better", "c"), said(e.prompt, "worse", "d", "failure"))
    ]
    child = made(stored(again), tmp_path / "c", parent=parent)
    after = sides(tmp_path / "c")
    for side in ("train", "holdout"):
        assert {read(e.prompt).key for e in after[side]} == {read(e.prompt).key for e in before[side]}
        assert {e.chosen for e in after[side]} == {"better"}  # newer answers replace the parent's
    assert child.manifest["counts"]["carried_dropped"] == {"newer_answer": 40}


def test_clusters_that_grow_together_never_leak(tmp_path):
    stem = "explain to a curious child of ten how the old lighthouse on the hill was built by hand"
    words = stem.split()

    def asked(prompt):
        return [said(prompt, "good", "a", user_rating=5), said(prompt, "bad", "b", user_rating=1)]

    ends = [" ".join([*words, *f"w{i} x{i} y{i} z{i}".split()]) for i in range(12)]
    parent = published(made(stored([b for p in ends for b in asked(p)]), tmp_path / "p", holdout_share=0.5), tmp_path)
    before = sides(parent)
    assert before["train"]
    assert before["holdout"]
    made(
        stored([b for p in (stem, *(" ".join([*words, f"w{i}"]) for i in range(12))) for b in asked(p)]),
        tmp_path / "c",
        parent=parent,
    )
    after = sides(tmp_path / "c")
    assert overlap(after["train"], after["holdout"]) == 0
    tested = {e.prompt for e in after["holdout"]}
    assert not tested & {e.prompt for e in before["train"]}


def test_a_full_dataset_keeps_the_newest(tmp_path):
    parent, child = child_of(tmp_path, day(20), day(20, first=100), max_pairs=30, holdout_share=0.2)
    after = sides(tmp_path / "c")
    assert (len(after["train"]), len(after["holdout"])) == (24, 6)
    new = {e.prompt for side in after.values() for e in side} - {
        e.prompt for side in sides(parent).values() for e in side
    }
    assert len(new) == 20
    assert child.manifest["counts"]["carried_dropped"] == {"dataset_full": 10}
    small = made(stored(day(20)), tmp_path / "s", max_pairs=5)
    assert len(small.manifest["fates"]["rejected"]["dataset_full"]) == 30


def test_an_sft_version_takes_the_chosen_sides_of_a_dpo_parent_and_not_the_reverse(tmp_path):
    parent = published(made(stored(day(20)), tmp_path / "p"), tmp_path)
    made(stored([]), tmp_path / "s", parent=parent, name="sft")
    taught = examples(tmp_path / "s")
    assert {e.chosen for e in taught} == {f"author{i}" for i in range(20)}
    assert {e.rejected for e in taught} == {None}
    sft = published(made(stored(day(20)), tmp_path / "q", name="sft"), tmp_path)
    back = made(stored([]), tmp_path / "r", parent=sft)
    assert back.manifest["counts"]["carried_dropped"] == {"no_rejected": 20}
    assert examples(tmp_path / "r") == []


@pytest.mark.parametrize("file", ["manifest.json", "train.jsonl", "holdout.jsonl"])
@pytest.mark.parametrize("damage", ["changed", "missing", "garbage"])
def test_a_damaged_parent_is_refused(tmp_path, file, damage):
    parent = published(made(stored(day(20)), tmp_path / "p"), tmp_path)
    path = parent / file
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"\xff[" if damage == "garbage" else path.read_bytes() + b" ")
    with pytest.raises(LostParent, match="train without it"):
        made(stored([]), tmp_path / "c", parent=parent)


def test_a_version_tells_when_its_records_came_and_from_where(tmp_path):
    version = made(stored(day(20)), tmp_path / "p")
    used = version.manifest["fates"]["train"] + version.manifest["fates"]["holdout"]
    assert sum(version.manifest["sources"].values()) == len(used) > 0
    first, last = map(datetime.fromisoformat, version.manifest["date_range"])
    assert first <= last
    assert first.tzinfo is not None
    alone = made(stored([]), tmp_path / "c", parent=published(version, tmp_path))
    assert (alone.manifest["date_range"], alone.manifest["sources"]) == (None, {})


# -- sft --------------------------------------------------------------------------------------------------------------


def taught(tmp_path, *bodies):
    made(stored(bodies), tmp_path / "d", name="sft")
    return [(e.chosen, e.evidence[0].kind) for e in examples(tmp_path / "d")]


@pytest.mark.parametrize(
    ("bodies", "expected"),
    [
        ([said("What is 6 * 7?", "42", outcome="unknown")], [("42", "verifier")]),
        ([said("Who is it?", "Ann", user_rating=4)], [("Ann", "rating")]),
        ([said("Who is it?", "Ann")], [("Ann", "outcome")]),
        ([corrected("Who is it?", "Bob", "Ann")], [("Ann", "correction")]),
        ([said("Who is it?", "Ann", user_rating=2)], []),
        ([said("Who is it?", "Ann", outcome="unknown")], []),
        ([said("What is 6 * 7?", "41")], []),
        ([said("Who is it?", "Ann", "a"), said("Who is it?", "Bob", "b")], []),  # they disagree, and nobody knows
        ([said("What is 6 * 7?", "41", "a"), said("What is 6 * 7?", "no idea", "b")], []),
        ([said("What is 6 * 7?", "42", "a"), said("What is 6 * 7?", "no idea", "b")], [("42", "verifier")]),
    ],
)
def test_sft_needs_one_good_answer(tmp_path, bodies, expected):
    assert taught(tmp_path, *bodies) == expected


def test_a_ready_made_pair_becomes_one_example_of_one_record(tmp_path):
    pair = {
        "prompt": "Capital of Japan?", "chosen": "Tokyo.", "rejected": "As far as I know, Kyoto.", "chosen_score": 0.9,
        "rejected_score": 0.4, "generation_method": "outcome_diff", "chosen_model": "small", "rejected_model": "large",
    }  # fmt: skip
    version = made(stored([pair]), tmp_path / "v", holdout_share=0)
    (example,) = examples(version.directory)

    assert (example.chosen, example.rejected) == ("Tokyo.", "As far as I know, Kyoto.")
    assert (example.chosen_model, example.rejected_model) == ("small", "large")
    assert [(e.kind, e.detail) for e in example.evidence] == [("ready_made", "outcome_diff: 0.9 against 0.4")]
    assert example.records == (stored([pair])[0].identity,)
    assert version.manifest["counts"]["by_evidence"] == {"ready_made": 1}
