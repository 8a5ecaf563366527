"""How does a model get to where Prime finds it, and back out again?

    place     models/<id>-<version>.gguf, then <drop>/pending/: manifest first, model last     prime.md 8.2, 8.3
    outcome   pending | deployed | failed | absent: what Prime's watcher did with the drop      prime.md 2.4
    promote   current.gguf -> the new file                                                      prime.md 8.7
    rollback  current.gguf -> the file before; the rejected one leaves the scanned directories  prime.md 7.12

Every name appears by rename, complete and checked against the sum of the file that was judged; nothing is ever written
in place, because readers map these files. Each function can be run again after a crash at any point of itself.

Two copies, not one file with two links: Prime's watcher copies `pending/X.gguf` onto `models/X.gguf`, and Python's
copy refuses when both are one inode ("are the same file") - the watcher then calls the deployment failed. For the same
reason our copy in models/ stays writable.

A stock Prime watches nothing while it runs, so "pending" may last for ever: `live.py` knows what is served.

These calls read and write the whole model (seconds for gigabytes): not for an event loop's own thread.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from reactord import durable
from reactord.errors import BadRequest, DiskFull, EnvironmentTrouble, MissingModel
from reactord.home import Home
from reactord.prime.manifest import Release, manifest

CURRENT = "current.gguf"
#: besides the current one; a rollback needs a file to go back to
KEEP_PREVIOUS = 3
CHUNK_BYTES = 1 << 20
#: smaller files are refused by the watcher
MIN_SIZE_BYTES = 1024

Outcome = Literal["pending", "deployed", "failed", "absent"]


def models_dir(home: Home, environ: Mapping[str, str], chosen: Path | None = None) -> Path:
    """Prime's models directory: as configured, as Prime's own environment says, or `<home>/models`."""
    if chosen is not None:
        return chosen
    for name in ("JPRIME_MODELS_DIR", "JARVIS_PRIME_MODELS_DIR"):
        if environ.get(name):
            return Path(environ[name]).expanduser()
    if environ.get("JPRIME_REPO_DIR"):
        return Path(environ["JPRIME_REPO_DIR"]).expanduser() / "models"
    return home.root / "models"


def drop_dir(home: Home, environ: Mapping[str, str], chosen: Path | None = None) -> Path:
    """The directory whose `pending/` Prime's watcher reads: as configured, or `<home>/reactor/output`."""
    if chosen is not None:
        return chosen
    if environ.get("REACTOR_CORE_WATCH_DIR"):
        return Path(environ["REACTOR_CORE_WATCH_DIR"]).expanduser()
    return home.reactor / "output"


def place(release: Release, models: Path, drop: Path | None) -> Path:
    """Put the model into `models`, and, unless `drop` is None, offer it to Prime's watcher. Returns the placed file.

    Raises BadRequest (a manifest or name Prime would misread, a source that is not the judged file, a version that is
    taken by other bytes), DiskFull, OSError.
    """
    placed = models / f"{release.stem}.gguf"
    said = manifest(release, drop / "pending" / placed.name if drop else placed)
    _check_source(release.source)
    with _full_disk_in_words(placed):
        models.mkdir(parents=True, exist_ok=True)
        if placed.exists() and digest(placed) != release.sha256 and not (drop and _was_dropped(release, drop)):
            raise BadRequest(f"{placed} has other bytes, and a version is never overwritten: use the next version")
        _put(release, placed)
        if drop is not None:
            _offer(release, drop, said)
    return placed


def outcome(drop: Path, stem: str) -> Outcome:
    """What became of a drop. "deployed" means that Prime's watcher took it, not that Prime serves it."""
    # pending is looked at first: the watcher moves files out of it, never back.
    states: tuple[Outcome, ...] = ("pending", "deployed", "failed")
    return next((state for state in states if (drop / state / f"{stem}.gguf").exists()), "absent")


def settle_failed(drop: Path, stem: str) -> None:
    """After a refusal, move the manifest that the watcher forgot in pending/ beside its model."""
    forgotten = drop / "pending" / f"{stem}.json"
    if outcome(drop, stem) == "failed" and forgotten.exists():
        durable.move(forgotten, drop / "failed" / forgotten.name)


def current(models: Path) -> str | None:
    """What the link current.gguf says (for ours: a file name in `models`); None when there is no link.

    Write it down before `promote`: it is what `rollback` goes back to.
    """
    link = models / CURRENT
    return str(link.readlink()) if link.is_symlink() else None


def promote(release: Release, models: Path) -> None:
    """Point current.gguf at the placed model: what Prime loads when it starts.

    The file is checked once more, and restored if a watcher died while copying over it. Raises EnvironmentTrouble when
    current.gguf is a file of the operator's, which is not ours to replace.
    """
    placed = models / f"{release.stem}.gguf"
    with _full_disk_in_words(placed):
        _put(release, placed)
        _point_current(models, placed.name)


