"""The ingest thread with real notifications: hints wake it, scans tell it, and no hint that is lost costs a file."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time

import pytest
from support.disks import FullDisk
from support.ledgers import check, line

from reactord import durable
from reactord.ipc import inbox as module
from reactord.ipc.inbox import Inbox

PATIENCE_S = 20.0


@pytest.fixture
def running(home):
    inbox = Inbox(home)
    errors = []

    def body():
        try:
            inbox.run()
        except BaseException as error:  # noqa: BLE001 - a thread that dies must fail the test
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    inbox.thread = thread
    _wait(lambda: inbox.intake.ready)
    yield inbox
    inbox.stop()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert errors == []


def _wait(true, patience_s=PATIENCE_S):
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def _drop(home, name, *ids):
    staged = home.trinity / f".{name}"
    staged.write_text(json.dumps([{"id": identity} for identity in ids]))
    staged.rename(home.events / f"experiences_{name}.json")


def _received(inbox, n):
    return lambda: inbox.intake.last_seq >= n


def test_a_burst_of_three_thousand_files_comes_in_completely(running, home):
    for n in range(3000):
        _drop(home, f"{n:05d}", f"e{n}")

    _wait(_received(running, 3000))
    _wait(lambda: not list(home.claimed.iterdir()))
    assert not list(home.events.iterdir())


def test_a_drop_is_durable_soon_after_it_appears(running, home):
    _drop(home, "first", "a")
    began = time.monotonic()
    _wait(_received(running, 1))

    assert time.monotonic() - began < 2.0  # a look at least every 0.25 s, on a machine that is busy


def test_a_name_that_kills_the_watch_costs_no_file(running, home, caplog):
    with open(os.fsencode(home.events) + b"/\xff\xfe", "wb"):  # noqa: PTH123 - the name is bytes
        pass
    for n in range(30):
        _drop(home, f"{n:05d}", f"e{n}")
        time.sleep(0.01)

    _wait(_received(running, 30))
    assert "file notifications failed" in caplog.text  # it did die


@pytest.mark.parametrize("how", ["removed", "renamed"])
def test_a_directory_that_is_taken_away_and_made_again_costs_no_file(running, home, how):
    for n in range(3):
        if how == "removed":
            shutil.rmtree(home.events)
        else:
            home.events.rename(home.trinity / f"events-{n}")
        home.events.mkdir()
        _drop(home, f"{n:05d}", f"e{n}")
        _wait(_received(running, n + 1))


def test_a_directory_that_is_missing_for_a_while_is_made_again(running, home):
    shutil.rmtree(home.events)

    _wait(home.events.is_dir)
    _drop(home, "x", "a")
    _wait(_received(running, 1))


def test_a_full_disk_is_shown_and_left_while_the_thread_runs(running, home, monkeypatch):
    full = FullDisk()
    monkeypatch.setattr(module, "TROUBLE_S", 0.05)
    monkeypatch.setattr(durable, "disk", full)
    _drop(home, "x", "a")
    _wait(lambda: running.intake.trouble)

    full.full = False

    _wait(_received(running, 1))
    _wait(lambda: running.intake.trouble is None)


def test_drops_telemetry_offers_and_takes_side_by_side_are_all_accounted_for(running, home):
    def write():
        for n in range(200):
            with (home.telemetry / "interactions_20261121.jsonl").open("ab") as file:
                file.write(line(f"t{n}") + b"\n")

    writer = threading.Thread(target=write)
    writer.start()
    futures = []
    for n in range(100):
        _drop(home, f"{n:05d}", f"d{n}", f"t{n}")
        futures.append(running.offer("experiences", f"job-{n}", json.dumps([{"id": f"o{n}"}]).encode()))
    writer.join()

    assert all(future.result(PATIENCE_S) == 1 for future in futures)
    _wait(_received(running, 400))
    _wait(lambda: not list(home.events.iterdir()))
    running.call(lambda: None).result(PATIENCE_S)
    running.stop()
    running.thread.join()
    counts = check(home)
    assert (counts.pending, counts.duplicates, counts.received) == (400, 100, 500)


def test_stopping_is_prompt(running):
    began = time.monotonic()
    running.stop()
    running.thread.join()

    assert time.monotonic() - began < 2.0
