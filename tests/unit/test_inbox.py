"""Is everything at the doors taken in once, and is every caller of the ingest thread answered?"""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import closing

import pytest
from support.inboxes import TELEMETRY, Skewed, append, drop, keys, names, restarted
from support.ledgers import check, identities, line

from reactord.errors import BadRecord, EnvironmentTrouble
from reactord.ipc import batch
from reactord.ipc import inbox as module
from reactord.ipc.inbox import Inbox
from reactord.ledger import reading


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


# -- the way in --------------------------------------------------------------------------------------------------------
def test_everything_at_the_doors_is_taken_in_once_and_only_drop_files_are_removed(inbox, home):
    drop(home, "llm_1", "a", "b")
    (home.events / "5_1795281245000_p.json").write_text('{"event_id": "p", "payload": {"experiences": [{"id": "c"}]}}')
    (home.events / "packet_7.json").write_text("[]")
    (home.events / "4_1_command.json").write_text("[]")
    append(home, line("d"), line("a"))

    inbox.turn()
    inbox.turn()

    assert names(home.events) == ["4_1_command.json", "packet_7.json"]
    assert names(home.claimed) == []
    assert (home.telemetry / TELEMETRY).exists()
    assert inbox.intake.trouble is None
    inbox.close()
    counts = check(home)
    assert (counts.received, counts.pending, counts.duplicates) == (5, 4, 1)
    assert sorted(identities(home)) == keys("a", "b", "c", "d")


def test_the_raw_bytes_are_kept_as_they_arrived(inbox, home):
    raw = b' [ {"id" : "a", "text":"\\u00e9\xc3\xa9", "n": 1.50} ]\r\n'
    (home.events / "experiences_x.json").write_bytes(raw)

    inbox.turn()

    assert raw in (home.journal / "000001.log").read_bytes()
    assert next(reading.pending(home, 9)).body == {"id": "a", "text": "éé", "n": 1.5}


def test_the_intake_tells_the_trigger_what_is_fresh(inbox, home, clock):
    append(home, line("a"), line("b"), line("c"))
    inbox.turn()
    assert (inbox.intake.fresh, inbox.intake.fresh_after, inbox.intake.last_seq) == (3, 0, 3)
    assert inbox.intake.last_arrival_at == pytest.approx(clock(), abs=5)

    inbox.looked_upto = 2
    inbox.turn()

    assert (inbox.intake.fresh, inbox.intake.fresh_after) == (1, 2)


def test_more_files_than_one_batch_holds_are_taken_in_one_turn(inbox, home):
    for n in range(batch.BATCH_FILES * 2 + 7):
        drop(home, f"{n:05d}", f"e{n}")

    inbox.turn()

    assert inbox.index.counts().pending == batch.BATCH_FILES * 2 + 7
    assert names(home.events) == []


def test_a_batch_is_bounded_in_bytes_too(inbox, home, monkeypatch):
    monkeypatch.setattr(batch, "BATCH_BYTES", 100)
    for n in range(20):
        drop(home, f"{n:05d}", f"e{n}", "x" * 50)

    inbox.turn()

    assert inbox.index.counts().pending == 21


# -- calls -------------------------------------------------------------------------------------------------------------
def test_what_is_offered_is_durable_when_its_future_says_so_and_the_second_offer_is_a_duplicate(inbox, home):
    futures = [inbox.offer("experiences", "job-1", b'{"batch_id": "b", "experiences": [{}, {}]}') for _ in range(2)]
    inbox.turn()

    assert [future.result(0) for future in futures] == [2, 0]
    inbox.close()
    assert (check(home).pending, check(home).duplicates) == (2, 2)


def test_an_offer_that_is_not_what_it_says_is_its_sender_s_error_and_leaves_nothing_behind(inbox, home, clock):
    bad = inbox.offer("experiences", "job-1", b"garbage")
    good = inbox.offer("experiences", "job-2", b'[{"id": "a"}]')
    inbox.turn()

    with pytest.raises(BadRecord):
        bad.result(0)
    assert good.result(0) == 1
    again = restarted(inbox, clock)
    again.turn()
    assert again.index.counts().received == 1
    again.close()


def test_a_caller_who_gave_up_does_not_end_the_thread(inbox):
    gone, stays = inbox.call(lambda: 1), inbox.call(lambda: 2)
    assert gone.cancel()

    inbox.turn()

    assert stays.result(0) == 2


def test_an_error_of_a_call_goes_to_its_caller_and_to_nobody_else(inbox, home):
    wrong, right = inbox.call(lambda: 1 / 0), inbox.call(lambda: 2)
    append(home, line("a"))
    inbox.turn()

    with pytest.raises(ZeroDivisionError):
        wrong.result(0)
    assert right.result(0) == 2
    assert inbox.index.counts().pending == 1


def test_who_asks_while_the_thread_ends_is_told_so(home):
    inbox = Inbox(home)
    inbox.stop()
    inbox.run()
    late = Future()
    inbox._calls.put((lambda: 1, late))
    inbox._turn_calls_away()

    with pytest.raises(EnvironmentTrouble, match="ask again"):
        late.result(0)
