"""Is what is held out never trained on, nor anything like it?"""

from hypothesis import given
from hypothesis import strategies as st

from reactord.data.example import Evidence, Example
from reactord.data.split import MIN_CLUSTERS, assign, clusters, overlap

TWINS = (
    "explain to a curious child of ten why the sky looks blue during the day and red in the evening",
    "explain to a curious child of ten why the sky looks blue during the day and red in the morning",
)


def example(cluster, task_type="fact", prompt="q"):
    return Example(
        prompt, None, "a", "b", (Evidence("rating", "", 1.0),), (), task_type, True, "a", "b", cluster, None, 0.0
    )


def test_near_duplicates_share_a_cluster_and_different_questions_do_not():
    named = clusters([*TWINS, "capital of france", "capital of spain", "arithmetic 15+27", "arithmetic 15+28"])
    assert named[TWINS[0]] == named[TWINS[1]]
    assert len(set(named.values())) == 5


def test_the_name_of_a_cluster_does_not_depend_on_the_order_of_its_prompts():
    assert clusters(TWINS) == clusters(TWINS[::-1])


CLUSTERS = st.lists(st.sampled_from([f"c{i}" for i in range(40)]), max_size=120)


@given(CLUSTERS, st.sampled_from([0.0, 0.15, 0.5]), st.integers(0, 99))
def test_each_stratum_holds_out_its_share_and_not_much_more(names, share, seed):
    examples = [example(name, "fact" if int(name[1:]) % 2 else "json") for name in names]
    sides = assign(examples, {}, holdout_share=share, seed=seed)
    assert assign(examples[::-1], {}, holdout_share=share, seed=seed) == sides
    for task_type in ("fact", "json"):
        mine = [e for e in examples if e.task_type == task_type]
        held = [e for e in mine if sides[e.cluster] == "holdout"]
        if share == 0 or len({e.cluster for e in mine}) < MIN_CLUSTERS:
            assert not held
        else:
            largest = max(names.count(name) for name in {e.cluster for e in mine})
            assert share * len(mine) <= len(held) < share * len(mine) + largest


def test_a_cluster_stays_where_an_earlier_dataset_put_it():
    examples = [example(f"c{i}") for i in range(20)]
    inherited = {"c3": "holdout", "c4": "train", "c9": "train"}
    sides = assign(examples, inherited, holdout_share=0.5, seed=1)
    assert {name: sides[name] for name in inherited} == inherited


def test_the_overlap_is_counted_anew_and_finds_twins_of_every_kind():
    asked = [example("", prompt=p) for p in ("Hey Jarvis, what is the capital of Peru?", TWINS[0], "What is 1 + 2?")]
    again = [example("", prompt=p) for p in ("capital of Peru", TWINS[1], "1 plus 2", "capital of Chile")]
    assert overlap(asked, again) == 3
    assert overlap(asked, again[3:]) == 0
    assert overlap([], []) == 0
