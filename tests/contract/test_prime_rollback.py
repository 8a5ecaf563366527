"""Has Prime always a model to serve: is the link never missing, is there a way back, and is what it needs kept?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.prime_watcher import CONTENT, Watcher, in_sight, make_release

from reactord import durable
from reactord.errors import EnvironmentTrouble, MissingModel
from reactord.prime.manifest import Release
from reactord.prime.place import current, outcome, place, promote, prune, rollback, settle_failed


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "prime" / "models"


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    return tmp_path / "drop"


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return make_release(tmp_path, 0)


def test_current_is_a_relative_link_that_is_never_missing(
    tmp_path: Path, models: Path, drop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make_release(tmp_path, 0), make_release(tmp_path, 1, CONTENT + b"2")
    assert current(tmp_path) is None
    place(first, models, drop)
    promote(first, models)
    assert current(models) == f"{first.stem}.gguf"

    missing = []
    real = durable.disk.rename

    def rename(source: Path, target: Path) -> None:
        missing.append(not (models / "current.gguf").exists())
        real(source, target)

    monkeypatch.setattr(durable.disk, "rename", rename)
    place(second, models, drop)
    promote(second, models)
    promote(second, models)

    assert current(models) == f"{second.stem}.gguf"
    assert not any(missing)


def test_a_current_gguf_that_is_the_operators_own_file_is_not_replaced(
    release: Release, models: Path, drop: Path
) -> None:
    place(release, models, drop)
    (models / "current.gguf").write_bytes(b"theirs")

    with pytest.raises(EnvironmentTrouble, match=r"mv current\.gguf original\.gguf && ln -s"):
        promote(release, models)
    assert (models / "current.gguf").read_bytes() == b"theirs"


def test_a_rollback_serves_the_file_before_and_drops_it_under_a_new_version(
    tmp_path: Path, models: Path, drop: Path
) -> None:
    good, bad = make_release(tmp_path, 0), make_release(tmp_path, 1, CONTENT + b"worse")
    for release in (good, bad):
        place(release, models, drop)
        before = current(models)
        promote(release, models)
        Watcher(drop, models).scan()
    again = replace(good, source=models / f"{good.stem}.gguf", version="v1.2-rollback-2026-11-21")

    for _ in range(2):  # once more, as after a crash
        rollback(models, drop, rejected=bad.stem, target=before, again=again)

    assert current(models) == f"{good.stem}.gguf"
    assert sorted(path.name for path in (drop / "rejected").iterdir()) == [f"{bad.stem}.gguf", f"{bad.stem}.json"]
    assert outcome(drop, bad.stem) == "absent"
    assert outcome(drop, again.stem) == "pending"
    # Body provisions from the newest file here: it must not find the rejected one.
    assert [path.name for path in (drop / "deployed").glob("*.gguf")] == [f"{good.stem}.gguf"]
    assert (models / f"{bad.stem}.gguf").exists()  # evidence, until it is pruned


def test_a_first_deployment_that_is_rolled_back_leaves_prime_to_its_own_choice(
    release: Release, models: Path, drop: Path
) -> None:
    place(release, models, drop)
    assert current(models) is None
    promote(release, models)

    rollback(models, drop, rejected=release.stem, target=None, again=None)

    assert current(models) is None
    assert in_sight(drop / "pending", drop / "deployed") == []


def test_the_operators_model_from_another_directory_is_linked_back(
    release: Release, models: Path, drop: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "big-llama-3.gguf"
    theirs.write_bytes(b"GGUF")
    models.mkdir(parents=True)
    (models / "current.gguf").symlink_to(theirs)
    place(release, models, drop)
    before = current(models)
    promote(release, models)

    rollback(models, drop, rejected=release.stem, target=before, again=None)
    assert (models / "current.gguf").resolve() == theirs.resolve()

    theirs.unlink()
    with pytest.raises(MissingModel, match="reactord models"):
        rollback(models, drop, rejected=release.stem, target=before, again=None)


def test_a_refused_model_takes_its_forgotten_manifest_along(release: Release, models: Path, drop: Path) -> None:
    place(release, models, drop)
    settle_failed(drop, release.stem)
    assert outcome(drop, release.stem) == "pending"

    (drop / "pending" / f"{release.stem}.gguf").write_bytes(b"GGUF" + bytes(2000))
    Watcher(drop, models).scan()
    assert outcome(drop, release.stem) == "failed"
    assert (drop / "pending" / f"{release.stem}.json").exists()

    settle_failed(drop, release.stem)
    settle_failed(drop, release.stem)

    assert list((drop / "pending").iterdir()) == []
    assert (drop / "failed" / f"{release.stem}.json").exists()


def test_three_versions_before_the_newest_are_kept_and_what_is_served_always(
    tmp_path: Path, models: Path, drop: Path
) -> None:
    releases = [make_release(tmp_path, minor) for minor in range(7)]
    for release in releases:
        place(release, models, drop)
        Watcher(drop, models).scan()
    promote(releases[0], models)
    (models / "theirs.gguf").write_bytes(b"GGUF")
    newest_first = [release.stem for release in reversed(releases)]

    assert prune(models, drop, newest_first) == [releases[2].stem, releases[1].stem]

    kept = {releases[minor].stem for minor in (0, 3, 4, 5, 6)}
    assert {path.stem for path in in_sight(models)} == kept | {"current", "theirs"}
    assert {path.stem for path in in_sight(drop / "deployed")} == kept


@pytest.mark.parametrize("looks_before_the_move", [0, 1, 2])
def test_a_drop_is_never_lost_from_sight_while_the_watcher_moves_it(
    release: Release, models: Path, drop: Path, looks_before_the_move: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(release, models, drop)
    looks = 0
    real = Path.exists

    def exists(path: Path) -> bool:
        nonlocal looks
        if looks == looks_before_the_move:
            Watcher(drop, models).scan()
        looks += 1
        return real(path)

    monkeypatch.setattr(Path, "exists", exists)

    assert outcome(drop, release.stem) in ("pending", "deployed")
