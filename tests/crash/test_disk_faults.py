"""A disk that writes half, is full, or fails an fsync, as the kernel really does it: shown, and nothing is lost."""

from __future__ import annotations

import errno
import json
import logging
import os
import resource
import subprocess
import time

import pytest
from crash.ingest_world import FILES_AT_ONCE, ROWS_AT_ONCE, LostOrDoubled, fresh, make_bus
from crash.recovery import verify_records
from support import crashes, forked, loops
from support.ledgers import check, hexed, line

from reactord import durable
from reactord.home import Home
from reactord.ipc import batch as batch_module
from reactord.ipc import inbox as inbox_module
from reactord.ipc.inbox import Inbox
from reactord.ledger import reading
from reactord.ledger import staged as staged_module

DROPS, LINES = 8, 100
KIB = 1024


def make_large_bus(home):
    """Far more bytes for the journal than the index ever writes, so that every limit below meets the journal."""
    home.create()
    for n in range(DROPS):
        (home.events / f"experiences_{n}.json").write_text(json.dumps([{"id": f"d{n}", "text": "x" * 60 * KIB}]))
    lines = [line(f"t{n}", pad="y" * KIB) for n in range(LINES)]
    (home.telemetry / "interactions_20261121.jsonl").write_bytes(b"".join(one + b"\n" for one in lines))


def verify_large(home):
    named = [f"d{n}" for n in range(DROPS)] + [f"t{n}" for n in range(LINES)]
    try:
        stored = [record.identity for record in reading.pending(home, check(home).last_seq)]
        assert sorted(stored) == sorted(hexed(identity) for identity in named)
        assert not [*home.events.iterdir(), *home.claimed.iterdir()]
    except (AssertionError, OSError, KeyError, ValueError) as wrong:
        raise LostOrDoubled(f"{type(wrong).__name__}: {wrong}") from wrong


def _open(root):
    logging.disable()
    inbox_module.TROUBLE_S = 0.0
    return Inbox(Home(root), lambda: time.time() + 60)


# -- short writes ------------------------------------------------------------------------------------------------------
def take_in_under_a_limit(root, limit, mutate=lambda: None):
    """No file may grow beyond `limit` (a write is short, the next fails: EFBIG); then it may, without a restart."""
    mutate()
    inbox = _open(root)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))  # Python ignores SIGXFSZ
    for _ in range(2):
        inbox.turn()
    shown = inbox.intake.trouble
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    for _ in range(3):
        inbox.turn()
    assert inbox.intake.trouble is None, inbox.intake.trouble
    inbox.close()
    if shown:
        (root / "shown").write_text(shown)


#: the pages of the index, then the batch of the journal, then more than either needs
LIMITS = [*range(0, 128 * KIB, 8 * KIB), *range(128 * KIB, 704 * KIB, 32 * KIB + 7)]


def under_every_limit(template, root, mutate=lambda: None):
    """How often a limit was met. Raises LostOrDoubled."""
    met = 0
    for limit in LIMITS:
        home = fresh(template, root)
        if forked.run(take_in_under_a_limit, root, limit, mutate) != 0:
            raise LostOrDoubled(f"with files of at most {limit} bytes it does not come to its end")
        verify_large(home)
        met += (root / "shown").exists()
    return met


@pytest.fixture
def large(fast_dir):
    make_large_bus(Home(fast_dir / "large"))
    return fast_dir / "large"


def test_writes_that_are_short_at_any_byte_lose_nothing_and_are_left_without_a_restart(large, fast_dir):
    met = under_every_limit(large, fast_dir / "home")

    print(f"{len(LIMITS)} limits of file size, {met} of them met")
    assert len(LIMITS) > met > 0.8 * len(LIMITS)  # and one life in which none was


# -- one error from any system call, those of SQLite included ----------------------------------------------------------
ERRORS = {
    "write": "ENOSPC", "pwrite64": "ENOSPC", "ftruncate": "EIO", "fsync": "EIO", "fdatasync": "EIO", "rename": "EIO",
    "renameat": "EIO", "unlink": "EIO", "unlinkat": "EIO", "openat": "EMFILE",
}  # fmt: skip


def take_in_until_well(root, mutate=lambda: None):
    """One life in small batches, with a look more for every trouble; the trouble must go by itself."""
    batch_module.BATCH_FILES, staged_module.ROWS = FILES_AT_ONCE, ROWS_AT_ONCE
    mutate()
    inbox = _open(root)
    for _ in range(3):
        inbox.turn()
    for _ in range(2):
        if inbox.intake.trouble:
            inbox.turn()
    assert inbox.intake.trouble is None, inbox.intake.trouble
    inbox.close()


