from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from support.disks import FailingDisk, FullDisk, WatchedDisk

from reactord import durable

OLD, NEW = b"the old text", b"a new and longer text" * 50


def _names(path):
    return sorted(entry.name for entry in path.iterdir())


def test_a_published_file_holds_all_its_bytes_and_is_private(fast_dir):
    durable.publish(fast_dir / "a.json", NEW)

    assert (fast_dir / "a.json").read_bytes() == NEW
    assert (fast_dir / "a.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_publishing_that_fails_anywhere_leaves_the_old_file_or_the_new_one_and_no_scratch(fast_dir, error):
    path, outcomes = fast_dir / "a.json", set()
    for fail_at in range(1, 20):
        durable.disk = FailingDisk()
        durable.publish(path, OLD)
        durable.disk = FailingDisk(fail_at, error, write_at_most=100)
        try:
            durable.publish(path, NEW)
            outcomes.add("published")
        except OSError as trouble:
            outcomes.add(trouble.errno)
        assert path.read_bytes() in (OLD, NEW)
        assert _names(fast_dir) == ["a.json"]
    assert outcomes == {"published", error}


def test_publishing_counts_as_done_only_after_file_and_directory_are_flushed(fast_dir):
    order = []
    durable.disk = WatchedDisk(after=lambda n, call: order.append(call))

    durable.publish(fast_dir / "a.json", NEW)

    assert order == ["write", "fsync", "rename", "fsync"]


def test_a_reader_never_sees_a_mixture(fast_dir):
    path, seen, stop = fast_dir / "a", set(), threading.Event()
    durable.publish(path, OLD, sync=False)

    def read():
        while not stop.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(300):
        durable.publish(path, NEW, sync=False)
        durable.publish(path, OLD, sync=False)
    stop.set()
    reader.join()

    assert seen <= {OLD, NEW}


def test_short_writes_lose_no_byte(fast_dir):
    durable.disk = FailingDisk(write_at_most=3)

    durable.publish(fast_dir / "a", NEW)
    durable.append(fast_dir / "b", NEW)

    assert (fast_dir / "a").read_bytes() == (fast_dir / "b").read_bytes() == NEW


@pytest.mark.parametrize("room", range(0, 25, 4))
def test_an_append_that_does_not_fit_leaves_no_half_line_for_the_next_one_to_be_glued_to(fast_dir, room):
    path = fast_dir / "progress.jsonl"
    durable.append(path, b'{"first": 1}\n')
    durable.disk = FullDisk(bytes_left=room)

    with pytest.raises(OSError, match="No space"):
        durable.append(path, b'{"does not fit": 22222222}\n')
    durable.disk = durable.RealDisk()
    durable.append(path, b'{"second": 2}\n')

    assert path.read_bytes() == b'{"first": 1}\n{"second": 2}\n'


def test_a_link_appears_complete_and_never_over_another_file(fast_dir):
    (fast_dir / "staging").mkdir()
    durable.publish_by_link(fast_dir / "a.json", NEW, fast_dir / "staging")

    with pytest.raises(FileExistsError):
        durable.publish_by_link(fast_dir / "a.json", OLD, fast_dir / "staging")

    assert (fast_dir / "a.json").read_bytes() == NEW
    assert _names(fast_dir / "staging") == []


def test_of_two_claims_one_wins(fast_dir):
    (fast_dir / "a").write_bytes(OLD)
    durable.claim(fast_dir / "a", fast_dir / "b")

    with pytest.raises(FileNotFoundError):
        durable.claim(fast_dir / "a", fast_dir / "c")
    assert _names(fast_dir) == ["b"]


def test_removing_what_is_gone_is_no_error_and_removing_a_directory_is(fast_dir):
    durable.remove(fast_dir / "nothing")

    with pytest.raises(OSError, match=r"directory|permitted"):
        durable.remove(fast_dir)


def test_a_directory_appears_whole_and_the_first_one_stays(fast_dir):
    for name, text in (("one", b"1"), ("two", b"2")):
        (fast_dir / name / "deep").mkdir(parents=True)
        (fast_dir / name / "deep" / "file").write_bytes(text)

    durable.publish_directory(fast_dir / "one", fast_dir / "final")
    durable.publish_directory(fast_dir / "two", fast_dir / "final")

    assert (fast_dir / "final" / "deep" / "file").read_bytes() == b"1"
    assert _names(fast_dir) == ["final"]


def test_sealing_a_tree_flushes_its_files_before_its_directories(fast_dir):
    (fast_dir / "a").mkdir()
    (fast_dir / "a" / "file").write_bytes(b"1")
    (fast_dir / "a" / "link").symlink_to("nowhere")
    flushed = []
    durable.disk = WatchedDisk()
    durable.disk.real.fsync = lambda descriptor: flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    durable.seal_tree(fast_dir)

    assert [os.path.relpath(path, fast_dir) for path in flushed] == ["a/file", "a", "."]


def test_a_symlink_is_repointed_without_a_moment_in_which_it_is_missing(fast_dir):
    link, missing, stop = fast_dir / "current", [], threading.Event()
    durable.point_link(link, "v1")

    def watch():
        while not stop.is_set():
            if not link.is_symlink():
                missing.append(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for n in range(200):
        durable.point_link(link, f"v{n}")
    stop.set()
    watcher.join()

    assert str(link.readlink()) == "v199"
    assert missing == []
