from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactord.worker import checkpoints
from reactord.worker.checkpoints import Stored, doomed
from reactord.worker.warm import why_cold


def warm(checkpoint: Path, step: int) -> str | None:
    """Every optimiser is the run's own."""
    return None


PARTS = ("adapter_model.safetensors", *checkpoints.REQUIRED, *checkpoints.random_states(1))


def written(root: Path, step: int, missing: str = "", processes: int = 1) -> Path:
    """What transformers leaves behind."""
    folder = root / ".writing" / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    for name in (PARTS[0], *checkpoints.REQUIRED, *checkpoints.random_states(processes)):
        if name != missing:
            (folder / name).write_bytes(f"{name} {step}".encode() * 100)
    return folder


def seal(root: Path, step: int, missing: str = "") -> Path:
    return checkpoints.seal(written(root, step, missing), root, step)[0]


def test_the_newest_whole_checkpoint_is_resumed_from(tmp_path):
    for step in (4, 8, 12):
        seal(tmp_path, step)
    newest, moved = checkpoints.newest(tmp_path, warm)
    assert newest is not None
    assert (newest.name, moved) == ("step-000012", [])
    assert checkpoints.step_of(newest) == 12


def test_there_is_nothing_to_resume_from_at_first(tmp_path):
    assert checkpoints.newest(tmp_path, warm) == (None, [])


@pytest.mark.parametrize("name", [*PARTS, checkpoints.COMPLETE])
def test_a_truncated_file_sends_the_run_back_to_the_checkpoint_before(tmp_path, name):
    seal(tmp_path, 4)
    damaged = seal(tmp_path, 8) / name
    damaged.write_bytes(damaged.read_bytes()[:-1])
    newest, moved = checkpoints.newest(tmp_path, warm)
    assert newest is not None
    assert newest.name == "step-000004"
    assert "step-000008 is damaged" in moved[0]
    assert (tmp_path / "damaged-step-000008-0").is_dir()


def test_a_changed_byte_of_the_same_length_is_noticed(tmp_path):
    victim = seal(tmp_path, 4) / "optimizer.pt"
    data = bytearray(victim.read_bytes())
    data[7] ^= 1
    victim.write_bytes(data)
    assert checkpoints.newest(tmp_path, warm)[0] is None


@pytest.mark.parametrize("missing", PARTS)
def test_a_checkpoint_without_a_part_of_the_state_is_never_resumed_from(tmp_path, missing):
    lacks = checkpoints.WEIGHTS if missing == PARTS[0] else missing
    assert lacks in (checkpoints.problem(seal(tmp_path, 4, missing)) or "")
    assert checkpoints.newest(tmp_path, warm)[0] is None


def test_a_checkpoint_of_two_processes_says_so_and_needs_the_random_state_of_both(tmp_path):
    whole, _ = checkpoints.seal(written(tmp_path, 4, processes=2), tmp_path, 4, processes=2)
    torn, _ = checkpoints.seal(written(tmp_path, 8, "rng_state_1.pth", processes=2), tmp_path, 8, processes=2)

    assert (checkpoints.problem(whole), checkpoints.processes_of(whole)) == (None, 2)
    assert checkpoints.problem(torn) == "it lacks rng_state_1.pth"
    assert checkpoints.processes_of(seal(tmp_path, 12)) == 1


def test_a_step_can_be_sealed_again_after_its_damaged_form_was_moved_aside(tmp_path):
    for attempt in range(2):
        (seal(tmp_path, 4) / "optimizer.pt").unlink()
        assert checkpoints.newest(tmp_path, warm)[0] is None
        assert (tmp_path / f"damaged-step-000004-{attempt}").is_dir()
    assert checkpoints.problem(seal(tmp_path, 4)) is None


def test_a_half_written_scratch_is_not_a_checkpoint(tmp_path):
    written(tmp_path, 4)
    assert checkpoints.newest(tmp_path, warm) == (None, [])


def test_only_the_last_checkpoints_are_kept(tmp_path):
    for step in (4, 8, 12, 16):
        seal(tmp_path, step)
    checkpoints.prune(tmp_path, 2, 10**9)
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-000012", "step-000016"]


