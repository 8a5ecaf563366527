"""What lies with somebody else: is it read once, whatever happens, and never touched?"""

from __future__ import annotations

import errno
import json
import os

import pytest
from support.disks import FullDisk
from support.ledgers import check, identities, line

from reactord import durable
from reactord.ipc import inbox as module
from reactord.ipc import room
from reactord.ipc.inbox import Inbox
from reactord.ledger.staged import key_of

CORRECTION = {
    "correction_id": "c1", "original_prompt": "2+2?", "original_response": "5", "corrected_response": "4",
    "correction_type": "factual_error", "timestamp": 1795281245.0,
}  # fmt: skip
TURNS = [{"role": "user", "content": "Capital of France?"}, {"role": "assistant", "content": "Paris."}]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(module, "TROUBLE_S", 0.0)


@pytest.fixture
def inbox(home):
    made = Inbox(home)
    yield made
    made.close()


def _write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def _received(inbox):
    inbox.turn()
    return inbox.index.counts().received


# -- spools ------------------------------------------------------------------------------------------------------------
def test_a_spooled_file_is_read_once_in_each_of_its_states_and_never_touched(inbox, home):
    path = _write(home.root / "correction_queue" / "c1.json", CORRECTION)
    raw = path.read_bytes()
    assert _received(inbox) == 1
    assert _received(inbox) == 1
    inbox.close()
    again = Inbox(home)
    assert _received(again) == 1, "a restart reads nothing twice"

    _write(path, {**CORRECTION, "correction_id": "c2"})

    assert _received(again) == 2
    assert path.exists()
    assert raw in (home.journal / "000001.log").read_bytes()
    again.close()
    check(home)


def test_a_spool_that_is_garbage_is_copied_to_quarantine_and_left_where_it_is(home):
    path = home.root / "correction_queue" / "bad.json"
    path.parent.mkdir()
    path.write_bytes(b"{garbage")
    ahead = Inbox(home, lambda: path.stat().st_mtime + 10)

    ahead.turn()
    ahead.turn()

    counts = ahead.index.counts()
    assert (counts.received, sum(counts.rejected.values())) == (1, 1)
    assert path.read_bytes() == b"{garbage"
    copies = [name for name in home.quarantine.iterdir() if not name.name.endswith(".reason.json")]
    assert [copy.read_bytes() for copy in copies] == [b"{garbage"]
    ahead.close()


def test_a_spool_that_a_full_disk_refused_is_read_when_there_is_room(inbox, home, monkeypatch):
    inbox.turn()
    full = FullDisk()
    monkeypatch.setattr(durable, "disk", full)
    _write(home.root / "correction_queue" / "c1.json", CORRECTION)
    inbox.turn()
    assert inbox.intake.trouble
    full.full = False

    assert _received(inbox) == 1


# -- what an event names, and what is only news ------------------------------------------------------------------------
def _batch_ready(home, path):
    event = {
        "event_id": f"e{path}", "event_type": "data_batch_ready", "source": "jarvis_prime", "target": "reactor_core",
        "timestamp": 1795281245.0,
        "payload": {"experience_type": "interaction", "sample_count": 2, "data_path": str(path), "forwarded_at": 1.0},
    }  # fmt: skip
    _write(home.root / "trinity" / "inbox" / "reactor_core" / "1_000_e.json", event)


def test_a_file_that_an_event_names_is_read_like_any_other_also_after_a_restart(inbox, home):
    named = home.root / "exports" / "batch.jsonl"
    named.parent.mkdir()
    named.write_text("".join(json.dumps({"id": f"x{n}", "input": {"query": "q"}, "output": {"response": "a"}}) + "\n"
                             for n in range(2)))  # fmt: skip
    _batch_ready(home, named)
    inbox.turn()
    assert _received(inbox) == 2
    inbox.close()
    again = Inbox(home)
    with named.open("a") as file:
        file.write(json.dumps({"id": "x2", "input": {"query": "q"}, "output": {"response": "a"}}) + "\n")

    assert _received(again) == 3
    assert named.exists()
    again.close()
    check(home)


DOORS = ["reactor/data/%s.jsonl", "correction_queue/%s.json", "trinity/inbox/reactor_core/%s.json"]


@pytest.mark.parametrize("where", DOORS)
def test_a_file_elsewhere_is_not_read_whoever_names_it(inbox, home, tmp_path, where):
    outside = tmp_path / "outside.jsonl"
    outside.write_text('{"id": "secret"}\n')
    link = home.root / "link.jsonl"
    link.symlink_to(outside)
    _batch_ready(home, {"outside": outside, "link": link}.get(where, where))

    inbox.turn()
    inbox.turn()

    assert inbox.index.counts().pending == 0


@pytest.mark.parametrize("below", ["a" * 300 + ".jsonl", "file/x.jsonl", "loop/x.jsonl"])
def test_a_path_that_can_never_be_keeps_nothing_else_waiting_also_after_a_restart(inbox, home, below):
    (home.root / "file").write_text("x")
    (home.root / "loop").symlink_to(home.root / "loop")
    _batch_ready(home, home.root / below)
    inbox.turn()
    inbox.close()
    again = Inbox(home)
    _write(home.events / "experiences_1.json", [{"id": "a"}])
    (home.telemetry / "interactions_20261121.jsonl").write_bytes(line("b") + b"\n")

    again.turn()
    again.close()

    assert identities(home) == [key_of("a"), key_of("b")]
    assert again.intake.trouble is None


