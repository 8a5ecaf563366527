"""Is a model in front of Prime always whole, whatever dies when, and does Prime's watcher take it?

The watcher is rebuilt from contract/prime.md section 2, with its habits: no wait for stability, hidden files matched,
a manifest that fails open, a plain copy into the models directory.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from reactord import durable
from reactord.errors import BadRequest, DiskFull, EnvironmentTrouble, MissingModel
from reactord.home import Home
from reactord.prime import place as placing
from reactord.prime.manifest import Release
from reactord.prime.place import current, outcome, place, promote, prune, rollback, settle_failed

CONTENT = b"GGUF" + bytes(range(256)) * 11


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "prime" / "models"


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    return tmp_path / "drop"


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return make_release(tmp_path, 0)


def make_release(tmp_path: Path, minor: int, content: bytes = CONTENT) -> Release:
    source = tmp_path / "job" / f"artifact-{minor}.gguf"
    source.parent.mkdir(exist_ok=True)
    source.write_bytes(content)
    return Release(
        source=source,
        sha256=hashlib.sha256(content).hexdigest(),
        model_id="jarvis-openhermes-smollm2-135m",
        version=f"v1.{minor}-auto-2026-11-21",
        training_run_id=f"job-{minor}",
        base_model="smollm2-135m-instruct",
        quantization="Q8_0",
        template="chatml",
        metrics={"loss": 0.52},
        created_at=1_795_281_095.0,
    )


# -- Prime's side ------------------------------------------------------------------------------------------------------


def in_sight(*directories: Path) -> list[Path]:
    """What a glob for *.gguf finds; like Prime's, it finds hidden files too."""
    return [path for directory in directories if directory.is_dir() for path in directory.glob("*.gguf")]


def assert_nothing_partial(models: Path, drop: Path, *releases: Release) -> None:
    whole = {release.sha256 for release in releases}
    for path in in_sight(models, drop / "pending", drop / "deployed"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in whole, path
    for path in in_sight(drop / "pending"):
        said = json.loads(path.with_suffix(".json").read_bytes())
        assert said["sha256"] in whole


class Watcher:
    """Prime A's ReactorCoreWatcher at its start scan."""

    def __init__(self, drop: Path, models: Path) -> None:
        self.drop, self.models = drop, models
        self.unchecked: list[str] = []

    def scan(self) -> None:
        for path in sorted((self.drop / "pending").glob("*.gguf")):
            try:
                self.deploy(path)
            except (OSError, shutil.Error, ValueError):
                shutil.move(path, self.drop / "failed" / path.name)

    def deploy(self, path: Path) -> None:
        try:
            said = json.loads(path.with_suffix(".json").read_bytes())
            name = f"{said['model_id']}-{said['version']}.gguf"
        except (OSError, ValueError, KeyError):
            said, name = {"sha256": ""}, f"{path.stem}-v20261121-101010.gguf"
            self.unchecked.append(path.name)
        data = path.read_bytes()
        if len(data) < 1024 or data[:4] != b"GGUF":
            raise ValueError(path)
        if said["sha256"] and hashlib.sha256(data).hexdigest() != said["sha256"]:
            raise ValueError(path)
        shutil.copy2(path, self.models / name)
        for moved in (path, path.with_suffix(".json")):
            shutil.move(moved, self.drop / "deployed" / moved.name)


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


# -- crashes -----------------------------------------------------------------------------------------------------------

KILLED = textwrap.dedent(
    """
    import json, os, signal, sys
    from pathlib import Path
    from reactord import durable
    from reactord.prime import place as placing
    from reactord.prime.manifest import Release

    class Dying(durable.RealDisk):
        '''Dies at the n-th call: before it, or after it, or (a write) in the middle.'''
        calls = 0

    def dying(name, real):
        def call(*arguments):
            Dying.calls += 1
            if Dying.calls == at:
                if when == "after":
                    real(*arguments)
                if when == "after" or name != "write":
                    os.kill(os.getpid(), signal.SIGKILL)
                os.write(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)
        return staticmethod(call)

    at, when, arguments = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    for name in ("write", "fsync", "rename", "link", "unlink"):
        setattr(Dying, name, dying(name, getattr(durable.RealDisk, name)))
    durable.disk = Dying()
    placing.CHUNK_BYTES = 1024
    def release(said):
        return Release(**(said | {"source": Path(said["source"])}))
    models, drop = Path(arguments["models"]), Path(arguments["drop"])
    if "rejected" in arguments:
        placing.rollback(models, drop, rejected=arguments["rejected"], target=arguments["target"],
                         again=release(arguments["release"]))
    else:
        placing.place(release(arguments["release"]), models, drop)
        placing.promote(release(arguments["release"]), models)
    """
)


def run_and_die(at: int, when: str, release: Release, models: Path, drop: Path, **more: str) -> bool:
    """Whether the process was killed; False when it ended before its `at`-th call to the disk."""
    said = {name: getattr(release, name) for name in release.__slots__} | {"source": str(release.source)}
    arguments = {"release": said, "models": str(models), "drop": str(drop), **more}
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(at), when, json.dumps(arguments)], check=False, timeout=60
    ).returncode
    assert ended in (0, -9)
    return ended == -9


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_call_to_the_disk_it_is_whole_for_prime_and_complete_after_the_next_run(
    tmp_path: Path, when: str
) -> None:
    release = make_release(tmp_path, 0)
    at = 1
    while True:
        models, drop = tmp_path / f"models{at}", tmp_path / f"drop{at}"
        killed = run_and_die(at, when, release, models, drop)
        assert_nothing_partial(models, drop, release)

        place(release, models, drop)
        promote(release, models)

        assert sorted(path.name for path in models.iterdir()) == sorted([f"{release.stem}.gguf", "current.gguf"])
        assert sorted(path.name for path in (drop / "pending").iterdir()) == sorted(
            [f"{release.stem}.gguf", f"{release.stem}.json"]
        )
        assert (models / "current.gguf").read_bytes() == CONTENT
        assert_nothing_partial(models, drop, release)
        if not killed:
            break
        at += 1
    assert at > 15