def test_a_checkpoint_whose_optimiser_is_another_one_s_is_moved_aside_though_every_byte_is_right(tmp_path):
    for step in (4, 8):
        seal(tmp_path, step)

    newest, moved = checkpoints.newest(tmp_path, lambda _, step: "it is cold" if step == 8 else None)

    assert newest is not None
    assert newest.name == "step-000004"
    assert "step-000008 is damaged (it is cold)" in moved[0]


# -- how much is kept --------------------------------------------------------------------------------------------------
def _stored(*sizes: int, damaged: tuple[int, ...] = ()) -> list[Stored]:
    whole = [Stored(f"step-{n:06d}", size) for n, size in enumerate(sizes, 1)]
    return whole + [Stored(f"damaged-step-{n:06d}-0", size) for n, size in enumerate(damaged, 1)]


@pytest.mark.parametrize(
    ("sizes", "damaged", "keep", "budget", "gone"),
    [
        ((1, 1, 1, 1), (), 3, 100, ["step-000001"]),
        ((5, 5, 5, 5), (), 9, 10, ["step-000001", "step-000002"]),
        ((5, 5, 5, 5), (), 9, 1, ["step-000001", "step-000002"]),  # two stay whatever they take
        ((5, 5, 5, 5), (), 1, 1, ["step-000001", "step-000002", "step-000003"]),  # as it was asked for
        ((5, 5), (5, 5), 9, 15, ["damaged-step-000001-0"]),
        ((5, 5), (5, 5), 9, 10, ["damaged-step-000001-0", "damaged-step-000002-0"]),
        ((5, 5, 5), (5,), 9, 10, ["damaged-step-000001-0", "step-000001"]),
        ((5,), (), 9, 1, []),
        ((), (), 9, 1, []),
    ],
)
def test_what_goes_and_in_which_order(sizes, damaged, keep, budget, gone):
    assert doomed(_stored(*sizes, damaged=damaged), keep, budget) == gone


@given(
    st.lists(st.integers(0, 100), max_size=12), st.lists(st.integers(0, 100), max_size=4), st.integers(1, 6),
    st.integers(0, 400),
)  # fmt: skip
def test_what_is_kept_fits_the_budget_or_is_what_a_run_must_be_able_to_fall_back_to(sizes, damaged, keep, budget):
    stored = _stored(*sizes, damaged=tuple(damaged))
    gone = set(doomed(stored, keep, budget))
    left = [entry for entry in stored if entry.name not in gone]
    whole = [entry for entry in left if entry.whole]

    assert len(whole) <= keep
    assert [entry.name for entry in whole] == [entry.name for entry in stored if entry.whole][len(sizes) - len(whole) :]
    assert len(whole) >= min(len(sizes), keep, checkpoints.ALWAYS_KEPT)
    assert sum(entry.size_bytes for entry in left) <= budget or (
        len(whole) <= checkpoints.ALWAYS_KEPT and len(whole) == len(left)
    )


def test_the_budget_holds_on_the_disk(tmp_path):
    for step in (4, 8, 12, 16):
        seal(tmp_path, step)
    size = sum(file.stat().st_size for file in (tmp_path / "step-000016").iterdir())

    checkpoints.prune(tmp_path, 9, 3 * size + 10)

    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-000008", "step-000012", "step-000016"]


# -- what an optimiser remembers ---------------------------------------------------------------------------------------
def _optimizer(*steps: int | None) -> dict:
    """The state dictionary of AdamW; None is a weight that it has forgotten."""
    state = {n: {"step": step, "exp_avg": 0.1} for n, step in enumerate(steps) if step is not None}
    return {"state": state, "param_groups": [{"params": list(range(len(steps)))}]}


@pytest.mark.parametrize(
    ("optimizer", "schedule", "why"),
    [
        (_optimizer(8, 8, 8), 8, None),
        (_optimizer(8, None, 8), 8, "nothing of 1 of 3 weights"),
        (_optimizer(None, None), 8, "nothing of 2 of 2 weights"),
        (_optimizer(), 8, "nothing of 0 of 0 weights"),
        (_optimizer(8, 6), 8, "has seen [6, 8] steps, not 8"),
        (_optimizer(9, 9), 8, "has seen [9] steps, not 8"),
        (_optimizer(8, 8), 0, "learning rate is that of step 0, not 8"),
    ],
)
def test_an_optimiser_must_remember_every_weight_and_every_step(optimizer, schedule, why):
    found = why_cold(optimizer, {"last_epoch": schedule}, 8)

    assert (found is None) == (why is None)
    assert why is None or why in found
