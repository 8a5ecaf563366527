"""A watch that overflows, dies or watches what is gone costs latency, never a file: a real ingest process is asked."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import time

import pytest
from support import forked
from support.ledgers import check, hexed, line

from reactord.home import Home
from reactord.ipc.inbox import Inbox
from reactord.ledger import reading
from reactord.ledger.counts import count

PATIENCE_S = 60.0
#: far more than the kernel queues for one watcher (fs.inotify.max_queued_events is 16,384, and a file is six events)
MANY = 20_000


def _ingest(root):
    logging.disable()
    Inbox(Home(root)).run()


@pytest.fixture
def ingest(home):
    """A process that runs the ingest and nothing else, and has armed its watches; killed in the end."""
    pid = forked.start(_ingest, home.root)
    try:
        _drop(home, "first.json", "first")
        _wait(lambda: count(home).pending == 1)
        yield pid
    finally:
        forked.kill(pid)


def _drop(home, name, *identities):
    """A whole file that appears at once, under any name that the system can carry."""
    staged = os.fsencode(home.trinity) + b"/.staged"
    with open(staged, "wb") as file:  # noqa: PTH123 - a path of bytes
        file.write(json.dumps([{"id": identity} for identity in identities]).encode())
    os.rename(staged, os.fsencode(home.events / "experiences_") + os.fsencode(name))  # noqa: PTH104


def _wait(true):
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def _all_came_in(home, pid, *identities):
    """All of them and the first, each once; then the process is ended, and its books are checked."""
    _wait(lambda: count(home).pending >= len(identities) + 1)
    _wait(lambda: not [*home.events.iterdir(), *home.claimed.iterdir()])
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # its locks are gone; whoever started it takes the status
    stored = [record.identity for record in reading.pending(home, check(home).last_seq)]
    assert sorted(stored) == sorted(hexed(identity) for identity in ("first", *identities))


def test_twenty_thousand_files_that_come_while_the_process_is_stopped_all_come_in(ingest, home):
    os.kill(ingest, signal.SIGSTOP)
    for n in range(MANY):
        _drop(home, f"{n:06d}.json", f"e{n}")
    os.kill(ingest, signal.SIGCONT)

    began = time.monotonic()
    _all_came_in(home, ingest, *(f"e{n}" for n in range(MANY)))
    print(f"{MANY} files after SIGSTOP: all in after {time.monotonic() - began:.1f} s")


def test_files_whose_names_are_no_text_come_in_like_any_other(ingest, home):
    names = [b"\xff\xfe.json", b"caf\xe9.json", b"\xed\xa0\x80.json", b"new\nline.json", b"\x01\x7f.json"]
    for n, name in enumerate(names):
        _drop(home, name, f"raw{n}")
        _drop(home, f"plain{n}.json", f"plain{n}")
        time.sleep(0.15)  # each name is an event of its own for the watch that it kills

    _all_came_in(home, ingest, *(f"{kind}{n}" for kind in ("raw", "plain") for n in range(len(names))))


def test_a_directory_that_is_removed_and_made_again_is_watched_again(ingest, home):
    for n in range(3):
        shutil.rmtree(home.events)
        time.sleep(0.05 * n)
        home.events.mkdir(exist_ok=True)  # the ingest makes it, too
        _drop(home, f"{n}.json", f"again{n}")
        _wait(lambda n=n: count(home).pending == n + 2)

    _all_came_in(home, ingest, "again0", "again1", "again2")


def test_a_directory_that_is_renamed_away_and_back_brings_what_was_put_into_it_meanwhile(ingest, home):
    away = home.trinity / "events-away"
    for n in range(3):
        home.events.rename(away)
        (away / f"experiences_away{n}.json").write_text(json.dumps([{"id": f"away{n}"}]))
        time.sleep(0.3 * n)
        if home.events.is_dir():  # the ingest missed it and made another
            home.events.rmdir()
        away.rename(home.events)
        _drop(home, f"back{n}.json", f"back{n}")
        _wait(lambda n=n: count(home).pending == 2 * n + 3)

    _all_came_in(home, ingest, *(f"{where}{n}" for where in ("away", "back") for n in range(3)))


def test_telemetry_that_is_moved_away_and_begun_anew_is_read_from_its_start(ingest, home):
    for n in range(3):
        if n:
            home.telemetry.rename(home.root / f"telemetry-{n}")
            home.telemetry.mkdir(exist_ok=True)
        (home.telemetry / "interactions_20261121.jsonl").write_bytes(line(f"line{n}") + b"\n")
        _wait(lambda n=n: count(home).pending == n + 2)

    _all_came_in(home, ingest, "line0", "line1", "line2")
