from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactord.jobs.reserving import GIB, UNKNOWN_BASE_BYTES, Grant, Need, Snapshot, Wait, negotiate, predict_peak_bytes
from reactord.jobspec import Hyper

BASE = {
    "num_hidden_layers": 30,
    "hidden_size": 576,
    "vocab_size": 49152,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}


def _bytes(gib):
    return None if gib is None else int(gib * GIB)


@pytest.mark.parametrize(
    ("machine", "need", "granted"),  # in GiB: (total, available, Prime's), (peak, headroom, limit)
    [
        ((16, 10, 0), (4, 1, 64), True),
        ((16, 5, 0), (4, 1, 64), True),
        ((16, 4.99, 0), (4, 1, 64), False),
        ((16, 10, None), (4, 1, 64), True),  # nobody heard of a Prime: what is available was measured
        ((16, 10, 11), (4, 1, 64), True),
        ((16, 10, 11.01), (4, 1, 64), False),  # Prime may grow back into what it was told it has
        ((64, 60, 12), (4, 1, 16), False),
        ((64, 60, 11), (4, 1, 16), True),
        ((64, 60, 0), (16, 1, 16), False),
        ((4, 4, 0), (3, 1, 64), True),
        ((4, 4, 0), (3, 1.01, 64), False),
        ((0, 0, 0), (0, 0, 64), True),
    ],
)
def test_a_job_is_granted_what_fits_beside_prime_and_nothing_else(machine, need, granted):
    decision = negotiate(Snapshot(*map(_bytes, machine)), Need(*map(_bytes, need)))

    assert isinstance(decision, Grant) == granted
    assert granted or "GiB" in decision.why


SIZES = st.integers(0, 100 * GIB)


@given(machine=st.tuples(SIZES, SIZES, SIZES | st.none()), wanted=st.tuples(SIZES, SIZES, SIZES), less=SIZES)
def test_a_grant_never_overcommits_and_less_of_anything_never_helps(machine, wanted, less):
    total, available, prime = machine
    peak, headroom, limit = wanted
    need = Need(*wanted)
    decision = negotiate(Snapshot(*machine), need)
    if isinstance(decision, Grant):
        assert decision.peak_bytes + headroom <= available
        assert decision.peak_bytes + headroom + (prime or 0) <= min(limit, total)
        return
    worse = [
        negotiate(Snapshot(max(0, total - less), available, prime), need),
        negotiate(Snapshot(total, max(0, available - less), prime), need),
        negotiate(Snapshot(total, available, (prime or 0) + less), need),
        negotiate(Snapshot(*machine), Need(peak + less, headroom, limit)),
    ]
    assert all(isinstance(other, Wait) for other in worse)


def test_a_base_that_was_never_converted_is_planned_for_with_a_round_number(fast_dir):
    assert predict_peak_bytes(fast_dir / "none", Hyper()) == UNKNOWN_BASE_BYTES


@pytest.fixture
def base(fast_dir):
    (fast_dir / "config.json").write_text(json.dumps(BASE))
    with (fast_dir / "model.safetensors").open("wb") as file:
        file.truncate(538 * 10**6)
    return fast_dir


def test_the_prediction_grows_with_everything_that_costs_memory(base):
    plain = predict_peak_bytes(base, Hyper())
    for more in (Hyper(lora_rank=64), Hyper(pairs_per_batch=4), Hyper(max_length_tokens=1024)):
        assert predict_peak_bytes(base, more) > plain
    assert predict_peak_bytes(base, Hyper(max_steps=9999)) == plain
