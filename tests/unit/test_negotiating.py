from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactord.jobs.negotiating import (
    Grant,
    Lease,
    Offload,
    Policy,
    Refuse,
    Request,
    Shrink,
    Snapshot,
    Wait,
    negotiate,
    spare_bytes,
)
from reactord.jobs.planning import GIB, Plan
from reactord.jobs.scarcity import Scarcity
from reactord.jobspec import Hyper
from reactord.prime.memory import Holding

POLICY = Policy(headroom_bytes=GIB, limit_bytes=64 * GIB, reserve_bytes=40 * GIB, prime_threshold_bytes=24 * GIB,
                patience_s=300, look_again_s=10)  # fmt: skip
NOW = 1000.0


SHORT, SEVERE = Scarcity("something waited for it 23 % of the last 10 s", severe=False), Scarcity("it", severe=True)


def _bytes(gib):
    return None if gib is None else int(gib * GIB)


def _plan(gib, *, lossless=True, known=True, **hyper):
    return Plan(Hyper(**hyper), (("train", _bytes(gib)),), lossless=lossless, known=known)


def _prime(held, reach="same"):
    return Holding(alive=True, held_bytes=_bytes(held), may_reach_bytes=_bytes(held if reach == "same" else reach))


def _ask(*plans, waited_s=0.0, cloud=None, **policy):
    return Request(plans, replace(POLICY, **{k: _bytes(v) for k, v in policy.items()}), NOW, waited_s, cloud)


def _machine(total, available, prime=None, **more):
    return Snapshot(_bytes(total), _bytes(available), **({"prime": prime} if prime else {}), **more)


@pytest.mark.parametrize(
    ("machine", "peak", "policy", "granted"),  # in GiB
    [
        (_machine(16, 10), 4, {}, True),
        (_machine(16, 5), 4, {}, True),
        (_machine(16, 4.99), 4, {}, False),
        (_machine(16, 10, _prime(2)), 4, {}, True),
        (_machine(16, 10, _prime(2, 7)), 4, {}, True),
        (_machine(16, 10, _prime(2, 7.01)), 4, {}, False),  # it may still take more than 5
        (_machine(64, 60, _prime(12)), 4, {"limit_bytes": 16}, False),
        (_machine(64, 60, _prime(5)), 4, {"limit_bytes": 16}, True),
        (_machine(64, 60), 41, {}, False),
        (_machine(64, 60), 40, {}, True),
        (_machine(64, 30, _prime(25)), 4, {}, False),  # above JPRIME_MEMORY_THRESHOLD_GB
        (_machine(64, 30, _prime(24)), 4, {}, True),
        (_machine(16, 10, swap_used_bytes=_bytes(50)), 4, {}, True),  # what lies there is no claim on memory
        (_machine(16, 10, scarcity=SHORT), 4, {}, False),
        (_machine(16, 10, ours_to_come_bytes=_bytes(5.01)), 4, {}, False),
        (_machine(64, 60, ours_held_bytes=_bytes(30)), 10, {}, True),
        (_machine(64, 60, ours_held_bytes=_bytes(30.01)), 10, {}, False),  # our reserve is for all our jobs together
    ],
)
def test_a_job_is_granted_what_fits_beside_prime_and_nothing_else(machine, peak, policy, granted):
    decision = negotiate(machine, _ask(_plan(peak), **policy))

    assert isinstance(decision, Grant) == granted
    assert granted or "GiB" in decision.why


def test_a_prime_that_lives_and_does_not_say_what_it_needs_keeps_all_that_is_set_aside_for_it():
    """Unknown is not zero; on a machine a quarter as large it is a quarter as much."""
    silent = Holding(alive=True, held_bytes=None, may_reach_bytes=None)

    assert isinstance(negotiate(_machine(16, 10), _ask(_plan(4))), Grant)
    assert isinstance(negotiate(_machine(16, 11, silent), _ask(_plan(4))), Grant)
    waits = negotiate(_machine(16, 10.9, silent), _ask(_plan(4)))
    assert isinstance(waits, Wait)
    assert "Prime lives and does not say and may take 6.0 GiB more (unknown" in waits.why


