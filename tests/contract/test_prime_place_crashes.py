"""Is a model in front of Prime always whole, whatever dies or fails when, and does the next run complete it?"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from support.prime_watcher import CONTENT, assert_nothing_partial, in_sight, make_release

from reactord import durable
from reactord.errors import DiskFull
from reactord.prime import place as placing
from reactord.prime.manifest import Release
from reactord.prime.place import current, outcome, place, promote, rollback


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "prime" / "models"


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    return tmp_path / "drop"


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return make_release(tmp_path, 0)


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
