"""Does a model come before Prime under its name, where Prime looks, and does Prime's watcher take it?"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.prime_watcher import CONTENT, Watcher, in_sight, make_release

from reactord import durable
from reactord.errors import BadRequest, MissingModel
from reactord.home import Home
from reactord.prime import place as placing
from reactord.prime.manifest import Release
from reactord.prime.place import outcome, place, promote


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "prime" / "models"


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    return tmp_path / "drop"


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return make_release(tmp_path, 0)


# -- the way in --------------------------------------------------------------------------------------------------------


def test_the_model_lands_in_both_places_under_its_name_and_the_watcher_takes_it(
    release: Release, models: Path, drop: Path
) -> None:
    placed = place(release, models, drop)

    assert placed == models / "jarvis-openhermes-smollm2-135m-v1.0-auto-2026-11-21.gguf"
    assert placed.read_bytes() == CONTENT
    assert sorted(path.name for path in (drop / "pending").iterdir()) == [
        f"{release.stem}.gguf",
        f"{release.stem}.json",
    ]
    assert outcome(drop, release.stem) == "pending"

    watcher = Watcher(drop, models)
    watcher.scan()

    assert outcome(drop, release.stem) == "deployed"
    assert watcher.unchecked == []
    assert placed.read_bytes() == CONTENT
    assert sorted(path.name for path in models.iterdir()) == [placed.name]


def test_one_file_with_two_links_would_make_the_watcher_fail_so_there_are_two_copies(
    release: Release, models: Path, drop: Path
) -> None:
    placed = place(release, models, drop)
    offered = drop / "pending" / placed.name
    assert not placed.samefile(offered)

    offered.unlink()
    os.link(placed, offered)
    Watcher(drop, models).scan()
    assert outcome(drop, release.stem) == "failed"


def test_the_manifest_is_there_before_the_model(
    release: Release, models: Path, drop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    appeared = []
    real = durable.disk.rename

    def rename(source: Path, target: Path) -> None:
        real(source, target)
        appeared.append(target.parent.name + target.suffix)

    monkeypatch.setattr(durable.disk, "rename", rename)

    place(release, models, drop)

    assert appeared == ["models.gguf", "pending.json", "pending.gguf"]


def test_placing_again_changes_nothing(release: Release, models: Path, drop: Path) -> None:
    place(release, models, drop)
    before = {path: path.stat().st_mtime_ns for path in in_sight(models, drop / "pending")}

    place(release, models, drop)

    assert {path: path.stat().st_mtime_ns for path in in_sight(models, drop / "pending")} == before


@pytest.mark.parametrize("state", ["deployed", "failed"])
def test_a_stem_that_was_offered_once_is_not_offered_again(
    release: Release, models: Path, drop: Path, state: str
) -> None:
    place(release, models, drop)
    shutil.move(drop / "pending" / f"{release.stem}.gguf", drop / state)

    place(release, models, drop)

    assert outcome(drop, release.stem) == state
    assert not (drop / "pending" / f"{release.stem}.gguf").exists()


def test_without_a_drop_directory_nothing_is_offered(release: Release, models: Path, drop: Path) -> None:
    assert place(release, models, None).exists()
    assert not drop.exists()


def test_a_version_is_never_overwritten_by_other_bytes(
    release: Release, models: Path, drop: Path, tmp_path: Path
) -> None:
    place(release, models, drop)
    other = make_release(tmp_path, 0, CONTENT + b"!")

    with pytest.raises(BadRequest, match="use the next version"):
        place(other, models, drop)
    assert (models / f"{release.stem}.gguf").read_bytes() == CONTENT


def test_a_copy_that_died_with_prime_is_repaired(release: Release, models: Path, drop: Path) -> None:
    placed = place(release, models, drop)
    placed.write_bytes(CONTENT[:1500])  # the watcher copies onto our name, and was killed

    place(release, models, drop)
    assert placed.read_bytes() == CONTENT
    placed.write_bytes(CONTENT[:1500])
    promote(release, models)
    assert (models / "current.gguf").read_bytes() == CONTENT


def test_a_source_that_is_not_the_judged_file_never_appears(release: Release, models: Path, drop: Path) -> None:
    release.source.write_bytes(CONTENT + b"?")
    with pytest.raises(BadRequest, match="not the file that was judged"):
        place(release, models, drop)
    release.source.write_bytes(b"PK" + CONTENT)
    with pytest.raises(BadRequest, match="no GGUF"):
        place(release, models, drop)
    release.source.unlink()
    with pytest.raises(MissingModel, match="from its export"):
        place(release, models, drop)

    assert not [path for path in models.parent.rglob("*") if path.is_file()]
    assert not drop.exists()


def test_a_name_that_prime_would_misread_is_refused_before_a_byte_is_written(
    release: Release, models: Path, drop: Path
) -> None:
    with pytest.raises(BadRequest, match="chatml template"):
        place(replace(release, model_id="jarvis-smollm2"), models, drop)
    assert not models.exists()


# -- where -------------------------------------------------------------------------------------------------------------


def test_the_directories_come_from_the_settings_then_primes_environment_then_the_home(tmp_path: Path) -> None:
    home, chosen = Home(tmp_path), Path("/chosen")
    assert placing.models_dir(home, {}) == tmp_path / "models"
    assert placing.models_dir(home, {"JPRIME_REPO_DIR": "/prime"}) == Path("/prime/models")
    assert placing.models_dir(home, {"JARVIS_PRIME_MODELS_DIR": "/m2", "JPRIME_REPO_DIR": "/p"}) == Path("/m2")
    assert placing.models_dir(home, {"JPRIME_MODELS_DIR": "/m1", "JARVIS_PRIME_MODELS_DIR": "/m2"}) == Path("/m1")
    assert placing.models_dir(home, {"JPRIME_MODELS_DIR": "/m1"}, chosen) == chosen
    assert placing.drop_dir(home, {}) == tmp_path / "reactor" / "output"
    assert placing.drop_dir(home, {"REACTOR_CORE_WATCH_DIR": "/d"}) == Path("/d")
    assert placing.drop_dir(home, {"REACTOR_CORE_WATCH_DIR": "/d"}, chosen) == chosen