def under_every_error(template, root, log, mutate=lambda: None, names=tuple(ERRORS)):
    """(how many calls failed, once each, and what was lost or doubled by which)."""
    fresh(template, root)
    assert crashes.run(take_in_until_well, root, mutate, log=str(log)) == 0
    points = [point for point in crashes.calls(log, changing=False) if point[0] in names]
    bad = []
    for name, n in points:
        fresh(template, root)
        status = crashes.run(take_in_until_well, root, mutate, inject=f"{name}:error={ERRORS[name]}:when={n}")
        try:
            if status != 0:
                raise LostOrDoubled(f"it ended with {status}")
            verify_records(Home(root))
        except LostOrDoubled as wrong:
            bad.append((name, n, str(wrong)[:200]))
    return len(points), bad


@pytest.mark.skipif(crashes.missing() is not None, reason=str(crashes.missing()))
def test_any_system_call_that_fails_once_is_made_good_by_the_same_process(fast_dir):
    make_bus(Home(fast_dir / "template"))

    failed, bad = under_every_error(fast_dir / "template", fast_dir / "home", fast_dir / "strace")

    print(f"{failed} system calls failed once, {len(bad)} bad")
    assert bad == []


# -- full, and not full any more ---------------------------------------------------------------------------------------
def _fill(root):
    with (root / "ballast").open("wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(b"b" * 4096)
        except OSError:
            return


def _meet_a_full_disk(root, room):
    """The disk is full but for `room` pages from the start, or after a first turn; then it is not full any more."""
    inbox = _open(root / "jarvis")
    if room % 2:
        inbox.turn()
        make_large_bus(inbox.home)
    _fill(root)
    os.truncate(root / "ballast", max(0, (root / "ballast").stat().st_size - room * 4096))
    shown = []
    for _ in range(3):
        inbox.turn()
        shown.append(inbox.intake.trouble)
    assert any(shown), "there was room: this shows nothing"  # what is unlinked makes some
    (root / "ballast").unlink()
    for _ in range(3):
        inbox.turn()
    assert inbox.intake.trouble is None, inbox.intake.trouble
    inbox.close()


@pytest.mark.skipif(loops.missing("tmpfs") is not None, reason=str(loops.missing("tmpfs")))
def test_a_disk_that_was_full_at_any_page_is_left_without_a_restart(fast_dir):
    for room in [*range(0, 64, 5), *range(65, 130, 20)]:
        with loops.tmpfs(fast_dir / f"room-{room}", "4m") as root:
            home = Home(root / "jarvis")
            home.create() if room % 2 else make_large_bus(home)

            assert forked.run(_meet_a_full_disk, root, room) == 0, f"with {room} pages of room"

            verify_large(home)


# -- the medium fails under an fsync -----------------------------------------------------------------------------------
class NotesFailedSyncs(durable.RealDisk):
    def __init__(self):
        self.failed = []

    def fsync(self, descriptor):
        try:
            os.fsync(descriptor)
        except OSError as trouble:
            self.failed.append(trouble.errno)
            raise


def _meet_a_bad_medium(root, backing):
    """The image cannot grow: the kernel takes every write, and an fsync says that they are lost. Then it can grow."""
    durable.disk = noting = NotesFailedSyncs()
    inbox = _open(root / "jarvis")
    inbox.turn()
    assert inbox.intake.trouble is None, inbox.intake.trouble
    make_large_bus(inbox.home)
    _fill(backing)
    for _ in range(5):
        inbox.turn()
        assert inbox.intake.trouble
    (backing / "ballast").unlink()
    for _ in range(4):
        inbox.turn()
    assert inbox.intake.trouble is None, inbox.intake.trouble
    inbox.close()
    (backing / "failed").write_text(json.dumps(noting.failed))


@pytest.mark.skipif(loops.missing("ext4") is not None, reason=str(loops.missing("ext4")))
def test_an_fsync_that_fails_on_a_real_medium_loses_nothing_and_is_left_without_a_restart(fast_dir):
    with loops.tmpfs(fast_dir / "backing", "24m") as backing:
        image = loops.Image("ext4", backing)
        image.own_its_journal()
        with image.mounted() as root:
            Home(root / "jarvis").create()
            subprocess.run(["sync", "-f", str(root)], check=True)
            image.give_back_free_blocks()

            assert forked.run(_meet_a_bad_medium, root, backing) == 0

        failed = json.loads((backing / "failed").read_text())
        print(f"fsyncs that failed: {[errno.errorcode[one] for one in failed]}")
        assert failed
        assert set(failed) <= {errno.EIO, errno.ENOSPC}
        with image.mounted() as root:  # what is read now comes from the medium, not from a cache
            verify_large(Home(root / "jarvis"))
