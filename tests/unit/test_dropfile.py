from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from support.writers import begin

from reactord.ipc import dropfile
from reactord.ipc.dropfile import MAX_FILE_BYTES, claim, look

GOOD = b'[{"id": "a"}]'
LATER = 1e12  # epoch seconds at which every file has long been quiet


def _look(path, now=LATER):
    return look(str(path), "experiences", path.name, now)


def _claim(path):
    return claim(str(path), f"{path}.ours", "experiences", path.name, LATER)


def _bind(name):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)


@pytest.fixture
def path(fast_dir):
    return fast_dir / "experiences_llm_1.json"


def test_a_complete_file_is_found_with_its_bytes_however_young(path):
    path.write_bytes(GOOD)

    found = _look(path, now=path.stat().st_mtime)

    assert (found.raw, found.refused) == (GOOD, None)


def test_a_file_that_is_not_there_is_nothing(path):
    assert _look(path) is None


@pytest.mark.parametrize("text", [b"", b'[{"id": "a"}', b'[{"id": "a', b"[", b"garbage"])
def test_what_does_not_parse_is_left_alone_while_it_is_young_and_refused_when_it_has_been_quiet(path, text):
    path.write_bytes(text)
    written = path.stat().st_mtime

    assert _look(path, now=written + 1.9) is None
    assert _look(path, now=written + 2.1).refused


@pytest.mark.parametrize("years", [-30, 30])
def test_the_time_that_a_writer_gives_its_file_neither_hurries_nor_delays_that(path, years):
    path.write_bytes(b'[{"id": "a')
    os.utime(path, (time.time() + years * 365 * 86_400,) * 2)
    written = path.stat().st_ctime

    assert _look(path, now=written + 1.9) is None
    assert _look(path, now=written + 2.1).refused


def test_a_clock_that_was_set_back_refuses_nothing_early(path):
    path.write_bytes(b"[")

    assert _look(path, now=path.stat().st_mtime - 86_400) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells who has a file open")
@pytest.mark.parametrize("mode", ["ab", "r+b"])
def test_a_file_that_somebody_has_open_for_writing_is_left_alone_even_when_it_parses(path, mode):
    path.write_bytes(GOOD)
    with path.open(mode):
        assert _look(path) is None

    assert _look(path).raw == GOOD


def test_a_reader_who_has_the_file_open_does_not_matter(path):
    path.write_bytes(GOOD)
    with path.open("rb"):
        assert _look(path).raw == GOOD


def test_a_prefix_is_never_taken_of_a_file_that_is_written_byte_by_byte(path):
    for size in range(1, len(GOOD)):
        path.write_bytes(GOOD[:size])
        assert _look(path, now=path.stat().st_mtime) is None
    path.write_bytes(GOOD)
    assert _look(path, now=path.stat().st_mtime).raw == GOOD


@pytest.mark.parametrize(
    "kind", ["fifo", "symlink", "dangling", "loop", "socket", "hard link", "too large", "device link"]
)
def test_what_is_no_plain_file_of_ours_is_refused_unread_and_never_waited_for(path, kind, monkeypatch):
    other = path.with_name("other")
    other.write_bytes(b"a secret")
    monkeypatch.chdir(path.parent)  # a socket's name must be short
    {
        "fifo": lambda: os.mkfifo(path),
        "symlink": lambda: path.symlink_to(other),
        "dangling": lambda: path.symlink_to("nowhere"),
        "loop": lambda: path.symlink_to(path.name),
        "device link": lambda: path.symlink_to("/dev/zero"),
        "socket": lambda: _bind(path.name),
        "hard link": lambda: path.hardlink_to(other),
        "too large": lambda: path.write_bytes(b" " * (MAX_FILE_BYTES + 1)),
    }[kind]()

    found = _look(path)

    assert found.raw == b""
    assert found.refused
    assert other.read_bytes() == b"a secret"


def test_a_directory_is_somebody_elses_and_left_where_it_is(path):
    path.mkdir()

    assert _look(path) is None


def test_a_file_that_we_may_not_read_is_refused_and_not_a_trouble_of_the_disk(path, monkeypatch):
    path.write_bytes(GOOD)

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(dropfile.os, "open", refuse)

    assert "not readable" in _look(path).refused


