from __future__ import annotations

from pathlib import Path

import pytest

from reactord.worker import checkpoints


def written(root: Path, step: int, missing: str = "") -> Path:
    """What transformers leaves behind."""
    folder = root / ".writing" / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    for name in checkpoints.REQUIRED:
        if name != missing:
            (folder / name).write_bytes(f"{name} {step}".encode() * 100)
    return folder


def seal(root: Path, step: int, missing: str = "") -> Path:
    return checkpoints.seal(written(root, step, missing), root, step)[0]


def test_the_newest_whole_checkpoint_is_resumed_from(tmp_path):
    for step in (4, 8, 12):
        seal(tmp_path, step)
    newest, moved = checkpoints.newest(tmp_path)
    assert newest is not None
    assert (newest.name, moved) == ("step-000012", [])
    assert checkpoints.step_of(newest) == 12


def test_there_is_nothing_to_resume_from_at_first(tmp_path):
    assert checkpoints.newest(tmp_path) == (None, [])


@pytest.mark.parametrize("name", [*checkpoints.REQUIRED, checkpoints.COMPLETE])
def test_a_truncated_file_sends_the_run_back_to_the_checkpoint_before(tmp_path, name):
    seal(tmp_path, 4)
    damaged = seal(tmp_path, 8) / name
    damaged.write_bytes(damaged.read_bytes()[:-1])
    newest, moved = checkpoints.newest(tmp_path)
    assert newest is not None
    assert newest.name == "step-000004"
    assert "step-000008 is damaged" in moved[0]
    assert (tmp_path / "damaged-step-000008-0").is_dir()


def test_a_changed_byte_of_the_same_length_is_noticed(tmp_path):
    victim = seal(tmp_path, 4) / "optimizer.pt"
    data = bytearray(victim.read_bytes())
    data[7] ^= 1
    victim.write_bytes(data)
    assert checkpoints.newest(tmp_path)[0] is None


@pytest.mark.parametrize("missing", checkpoints.REQUIRED)
def test_a_checkpoint_without_a_part_of_the_state_is_never_resumed_from(tmp_path, missing):
    assert missing in (checkpoints.problem(seal(tmp_path, 4, missing)) or "")
    assert checkpoints.newest(tmp_path)[0] is None


def test_a_step_can_be_sealed_again_after_its_damaged_form_was_moved_aside(tmp_path):
    for attempt in range(2):
        (seal(tmp_path, 4) / "optimizer.pt").unlink()
        assert checkpoints.newest(tmp_path)[0] is None
        assert (tmp_path / f"damaged-step-000004-{attempt}").is_dir()
    assert checkpoints.problem(seal(tmp_path, 4)) is None


def test_a_half_written_scratch_is_not_a_checkpoint(tmp_path):
    written(tmp_path, 4)
    assert checkpoints.newest(tmp_path) == (None, [])


def test_only_the_last_checkpoints_are_kept(tmp_path):
    for step in (4, 8, 12, 16):
        seal(tmp_path, step)
    checkpoints.prune(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-000012", "step-000016"]