def rollback(models: Path, drop: Path | None, *, rejected: str, target: str | None, again: Release | None) -> None:
    """Serve `target` (what `current` said before) again, and take the model with the stem `rejected` out of sight.

    `again` is the last good model under a *new* version, for a Prime with a watcher; None where nothing may be dropped.
    `target` None means that there was nothing before: the link is removed, and Prime chooses as it did before us.
    Raises MissingModel when the target is gone.
    """
    if target is None:
        if current(models) == f"{rejected}.gguf":
            durable.remove(models / CURRENT)
            durable.sync_directory(models)
    elif not (models / target).is_file():
        raise MissingModel(f"{models / target} is gone: choose another version with `reactord models`")
    else:
        _point_current(models, target)
    if drop is not None:
        _set_aside(drop, rejected)
    if again is not None:
        place(again, models, drop)


def prune(models: Path, drop: Path | None, newest_first: Sequence[str], keep: int = KEEP_PREVIOUS) -> list[str]:
    """Delete our models (stems, newest first) beyond the newest and `keep` before it; never what current.gguf names.

    Returns the stems that were deleted.
    """
    serving = current(models)
    gone = [stem for stem in newest_first[1 + keep :] if f"{stem}.gguf" != serving]
    for stem in gone:
        durable.remove(models / f"{stem}.gguf")
        if drop is not None:
            durable.remove(drop / "deployed" / f"{stem}.gguf")
            durable.remove(drop / "deployed" / f"{stem}.json")
    return gone


def digest(path: Path) -> str:
    """The SHA-256 of a file, lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_source(source: Path) -> None:
    try:
        with source.open("rb") as file:
            magic, size = file.read(4), os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise MissingModel(f"{source} is gone: run the job again from its export") from None
    if magic != b"GGUF" or size < MIN_SIZE_BYTES:
        raise BadRequest(
            f"{source} is no GGUF file of at least {MIN_SIZE_BYTES} bytes: run the job again from its export"
        )


def _was_dropped(release: Release, drop: Path) -> bool:
    """Whether we offered exactly this model before: then other bytes under its name are Prime's unfinished copy."""
    for state in ("pending", "deployed", "failed"):
        try:
            said = json.loads((drop / state / f"{release.stem}.json").read_bytes())
        except (FileNotFoundError, ValueError):
            continue
        if said.get("sha256") == release.sha256 and said.get("training_run_id") == release.training_run_id:
            return True
    return False


def _offer(release: Release, drop: Path, said: bytes) -> None:
    """Manifest, then model, into pending/. A stem that was offered once is not offered again."""
    for state in ("pending", "deployed", "failed"):
        (drop / state).mkdir(parents=True, exist_ok=True)
    if outcome(drop, release.stem) != "absent":
        return
    pending = drop / "pending"
    _sweep(pending, f"{release.stem}.json")
    durable.publish(pending / f"{release.stem}.json", said, mode=0o644)
    _put(release, pending / f"{release.stem}.gguf")


def _put(release: Release, target: Path) -> None:
    """Make the judged bytes appear at `target` in one step; nothing happens when they are there."""
    if target.exists() and digest(target) == release.sha256:
        return
    # Hidden, in the same directory (same file system), and not ending in .gguf: the watcher takes hidden ones too.
    partial = target.with_name(f".{target.name}.partial")
    try:
        copied = _copy(release.source, partial)
        if copied != release.sha256:
            raise BadRequest(f"{release.source} is not the file that was judged: run the job again from its export")
        durable.sync_file(partial)
        durable.move(partial, target)
    except BaseException:
        durable.remove(partial)
        raise


@contextlib.contextmanager
def _full_disk_in_words(model: Path) -> Iterator[None]:
    try:
        yield
    except OSError as trouble:
        if trouble.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(f"no room to place {model.name}: free some on the disk of {model.parent}") from trouble


def _copy(source: Path, partial: Path) -> str:
    """Copy and return the SHA-256 of what was written. Room is reserved first, so that a full disk says so at once."""
    running = hashlib.sha256()
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        with source.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if sys.platform != "darwin" and size:
                os.posix_fallocate(descriptor, 0, size)
            while chunk := file.read(CHUNK_BYTES):
                running.update(chunk)
                durable.write_all(descriptor, chunk)
    finally:
        os.close(descriptor)
    return running.hexdigest()


def _point_current(models: Path, name: str) -> None:
    link = models / CURRENT
    if link.exists() and not link.is_symlink():
        raise EnvironmentTrouble(
            f"{link} is a file and not a link, so it is not ours to replace: "
            f"`cd {models} && mv {CURRENT} original.gguf && ln -s original.gguf {CURRENT}`, it is tried again"
        )
    if current(models) != name:
        _sweep(models, CURRENT)
        durable.point_link(link, name)


def _sweep(directory: Path, name: str) -> None:
    """Remove the temporaries of `name` that processes left behind which were killed."""
    for leftover in directory.glob(f".{name}.*{durable.TEMPORARY}"):
        durable.remove(leftover)


def _set_aside(drop: Path, stem: str) -> None:
    """Move a rejected model to rejected/, which nobody scans: Body provisions from the newest file in deployed/."""
    for state in ("pending", "deployed"):
        # The model first: without its manifest a watcher would deploy it unchecked.
        for name in (f"{stem}.gguf", f"{stem}.json"):
            if (drop / state / name).exists():
                (drop / "rejected").mkdir(exist_ok=True)
                durable.move(drop / state / name, drop / "rejected" / name)