def test_a_file_that_may_not_even_be_asked_for_is_a_trouble_and_keeps_nothing_else_waiting(inbox, home, monkeypatch):
    hidden = _write(home.root / "exports" / "batch.jsonl", {"id": "x"})
    _batch_ready(home, hidden)
    real = os.lstat

    def lstat(path, **how):
        if str(path) == str(hidden):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, **how)

    monkeypatch.setattr(os, "lstat", lstat)
    (home.telemetry / "interactions_20261121.jsonl").write_bytes(line("b") + b"\n")

    inbox.turn()
    inbox.turn()

    assert inbox.index.counts().pending == 1
    assert "batch.jsonl" in inbox.intake.trouble


def test_a_heartbeat_in_our_inbox_is_drained_and_fills_no_journal(inbox, home):
    beat = {
        "id": "m1", "message_type": "HEARTBEAT", "priority": "LOW", "source": "prime", "target": "reactor",
        "timestamp": 1795281245.0, "ttl_seconds": 30, "action": "heartbeat", "payload": {}, "version": "1.0",
    }  # fmt: skip
    path = _write(home.root / "trinity" / "reactor" / "inbox" / "1795281245.000000_m1.msg", beat)

    assert _received(inbox) == 0
    assert not path.exists()
    assert not list(home.claimed.iterdir())
    assert (home.journal / "000001.log").stat().st_size == 0


def test_news_of_a_deployment_is_handed_on_and_is_no_record(inbox, home):
    _write(
        home.root / "reactor" / "feedback" / "deploy_1_m.json",
        {"schema_version": "1.0", "model_name": "m", "model_path": "/m.gguf", "deployed_at": 1.0,
         "health_verified": True, "smoke_test_passed": True, "deployment_latency_ms": 5.0},
    )  # fmt: skip

    assert _received(inbox) == 0
    (notice,) = inbox.intake.notices
    assert notice.topic == "prime.deployment"
    assert _received(inbox) == 0
    assert len(inbox.intake.notices) == 1


def test_an_index_that_is_rebuilt_does_not_tell_old_news_again(inbox, home):
    _write(home.root / "reactor" / "feedback" / "deploy_1_m.json", {"model_name": "m", "deployed_at": 1.0})
    (home.telemetry / "interactions_20261121.jsonl").write_bytes(line("a") + b"\n")
    inbox.turn()
    assert len(inbox.intake.notices) == 1
    inbox.close()
    for name in ("index.db", "index.db-wal", "index.db-shm"):
        (home.ledger / name).unlink(missing_ok=True)

    again = Inbox(home)

    assert _received(again) == 1
    assert not again.intake.notices
    again.close()


# -- the same by several doors, and no room ----------------------------------------------------------------------------
def test_one_event_by_three_doors_counts_once(inbox, home):
    item = {"id": "same", "type": "interaction", "input": {"query": "q"}, "output": {"response": "a"}, "timestamp": 1.0}
    packet = {"packet_id": "p", "experiences": [item], "source_repo": "jarvis", "batch_size": 1, "created_at": 1.0}
    bus = {
        "event_id": "b",
        "topic": "reactor.experiences",
        "source": "jarvis",
        "target": "broadcast",
        "payload": packet,
    }
    (home.trinity / "bus_sync" / "jarvis_events.jsonl").write_text(json.dumps(bus) + "\n")
    (home.events / "events_20261121_000000.jsonl").write_text(json.dumps(bus) + "\n")
    signal = {
        "event_type": "learning_signal",
        "event_id": "p",
        "payload": {"signal_type": "experience_batch", **packet},
    }
    _write(home.events / "5_1795281245000_p.json", signal)

    inbox.turn()
    inbox.close()

    counts = check(home)
    assert (counts.received, counts.duplicates, counts.pending) == (3, 2, 1)
    assert identities(home) == [key_of("same")]


def test_with_little_room_telemetry_waits_and_with_none_everything_and_all_comes_in_later(inbox, home, monkeypatch):
    (home.telemetry / "interactions_20261121.jsonl").write_bytes(line("a") + b"\n")
    _write(home.events / "experiences_1.json", [{"id": "b"}])
    levels = {"now": "critical"}
    monkeypatch.setattr(room.Room, "look", lambda self: setattr(self, "level", levels["now"]) or levels["now"])
    assert _received(inbox) == 0
    assert "everything waits" in inbox.intake.trouble
    levels["now"] = "low"
    assert _received(inbox) == 1
    assert "telemetry waits" in inbox.intake.trouble
    levels["now"] = "plenty"
    assert _received(inbox) == 2
    assert inbox.intake.trouble is None


@pytest.mark.parametrize(
    "where", ["reactor/data/%s.jsonl", "correction_queue/%s.json", "trinity/inbox/reactor_core/%s.json"]
)
@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\nb", b"x" * 240, "é\u2028".encode()])
def test_a_name_of_any_bytes_is_a_name(inbox, home, where, name):
    path = home.root / (where % os.fsdecode(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    body = {**CORRECTION, "instruction": "q", "output": "a", "event_type": "correction", "event_id": "e"}
    path.write_text(json.dumps({**body, "payload": body}) + "\n")

    assert _received(inbox) == 1
    inbox.close()
    again = Inbox(home)
    assert _received(again) == 1
    again.close()
    check(home)
