"""Does each line of a telemetry file come in once, whatever its neighbours are?"""

from __future__ import annotations

import json
import time
from contextlib import closing

import pytest
from support.inboxes import TELEMETRY, Skewed, append, names
from support.ledgers import check, identities, line

from reactord.ipc import inbox as module
from reactord.ipc.inbox import Inbox


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(module, "TROUBLE_S", 0.0)


@pytest.fixture
def clock():
    return Skewed()


@pytest.fixture
def inbox(home, clock):
    with closing(Inbox(home, clock)) as made:
        yield made


def test_a_bad_line_in_the_middle_is_copied_to_quarantine_and_its_neighbours_come_in(inbox, home):
    append(home, line("a"), b"{torn", b"", b"\0\0\0", line("b"))

    inbox.turn()
    inbox.turn()

    assert sorted(identities(home))  # readable
    kept = [name for name in names(home.quarantine) if name.endswith(".line")]
    assert sorted((home.quarantine / name).read_bytes() for name in kept) == [b"\0\0\0", b"{torn"]
    said = [json.loads((home.quarantine / f"{name}.reason.json").read_bytes()) for name in kept]
    assert {note["name"] for note in said} == {TELEMETRY}
    whole = (home.telemetry / TELEMETRY).read_bytes()
    assert {whole[note["offset"] :].split(b"\n")[0] for note in said} == {b"\0\0\0", b"{torn"}
    inbox.close()
    counts = check(home)
    assert (counts.pending, counts.rejected) == (2, {"not JSON": 2})


def test_an_overlong_line_is_passed_over_and_counted(inbox, home):
    append(home, line("a"), b"x" * (5 * 1024 * 1024), line("b"))

    inbox.turn()
    inbox.close()

    counts = check(home)
    assert (counts.received, counts.pending) == (3, 2)


def test_equal_lines_without_an_id_are_two_records_and_a_copied_file_brings_none(inbox, home):
    append(home, line(), line())
    inbox.turn()
    path = home.telemetry / TELEMETRY
    copy = home.telemetry / "copy"
    copy.write_bytes(path.read_bytes() + line() + b"\n")
    copy.rename(path)
    inbox.turn()

    counts = inbox.index.counts()
    assert (counts.pending, counts.duplicates) == (3, 2)


def test_the_same_first_line_on_two_days_is_two_records(inbox, home):
    append(home, line(), name="interactions_20261121.jsonl")
    append(home, line(), name="interactions_20261122.jsonl")
    inbox.turn()

    assert inbox.index.counts().pending == 2


def test_a_quiet_file_is_looked_at_again_as_soon_as_it_changes(inbox, home):
    for n in range(4):
        append(home, line(f"e{n}"))
        inbox.turn()
        inbox.turn()
        assert inbox.index.counts().pending == n + 1


def test_a_year_of_quiet_telemetry_costs_an_idle_daemon_next_to_nothing(inbox, home):
    for n in range(365):
        append(home, line(f"e{n}"), name=f"interactions_{20260000 + n}.jsonl")
    inbox.turn()
    began = time.process_time()
    for _ in range(10):
        inbox.turn()

    assert (time.process_time() - began) / 10 < 0.006  # four times a second; 0.013 s before quiet files were remembered