def test_a_wait_says_what_was_measured_and_when_to_look_again():
    waits = negotiate(
        _machine(16, 6, _prime(3, 5), ours_to_come_bytes=GIB, scarcity=SHORT, others=(("jarvis-body", 2 * GIB),)),
        _ask(_plan(4)),
    )

    assert waits == Wait(
        "needs 4.0 GiB, 0.0 GiB can be given: 6.0 GiB of 16.0 GiB are available, Prime holds 3.0 GiB and may take"
        " 2.0 GiB more, 1.0 GiB are promised to the job that runs, 1.0 GiB stay free, jarvis-body holds 2.0 GiB,"
        " nothing starts while memory is short: something waited for it 23 % of the last 10 s",
        NOW + 10,
    )


FORMS = (_plan(8, pairs_per_batch=2), _plan(5, pairs_per_batch=1), _plan(2, pairs_per_batch=1, max_length_tokens=128,
                                                                         lossless=False))  # fmt: skip


def test_the_same_result_in_smaller_pieces_is_taken_at_once():
    decision = negotiate(_machine(16, 7), _ask(*FORMS))

    assert isinstance(decision, Shrink)
    assert decision.plan is FORMS[1]
    assert decision.why == (
        "1 pairs a micro-batch (a step still holds as many) instead of 2: 5.0 GiB fit, 8.0 GiB do not"
    )


def test_a_lesser_result_is_taken_only_when_patience_is_out_or_nothing_better_ever_fits():
    tight = _machine(16, 4)

    assert isinstance(negotiate(tight, _ask(*FORMS, waited_s=299)), Wait)
    assert negotiate(tight, _ask(*FORMS, waited_s=300)).plan is FORMS[2]
    assert negotiate(_machine(5, 4), _ask(*FORMS)).plan is FORMS[2]


def test_what_never_fits_is_refused_with_what_to_change_or_goes_to_the_cloud():
    never = _machine(2.5, 2.5)
    refused = negotiate(never, _ask(*FORMS))

    assert isinstance(refused, Refuse)
    assert "needs 2.0 GiB in its smallest form; the machine has 2.5 GiB" in refused.why
    assert "Choose a smaller base model, lower hyper.max_length_tokens or hyper.lora_rank" in refused.why
    assert isinstance(negotiate(replace(never, prime=_prime(2)), _ask(*FORMS)), Refuse)
    every_weight = _plan(30, lora_rank=0)
    assert "or train an adapter instead of every weight" not in refused.why
    assert (
        "train an adapter instead of every weight (hyper.lora_rank above 0)"
        in negotiate(_machine(8, 8), _ask(every_weight)).why
    )
    assert negotiate(never, _ask(*FORMS, cloud="gcp")).where == "gcp"
    assert isinstance(negotiate(_machine(16, 1), _ask(*FORMS, cloud="gcp")), Wait)
    assert isinstance(negotiate(_machine(16, 1), _ask(*FORMS, cloud="gcp", waited_s=300)), Offload)


def test_a_job_is_granted_its_peak_and_a_guess_all_that_is_free():
    assert negotiate(_machine(16, 10), _ask(_plan(4))).granted_bytes == _bytes(4)
    assert negotiate(_machine(16, 10), _ask(_plan(4, known=False))).granted_bytes == _bytes(9)


def test_what_runs_must_go_only_when_the_kernel_says_that_everything_waits_for_memory():
    policy = _ask(_plan(1)).policy
    calm = _machine(16, 6, swap_used_bytes=_bytes(3))

    assert spare_bytes(calm, policy) == spare_bytes(replace(calm, scarcity=SHORT), policy) == _bytes(6)
    assert spare_bytes(replace(calm, scarcity=SEVERE), policy) == 0


# -- what Prime would lend ---------------------------------------------------------------------------------------------
LENDS = Holding(alive=True, held_bytes=_bytes(5), may_reach_bytes=None, leasable_bytes=_bytes(4))


def _tired(*plans, may_lease=True, waited_s=300.0, cloud=None):
    asked = _ask(*plans, waited_s=waited_s, cloud=cloud)
    return replace(asked, policy=replace(asked.policy, may_lease=may_lease))