class FailingDisk:
    """Every write, fsync and rename goes through it; the `at`-th fails once with `number`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        self.number, self.calls, self.at = number, 0, 0
        for name in ("write", "fsync", "rename"):
            monkeypatch.setattr(durable.disk, name, partial(self.call, getattr(durable.disk, name)))

    def call(self, real: Callable[..., object], *arguments: object) -> object:
        self.calls += 1
        if self.calls == self.at:
            raise OSError(self.number, os.strerror(self.number))
        return real(*arguments)


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, OSError)])
def test_a_disk_that_fails_at_any_call_shows_nothing_partial_and_the_next_run_completes(
    tmp_path: Path, number: int, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    release, disk = make_release(tmp_path, 0), FailingDisk(monkeypatch, number)
    place(release, tmp_path / "models", tmp_path / "drop")
    promote(release, tmp_path / "models")
    total = disk.calls
    assert total > 10

    for at in range(1, total + 1):
        models, drop = tmp_path / f"models{at}", tmp_path / f"drop{at}"
        disk.calls, disk.at = 0, at
        with pytest.raises(kind):  # noqa: PT012 - either of the two meets the failure
            place(release, models, drop)
            promote(release, models)
        assert_nothing_partial(models, drop, release)
        assert not list(tmp_path.rglob("*.partial"))

        place(release, models, drop)
        promote(release, models)
        assert (models / "current.gguf").read_bytes() == CONTENT
        assert not list(tmp_path.rglob("*.tmp"))


def test_a_full_disk_says_so_before_the_first_byte(
    release: Release, models: Path, drop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int, _offset: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    written: list[object] = []
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    monkeypatch.setattr(durable.disk, "write", lambda *arguments: written.append(arguments))

    with pytest.raises(DiskFull, match="free some"):
        place(release, models, drop)
    assert written == []
    assert list(models.iterdir()) == []


def test_a_reader_that_looks_all_the_time_never_sees_a_partial_model_or_a_missing_link(
    tmp_path: Path, models: Path, drop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "CHUNK_BYTES", 512)
    releases = [make_release(tmp_path, minor, CONTENT + bytes([minor]) * 4096) for minor in range(20)]
    whole = {release.sha256 for release in releases}
    wrong: list[object] = []
    looks, stop = 0, threading.Event()

    def reader() -> None:
        nonlocal looks
        while not stop.is_set():
            for path in in_sight(models, drop / "pending"):
                if hashlib.sha256(path.read_bytes()).hexdigest() not in whole:
                    wrong.append(path)
                if path.parent.name == "pending" and not path.with_suffix(".json").exists():
                    wrong.append(path)
            looks += 1

    thread = threading.Thread(target=reader)
    try:
        for release in releases:
            if release is releases[1]:
                thread.start()
            place(release, models, drop)
            promote(release, models)
            assert (models / "current.gguf").exists()
    finally:
        stop.set()
        thread.join(timeout=30)
    assert wrong == []
    assert looks


# -- the link and the way back -----------------------------------------------------------------------------------------


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


def test_a_rollback_killed_at_any_call_is_complete_after_the_next_run(tmp_path: Path) -> None:
    good, bad = make_release(tmp_path, 0), make_release(tmp_path, 1, CONTENT + b"worse")
    at = 1
    while True:
        models, drop = tmp_path / f"models{at}", tmp_path / f"drop{at}"
        for release in (good, bad):
            place(release, models, drop)
            promote(release, models)
        again = replace(good, source=models / f"{good.stem}.gguf", version="v1.2-rollback-2026-11-21")
        target = f"{good.stem}.gguf"
        killed = run_and_die(at, "before", again, models, drop, rejected=bad.stem, target=target)
        assert_nothing_partial(models, drop, good, bad)

        rollback(models, drop, rejected=bad.stem, target=target, again=again)

        assert current(models) == target
        assert outcome(drop, bad.stem) == "absent"
        assert outcome(drop, again.stem) == "pending"
        assert (drop / "rejected" / f"{bad.stem}.json").exists()
        if not killed:
            break
        at += 1
    assert at > 15


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