def test_a_machine_out_of_descriptors_is_a_trouble_and_no_reason_to_refuse_a_file(path, monkeypatch):
    path.write_bytes(GOOD)

    def refuse(*arguments):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(dropfile.os, "open", refuse)

    with pytest.raises(OSError, match="Too many"):
        _look(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(path):
    path.write_bytes(GOOD)
    os.chown(path, 65534, 65534)

    assert "not owned" in _look(path).refused


def test_a_file_that_changes_while_it_is_read_is_left_alone(path, monkeypatch):
    path.write_bytes(GOOD)
    real = dropfile._read

    def touch(descriptor, size):
        os.utime(path, ns=(0, 0))  # who holds the file open may change it; this needs no lease of ours
        return real(descriptor, size)

    monkeypatch.setattr(dropfile, "_read", touch)

    assert _look(path) is None


def test_a_complete_file_is_claimed_for_good(path):
    path.write_bytes(GOOD)

    found, final = _claim(path)

    assert (found.raw, final) == (GOOD, True)
    assert not path.exists()
    assert path.with_name(f"{path.name}.ours").read_bytes() == GOOD


def test_what_is_left_alone_is_not_moved(path):
    assert _claim(path) is None
    path.write_bytes(b"[")
    assert claim(str(path), f"{path}.ours", "experiences", path.name, time.time()) is None
    assert path.exists()


def _while_it_is_claimed(monkeypatch, do):
    real = dropfile.durable.claim

    def before(source, target):
        do()
        real(source, target)

    monkeypatch.setattr(dropfile.durable, "claim", before)


def test_a_file_that_is_replaced_between_the_look_and_the_claim_is_not_what_was_looked_at(path, monkeypatch):
    path.write_bytes(GOOD)
    other = path.with_name("other")
    other.write_bytes(b'[{"id": "b"}]')
    _while_it_is_claimed(monkeypatch, lambda: other.rename(path))

    assert _claim(path)[1] is False


def test_a_file_that_goes_between_the_look_and_the_claim_is_left_alone(path, monkeypatch):
    path.write_bytes(GOOD)
    _while_it_is_claimed(monkeypatch, path.unlink)

    assert _claim(path) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="leases are Linux's")
def test_a_file_that_a_writer_opens_between_the_look_and_the_claim_is_not_final(path, monkeypatch):
    """He waits in his open until we close; then he writes to what is ours by now, and that must be read."""
    path.write_bytes(GOOD)
    waiting = []
    _while_it_is_claimed(monkeypatch, lambda: waiting.append(begin(lambda: os.truncate(path, 5))))

    assert _claim(path)[1] is False
    waiting[0].join()
    assert path.with_name(f"{path.name}.ours").read_bytes() == GOOD[:5]


def test_where_there_are_no_leases_a_file_is_claimed_by_its_state_alone(path, monkeypatch):
    monkeypatch.setattr(dropfile, "_LEASES", False)
    path.write_bytes(GOOD)

    assert _claim(path)[1] is True


@pytest.mark.parametrize("kind", ["symlink", "hard link"])
def test_what_is_refused_is_claimed_by_its_name_alone(path, kind):
    other = path.with_name("other")
    other.write_bytes(GOOD)
    path.symlink_to(other) if kind == "symlink" else path.hardlink_to(other)

    found, final = _claim(path)

    assert found.refused
    assert final
    assert other.read_bytes() == GOOD


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="leases are Linux's")
def test_a_writer_who_comes_in_the_very_moment_of_the_look_does_not_kill_us(path):
    """The kernel breaks our lease with a signal whose default action ends the process (it did, within a second)."""
    path.write_bytes(GOOD)
    looker = (
        "import sys, time; from pathlib import Path; from reactord.ipc.dropfile import look\n"
        "path, end = Path(sys.argv[1]), time.monotonic() + 2\n"
        "while time.monotonic() < end: look(str(path), 'experiences', path.name, time.time())\n"
    )
    daemon = subprocess.Popen([sys.executable, "-c", looker, str(path)])
    while daemon.poll() is None:
        os.close(os.open(path, os.O_WRONLY))
        time.sleep(0)

    assert daemon.returncode == 0, signal.Signals(-daemon.returncode).name
