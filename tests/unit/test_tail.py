from __future__ import annotations

import os

import pytest
from support.tails import read_new

from reactord.ipc import tail
from reactord.ipc.tail import BACK_BYTES, CHUNK_BYTES, HEAD_BYTES, MAX_LINE_BYTES, Position


class Follower:
    """Reads on from where it was, over any number of restarts."""

    def __init__(self, path):
        self.path, self.stored, self.chunks = path, None, []

    def read(self):
        got = []
        while chunk := read_new(self.path, Position.decode(self.stored) if self.stored else None):
            self.stored = chunk.position.encode()
            self.chunks.append(chunk)
            got.append(chunk.raw)
        return b"".join(got)


@pytest.fixture
def path(fast_dir):
    return fast_dir / "interactions_20261121.jsonl"


@pytest.fixture
def follower(path):
    return Follower(path)


def _append(path, data):
    with path.open("ab") as file:
        file.write(data)


def test_a_file_that_is_not_there_or_empty_holds_nothing(path, follower):
    assert follower.read() == b""
    path.touch()
    assert follower.read() == b""


def test_only_what_is_new_is_read(path, follower):
    _append(path, b"one\ntwo\n")
    assert follower.read() == b"one\ntwo\n"
    assert follower.read() == b""
    _append(path, b"three\n")
    assert follower.read() == b"three\n"
    assert [chunk.start for chunk in follower.chunks] == [0, 8]


def test_a_last_line_without_its_newline_stays_where_it_is_until_it_is_whole(path, follower):
    for part in (b"on", b"e", b"\ntw"):
        _append(path, part)
        assert follower.read() == (b"one\n" if part.startswith(b"\n") else b"")
    _append(path, b"o\n")
    assert follower.read() == b"two\n"


def test_a_truncated_file_is_read_from_its_start(path, follower):
    _append(path, b"one\ntwo\nthree\n")
    follower.read()
    path.write_bytes(b"new\n")
    assert follower.read() == b"new\n"


def test_a_file_truncated_and_grown_beyond_where_we_were_is_read_from_its_start(path, follower):
    _append(path, b"one\ntwo\n")
    follower.read()
    path.write_bytes(b"another first line\nand a second\n")
    assert follower.read() == b"another first line\nand a second\n"


def test_a_rewrite_of_the_same_length_is_noticed(path, follower):
    _append(path, b"one\ntwo\n")
    follower.read()
    path.write_bytes(b"uno\ndue\n")
    assert follower.read() == b"uno\ndue\n"


@pytest.mark.parametrize("where", ["head", "back"])
def test_a_rewrite_of_a_long_file_is_noticed_at_its_head_and_just_before_where_we_were(path, follower, where):
    lines = bytearray(b"".join(b"line %05d\n" % n for n in range(1000)))
    path.write_bytes(lines)
    follower.read()
    at = HEAD_BYTES - 6 if where == "head" else len(lines) - BACK_BYTES + 5
    lines[at] = ord("X") if lines[at] != ord("\n") else lines[at]
    path.write_bytes(lines)

    assert follower.read() == bytes(lines)


def test_another_file_under_the_name_is_read_from_its_start_and_the_old_name_is_not_ours_any_more(path, follower):
    _append(path, b"one\ntwo\n")
    follower.read()
    path.rename(path.with_suffix(".jsonl.1"))
    _append(path, b"three\n")
    assert follower.read() == b"three\n"
    assert [chunk.start for chunk in follower.chunks] == [0, 0]


def test_a_new_file_that_got_the_old_one_s_inode_is_read_from_its_start(path, follower):
    _append(path, b"first file\n")
    follower.read()
    inode = path.stat().st_ino
    for n in range(300):
        path.unlink()
        _append(path, b"file number %03d is longer\n" % n)
        if path.stat().st_ino == inode:
            break
    else:
        os.truncate(path, 0)  # this file system gives numbers out once; the same number with other content is the point
        _append(path, b"file number %03d is longer\n" % n)
    assert follower.read() == b"file number %03d is longer\n" % n


def test_the_same_content_under_another_inode_is_read_again_with_the_same_offsets(path, follower):
    """So that the identity of a line without an id, its name, offset and bytes, is the same again."""
    _append(path, b"one\n")
    follower.read()
    copy = path.with_suffix(".copy")
    copy.write_bytes(b"one\ntwo\n")
    copy.rename(path)

    assert follower.read() == b"one\ntwo\n"
    assert follower.chunks[1].start == 0


def test_a_large_file_comes_in_chunks_of_whole_lines(path, follower):
    lines = b"".join(b"%07d " % n * 10 + b"\n" for n in range(80_000))
    _append(path, lines)

    assert follower.read() == lines
    assert len(follower.chunks) > 2
    assert all(chunk.raw.endswith(b"\n") and len(chunk.raw) <= CHUNK_BYTES for chunk in follower.chunks)


@pytest.mark.parametrize(
    "size", [CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, MAX_LINE_BYTES - 2, MAX_LINE_BYTES - 1]
)
def test_a_line_longer_than_a_chunk_is_read_whole(path, follower, size):
    _append(path, b"before\n" + b"x" * size + b"\nafter\n")

    assert follower.read() == b"before\n" + b"x" * size + b"\nafter\n"
    assert not any(chunk.overlong for chunk in follower.chunks)


@pytest.mark.parametrize("size", [MAX_LINE_BYTES, MAX_LINE_BYTES + 1, 3 * MAX_LINE_BYTES])
def test_a_line_longer_than_the_limit_is_cut_marked_and_passed_over(path, follower, size):
    _append(path, b"before\n" + b"x" * size + b"\nafter\n")

    assert follower.read() == b"before\n" + b"x" * HEAD_BYTES + b"after\n"
    assert [chunk.overlong for chunk in follower.chunks] == [False, True, False]


def test_an_overlong_line_that_is_still_written_is_waited_for(path, follower):
    _append(path, b"x" * (MAX_LINE_BYTES + 10))
    assert follower.read() == b""
    _append(path, b"\nafter\n")
    assert follower.read().endswith(b"after\n")


@pytest.mark.parametrize("kind", ["directory", "fifo", "symlink"])
def test_what_is_no_regular_file_is_an_error_with_its_name_and_never_waited_for(path, kind):
    other = path.with_name("other")
    other.write_bytes(b"a secret\n")
    {"directory": path.mkdir, "fifo": lambda: os.mkfifo(path), "symlink": lambda: path.symlink_to(other)}[kind]()

    with pytest.raises(OSError, match="interactions_20261121"):
        read_new(path, None)


def test_a_file_truncated_in_the_moment_of_reading_is_no_error(path, follower, monkeypatch):
    _append(path, b"one\ntwo\n")
    real = tail._next_chunk

    def truncate(descriptor, size, position):
        os.truncate(path, 0)
        return real(descriptor, size, position)

    monkeypatch.setattr(tail, "_next_chunk", truncate)

    assert follower.read() == b""