def test_prime_is_asked_to_lend_its_memory_only_when_patience_is_out_and_its_owner_allows_it():
    machine = _machine(16, 6, LENDS)

    assert isinstance(negotiate(machine, _tired(_plan(8), waited_s=299)), Wait)
    assert isinstance(negotiate(machine, _tired(_plan(8), may_lease=False)), Wait)
    assert isinstance(negotiate(replace(machine, prime=replace(LENDS, leasable_bytes=None)), _tired(_plan(8))), Wait)
    asks = negotiate(machine, _tired(_plan(8), cloud="gcp"))
    assert isinstance(asks, Lease)
    assert asks.why.startswith("needs 8.0 GiB, 4.0 GiB can be given, 9.0 GiB if Prime lends its memory: 6.0 GiB of")
    assert isinstance(negotiate(machine, _tired(_plan(9.1))), Wait)  # not even then
    assert isinstance(negotiate(machine, _tired(_plan(4))), Grant)  # it has what it needs


def test_prime_lends_its_memory_before_a_result_gets_worse_and_a_worse_one_is_taken_before_nothing():
    machine = _machine(16, 2.5, LENDS)

    assert negotiate(machine, _tired(*FORMS)).plan is FORMS[1]
    assert isinstance(
        negotiate(replace(machine, prime=replace(LENDS, leasable_bytes=_bytes(1))), _tired(*FORMS)), Lease
    )
    assert negotiate(replace(machine, available_bytes=_bytes(4)), _tired(*FORMS, may_lease=False)).plan is FORMS[2]


def test_a_prime_that_has_lent_its_memory_cannot_grow_and_has_nothing_more_to_lend():
    lent = _machine(16, 12, Holding(alive=True, held_bytes=GIB, may_reach_bytes=GIB))

    assert isinstance(negotiate(lent, _tired(_plan(11))), Grant)
    assert isinstance(negotiate(lent, _tired(_plan(11.1))), Wait)


SIZES = st.integers(0, 100 * GIB)
PRIMES = st.builds(Holding, alive=st.just(True), held_bytes=SIZES | st.none(), may_reach_bytes=SIZES | st.none(),
                   leasable_bytes=SIZES | st.none())  # fmt: skip
POLICIES = st.builds(Policy, headroom_bytes=SIZES, limit_bytes=SIZES, reserve_bytes=SIZES, prime_threshold_bytes=SIZES,
                     patience_s=st.just(300.0), look_again_s=st.just(10.0), may_lease=st.booleans())  # fmt: skip
SNAPSHOTS = st.builds(
    Snapshot, total_bytes=SIZES, available_bytes=SIZES, prime=PRIMES, scarcity=st.sampled_from((None, SHORT, SEVERE)),
    ours_held_bytes=SIZES, ours_to_come_bytes=SIZES,
)  # fmt: skip


@given(SNAPSHOTS, POLICIES, st.lists(SIZES, min_size=1, max_size=4), st.booleans(), SIZES)
def test_a_grant_never_overcommits_and_less_of_anything_never_helps(machine, policy, sizes, tired, less):
    forms = [Plan(Hyper(), (("train", size),), lossless=i < 2) for i, size in enumerate(sorted(sizes, reverse=True))]
    request = Request(forms, policy, NOW, 300.0 if tired else 0.0)
    decision = negotiate(machine, request)
    prime = machine.prime
    if isinstance(decision, Grant | Shrink):
        wanted = decision.plan.peak_bytes + policy.headroom_bytes
        reach = max(prime.held_bytes or 0, prime.may_reach_bytes or 0)
        ours = machine.ours_held_bytes + machine.ours_to_come_bytes
        assert wanted + machine.ours_to_come_bytes <= machine.available_bytes
        assert machine.scarcity is None or decision.plan.peak_bytes == 0
        assert wanted + reach + ours <= min(policy.limit_bytes, machine.total_bytes)
        return
    worse = [
        replace(machine, available_bytes=max(0, machine.available_bytes - less)),
        replace(machine, scarcity=SEVERE),
        replace(machine, ours_to_come_bytes=machine.ours_to_come_bytes + less),
        replace(machine, prime=replace(prime, may_reach_bytes=None)),
    ]
    assert not any(isinstance(negotiate(other, request), Grant | Shrink) for other in worse)


def test_nothing_starts_beside_a_job_to_which_prime_lends_its_memory():
    alone, beside = _machine(64, 60), _machine(64, 60, lent_to="job-1")

    assert isinstance(negotiate(alone, _ask(_plan(4))), Grant)
    decision = negotiate(beside, _ask(_plan(4)))

    assert isinstance(decision, Wait)
    assert "nothing starts beside job-1" in decision.why
