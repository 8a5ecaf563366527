from __future__ import annotations

import json

import pytest

from reactord.jobs.correction import first_margin
from reactord.jobs.planning import (
    UNKNOWN_BASE_BYTES,
    Bounds,
    Work,
    factors_of,
    history_of,
    kind_of,
    plan,
    plans,
    predicted,
)
from reactord.jobspec import Hyper
from reactord.ledger import peaks
from reactord.ledger.peaks import Peak
from reactord.ledger.state import Store
from reactord.workdir import STAGES

BASE = {
    "num_hidden_layers": 30,
    "hidden_size": 576,
    "vocab_size": 8192,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}
NOTHING = dict.fromkeys(STAGES, ())
LONG = 4096  # tokens: the settings cut it
BOUNDS = Bounds(min_length_tokens=128, min_lora_rank=8)


@pytest.fixture
def base(fast_dir):
    folder = fast_dir / "smollm2" / "hf"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(BASE))
    return folder


def _peak(base, *, recipe="dpo", **hyper):
    return predicted(Work(recipe, base, Hyper(**hyper)))["train"]


def test_a_base_that_was_never_converted_is_planned_for_with_a_round_number_and_never_shrunk(fast_dir):
    work = Work("dpo", fast_dir / "none", Hyper())

    (only,) = plans(work, NOTHING, BOUNDS)

    assert (only.peak_bytes, only.known) == (UNKNOWN_BASE_BYTES, False)


def test_the_prediction_grows_with_everything_that_costs_memory(base):
    plain = _peak(base)
    for more in ({"lora_rank": 64}, {"pairs_per_batch": 4}, {"max_length_tokens": 1024}):
        assert _peak(base, **more) > plain
    assert _peak(base, max_steps=9999) == plain
    assert _peak(base, recipe="sft") < plain  # one row an example, not two


def test_once_the_examples_are_known_only_their_length_counts(base):
    hyper = Hyper(max_length_tokens=512)

    found = [predicted(Work("dpo", base, hyper, longest))["train"] for longest in (100, 512, 4000)]

    assert found[0] < found[1] == found[2]


def test_the_peak_of_a_job_is_that_of_its_largest_stage_that_is_left(base):
    work = Work("dpo", base, Hyper())
    whole = plan(work, NOTHING)
    rest = plan(Work("dpo", base, Hyper(), ended=frozenset({"prepare", "train"})), NOTHING)

    assert whole.peak_bytes == dict(whole.stages)["train"]
    assert [stage for stage, _ in rest.stages] == ["export", "judge"]
    assert rest.peak_bytes == dict(rest.stages)["judge"] < whole.peak_bytes


def test_before_the_examples_are_known_a_job_asks_for_all_or_for_their_choice_alone(base):
    asked, first = plans(Work("dpo", base, Hyper()), NOTHING, BOUNDS)

    assert [stage for stage, _ in asked.stages] == list(STAGES)
    assert [stage for stage, _ in first.stages] == ["prepare"]
    assert first.hyper == asked.hyper
    assert first.differs_from(asked.hyper) == "only the examples for now, the rest when their length is known"


def test_smaller_forms_keep_the_pairs_of_a_step_then_shorten_then_learn_less(base):
    found = plans(Work("dpo", base, Hyper(pairs_per_batch=8, pairs_per_step=8), LONG), NOTHING, BOUNDS)
    numbers = [(p.hyper.pairs_per_batch, p.hyper.max_length_tokens, p.hyper.lora_rank, p.lossless) for p in found]

    assert numbers == [
        (8, 512, 16, True), (4, 512, 16, True), (2, 512, 16, True), (1, 512, 16, True),
        (1, 256, 16, False), (1, 128, 16, False), (1, 128, 8, False),
    ]  # fmt: skip
    sizes = [p.peak_bytes for p in found]
    assert sizes == sorted(sizes, reverse=True)
    assert {p.hyper.pairs_per_step for p in found} == {8}


def test_a_micro_batch_always_divides_the_step(base):
    found = plans(Work("dpo", base, Hyper(pairs_per_batch=6, pairs_per_step=6), LONG), NOTHING, BOUNDS)

    assert [p.hyper.pairs_per_batch for p in found if p.lossless] == [6, 3, 2, 1]


def test_a_run_with_a_checkpoint_shrinks_nothing_but_its_batch(base):
    bounds = Bounds(16, 1, only_batch=True)

    assert all(p.lossless for p in plans(Work("dpo", base, Hyper(pairs_per_batch=4), LONG), NOTHING, bounds))


def test_a_smaller_form_says_in_words_what_is_smaller(base):
    asked, *smaller = plans(Work("dpo", base, Hyper(pairs_per_batch=2), LONG), NOTHING, BOUNDS)

    assert smaller[0].differs_from(asked.hyper) == "1 pairs a micro-batch (a step still holds as many) instead of 2"
    assert "8 as the adapter's rank instead of 16" in smaller[-1].differs_from(asked.hyper)


def test_what_runs_took_corrects_the_next_prediction_of_that_kind_only(base, home):
    store, work = Store(home.state_db), Work("dpo", base, Hyper())
    before = plan(work, history_of(store.db, work))
    raw = predicted(work)
    for number in range(3):
        with store.transaction():
            took = Peak(raw["train"], 2 * raw["train"])
            peaks.remember(store.db, kind_of("train", work), took, "j", float(number))

    after = plan(work, history_of(store.db, work))

    assert 2.0 * raw["train"] <= after.peak_bytes <= 2.1 * raw["train"]
    assert dict(after.stages)["judge"] == dict(before.stages)["judge"]
    for other in (Work("sft", base, Hyper()), Work("dpo", base, Hyper(lora_rank=0))):
        assert factors_of(other, history_of(store.db, other))["train"] == first_margin()
    assert factors_of(Work("dpo", home.root / "none", Hyper()), history_of(store.db, work)) == {}
    store.close()


def test_a_job_in_which_every_weight_learns_takes_more_and_stays_such_a_job(base):
    full = Hyper(lora_rank=0, pairs_per_batch=4, pairs_per_step=4)

    found = plans(Work("dpo", base, full, LONG), NOTHING, BOUNDS)

    assert {p.hyper.lora_rank for p in found} == {0}
    assert [p.hyper.pairs_per_batch for p in found if p.lossless] == [4, 2, 1]
    # float32 weights, gradients and moments of 110 million numbers, less what the adapter and bfloat16 took
    assert _peak(base, lora_rank=0) - _peak(base) > 110e6 * 12 - 5e6 * 16


def test_several_processes_take_what_each_takes_and_one_is_enough_before_anything_is_lost(base):
    alone, two = _peak(base, pairs_per_batch=4), _peak(base, pairs_per_batch=4, processes=2)
    assert 2 * alone < two < 2.5 * alone
    assert _peak(base, pairs_per_batch=8, processes=2) == two, "no more than its share of a step"

    found = plans(Work("dpo", base, Hyper(pairs_per_batch=4, processes=2), LONG), NOTHING, BOUNDS)

    lossless = [(p.hyper.processes, p.hyper.pairs_per_batch) for p in found if p.lossless]
    assert lossless == [(2, 4), (2, 2), (2, 1), (1, 1)]
    assert all(p.hyper.processes == 1 for p in found if not p.lossless)
    assert "1 process instead of 2" in found[3].differs_from(found[0].hyper)
    kept = plans(Work("dpo", base, Hyper(processes=2), LONG), NOTHING, Bounds(16, 1, only_batch=True))
    assert {p.hyper.processes for p in kept} == {2}
