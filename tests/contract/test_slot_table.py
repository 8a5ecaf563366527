"""Every row of the two lock tables (RELIABILITY.md 5, contract/body.md 5.1): what the peers do to a lock, and we.

The peers of tests/support/peers.py are measured rules; the first test pins them to the tables, so that the race is run
against the right ones. The second says what we do with the same file: we take nothing that Body would respect.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import psutil
import pytest
from support import peers

from reactord.ipc import dlm

NOW = 1_795_281_095.0
NAME = "training_slot"
ME = os.getpid()
STARTED = psutil.Process().create_time()
FIVE = {"acquired_at": NOW - 10, "expires_at": NOW + 3600, "owner": f"reactor-{ME}-{STARTED:.1f}", "token": "t.1",
        "lock_name": NAME}  # fmt: skip
ALL = peers.metadata(NAME, "t", 3600, now=NOW) | {"owner": FIVE["owner"]}
DEAD = subprocess.Popen([sys.executable, "-c", ""])
DEAD.wait(30)

#: what stands in the file; does Body take it at once, does its cleanup delete it, does the first version take it; do we
#: (None: the tables do not say)
ROWS = {
    "our five keys": (FIVE, False, False, False, False),
    "all thirteen keys": (ALL, False, False, True, False),
    "extra keys": ({**FIVE, "more": 1}, False, False, True, False),
    "owner without a start time": ({**FIVE, "owner": f"reactor-{ME}"}, False, False, False, False),
    "reactor_core-<pid>": ({**FIVE, "owner": f"reactor_core-{ME}-{STARTED:.1f}"}, False, False, False, False),
    "reactor-core-<pid>": ({**FIVE, "owner": f"reactor-core-{ME}-{STARTED:.1f}"}, True, True, False, False),
    "a UUID": ({**FIVE, "owner": "f47ac10b-58cc-4372-a567-0e02b2c3d479"}, True, True, False, False),
    "reactord": ({**FIVE, "owner": "reactord"}, False, True, False, False),
    "host:pid": ({**FIVE, "owner": f"host:{ME}"}, False, True, False, False),
    "start time off by more than a second": (
        {**FIVE, "owner": f"reactor-{ME}-{STARTED - 1.5:.1f}"}, True, True, False, True
    ),
    "owner dead": ({**FIVE, "owner": f"jarvis-{DEAD.pid}-{NOW}"}, True, True, False, True),
    "process name differs": ({**ALL, "process_name": "another"}, False, True, True, False),
    "another machine, pid not alive here": (
        {**ALL, "owner": f"jarvis-{DEAD.pid}-{NOW}", "machine_id": "darwin-other"}, True, True, True, False
    ),
    "expired, the owner lives": ({**FIVE, "expires_at": NOW - 10}, True, True, True, True),
    "expires_at an ISO string": ({**FIVE, "expires_at": "2026-11-21T10:00:00"}, "error", False, None, False),
    "token missing": ({key: FIVE[key] for key in FIVE if key != "token"}, False, True, True, False),
    "empty": (b"", True, True, True, True),
    "torn": (b'{"acquired_at": 17', True, True, True, True),
}  # fmt: skip


@pytest.fixture(params=ROWS, ids=lambda name: name.replace(" ", "_"))
def row(request, tmp_path):
    said, *expected = ROWS[request.param]
    path = dlm.lock_path(tmp_path, NAME)
    path.write_bytes(said if isinstance(said, bytes) else json.dumps(said).encode())
    os.utime(path, (NOW - 60, NOW - 60))
    return tmp_path, expected


def test_what_body_would_do_to_it(row):
    directory, (taken, cleaned, taken_by_old, _) = row
    body, old = peers.Body(directory, NAME), peers.OldBody(directory, NAME)
    if taken == "error":
        with pytest.raises(TypeError):
            body.is_free(NOW)
    else:
        assert body.is_free(NOW) is taken
    assert body.would_clean(NOW) is cleaned
    if taken_by_old is not None:
        assert old.is_free(NOW) is taken_by_old


def test_what_we_do_to_it(row):
    directory, (by_body, _, _, taken) = row
    got = dlm.claim(directory, NAME, 60, NOW, wait_s=0.05)
    assert isinstance(got, dlm.Lease) is taken
    assert by_body is True or not taken


def test_a_lock_of_ours_is_respected_by_both_and_cleaned_up_by_none_whoever_of_us_owns_it(tmp_path):
    worker = subprocess.Popen(["sleep", "60"])
    body, old = peers.Body(tmp_path, NAME), peers.OldBody(tmp_path, NAME)
    try:
        lease = dlm.claim(tmp_path, NAME, 60, NOW, fence=7)
        for owner in (ME, worker.pid):
            lease.owner = dlm.owner_of(owner)
            assert lease.renew(NOW + 1)
            assert not body.is_free(NOW + 2)
            assert not body.would_clean(NOW + 2)
            assert not old.is_free(NOW + 2)
    finally:
        worker.kill()
        worker.wait()
    assert body.is_free(NOW + 2)  # the trainer died
    assert not old.is_free(NOW + 2)
    assert old.is_free(NOW + 1 + 60)


def test_a_lock_of_bodys_is_respected_by_us_with_its_keepalive(tmp_path):
    body = peers.Body(tmp_path, NAME)
    assert body.acquire(ttl_s=5)
    found = dlm.holder(tmp_path, NAME)
    assert isinstance(dlm.claim(tmp_path, NAME, 60, found.acquired_at), dlm.Busy)
    assert body.keep(ttl_s=7200)
    assert isinstance(dlm.claim(tmp_path, NAME, 60, found.acquired_at + 6000), dlm.Busy)
    body.release()
    assert isinstance(dlm.claim(tmp_path, NAME, 60, found.acquired_at + 6000), dlm.Lease)
    assert not body.keep()
