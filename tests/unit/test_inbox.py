from __future__ import annotations

import errno
import json
import os
import socket
import sqlite3
import subprocess
import time
from concurrent.futures import Future
from pathlib import Path

import pytest
from support.disks import FailingDisk, FullDisk, WatchedDisk
from support.ledgers import check, hexed, identities, line
from support.writers import begin

from reactord import durable
from reactord.errors import BadRecord, EnvironmentTrouble
from reactord.ipc import batch, dropfile, drops
from reactord.ipc import inbox as module
from reactord.ipc.handful import Handful
from reactord.ipc.inbox import Inbox
from reactord.ledger import reading
from reactord.ledger.index import Index
from reactord.ledger.staged import key_of

TELEMETRY = "interactions_20261121.jsonl"


class Skewed:
    """A clock that runs `ahead_s` before everybody else's."""

    ahead_s = 0.0

    def __call__(self):
        return time.time() + self.ahead_s


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(module, "TROUBLE_S", 0.0)


@pytest.fixture
def clock():
    return Skewed()


@pytest.fixture
def inbox(home, clock):
    made = Inbox(home, clock)
    yield made
    made.close()


def _drop(home, name, *ids):
    path = home.events / f"experiences_{name}.json"
    path.write_text(json.dumps([{"id": identity} for identity in ids]))
    return path


def _append(home, *lines, name=TELEMETRY):
    with (home.telemetry / name).open("ab") as file:
        file.write(b"".join(one + b"\n" for one in lines))


def _names(path):
    return sorted(entry.name for entry in path.iterdir())


def _keys(*ids):
    return sorted(key_of(identity) for identity in ids)


def _restarted(inbox, clock):
    inbox.close()
    return Inbox(inbox.home, clock)


# -- the way in --------------------------------------------------------------------------------------------------------
def test_everything_at_the_doors_is_taken_in_once_and_only_drop_files_are_removed(inbox, home):
    _drop(home, "llm_1", "a", "b")
    (home.events / "5_1795281245000_p.json").write_text('{"event_id": "p", "payload": {"experiences": [{"id": "c"}]}}')
    (home.events / "packet_7.json").write_text("[]")
    (home.events / "4_1_command.json").write_text("[]")
    _append(home, line("d"), line("a"))

    inbox.turn()
    inbox.turn()

    assert _names(home.events) == ["4_1_command.json", "packet_7.json"]
    assert _names(home.claimed) == []
    assert (home.telemetry / TELEMETRY).exists()
    assert inbox.intake.trouble is None
    inbox.close()
    counts = check(home)
    assert (counts.received, counts.pending, counts.duplicates) == (5, 4, 1)
    assert sorted(identities(home)) == _keys("a", "b", "c", "d")


def test_the_raw_bytes_are_kept_as_they_arrived(inbox, home):
    raw = b' [ {"id" : "a", "text":"\\u00e9\xc3\xa9", "n": 1.50} ]\r\n'
    (home.events / "experiences_x.json").write_bytes(raw)

    inbox.turn()

    assert raw in (home.journal / "000001.log").read_bytes()
    assert next(reading.pending(home, 9)).body == {"id": "a", "text": "éé", "n": 1.5}


def test_the_intake_tells_the_trigger_what_is_fresh(inbox, home, clock):
    _append(home, line("a"), line("b"), line("c"))
    inbox.turn()
    assert (inbox.intake.fresh, inbox.intake.fresh_after, inbox.intake.last_seq) == (3, 0, 3)
    assert inbox.intake.last_arrival_at == pytest.approx(clock(), abs=5)

    inbox.looked_upto = 2
    inbox.turn()

    assert (inbox.intake.fresh, inbox.intake.fresh_after) == (1, 2)


def test_more_files_than_one_batch_holds_are_taken_in_one_turn(inbox, home):
    for n in range(batch.BATCH_FILES * 2 + 7):
        _drop(home, f"{n:05d}", f"e{n}")

    inbox.turn()

    assert inbox.index.counts().pending == batch.BATCH_FILES * 2 + 7
    assert _names(home.events) == []


def test_a_batch_is_bounded_in_bytes_too(inbox, home, monkeypatch):
    monkeypatch.setattr(batch, "BATCH_BYTES", 100)
    for n in range(20):
        _drop(home, f"{n:05d}", f"e{n}", "x" * 50)

    inbox.turn()

    assert inbox.index.counts().pending == 21


# -- half-written, broken, hostile -------------------------------------------------------------------------------------
def test_a_file_written_byte_by_byte_by_a_writer_who_keeps_it_open_comes_in_once_and_whole(inbox, home, clock):
    clock.ahead_s = 3600  # however long it takes
    path = home.events / "experiences_slow.json"
    with path.open("wb", buffering=0) as writer:
        for byte in b'[{"id": "a"}]  ':
            writer.write(bytes([byte]))
            inbox.turn()
            assert inbox.index.counts().received == 0
            assert path.exists()

    inbox.turn()

    assert identities(home) == _keys("a")
    assert not path.exists()


def test_a_file_that_its_writer_closed_half_way_is_left_alone_while_it_is_young_and_taken_when_it_is_whole(inbox, home):
    path = home.events / "experiences_slow.json"
    for part in ("[", '{"id":', ' "a"}', "]"):
        with path.open("a") as writer:
            writer.write(part)
        inbox.turn()

    assert identities(home) == _keys("a")
    assert _names(home.quarantine) == []


def test_garbage_that_has_been_quiet_is_quarantined_unaltered_with_its_reason_and_counted(inbox, home, clock):
    (home.events / "experiences_bad.json").write_bytes(b"\xff{garbage")
    inbox.turn()
    assert _names(home.events) == ["experiences_bad.json"]

    clock.ahead_s = dropfile.SETTLE_S + 1
    inbox.turn()

    assert _names(home.events) == _names(home.claimed) == []
    aside, reason = _names(home.quarantine)
    assert (home.quarantine / aside).read_bytes() == b"\xff{garbage"
    said = json.loads((home.quarantine / reason).read_bytes())
    assert reason == f"{aside}.reason.json"
    assert said["name"] == "experiences_bad.json"
    assert said["reason"].startswith("not JSON")
    inbox.close()
    assert check(home).rejected == {"not JSON": 1}


def test_the_same_garbage_again_and_again_takes_no_more_room_and_every_file_is_counted(inbox, home, clock):
    for n in range(3):
        (home.events / f"experiences_{n}.json").write_bytes(b"garbage")
    (home.events / "experiences_other.json").write_bytes(b"other garbage")
    clock.ahead_s = 10

    inbox.turn()

    aside = [name for name in _names(home.quarantine) if not name.endswith(".reason.json")]
    assert sorted((home.quarantine / name).read_bytes() for name in aside) == [b"garbage", b"other garbage"]
    assert len(_names(home.quarantine)) == 4
    assert _names(home.claimed) == []
    assert inbox.index.counts().rejected == {"not JSON": 4}


def _fifo(path):
    os.mkfifo(path)


def _hard_link(path):
    (path.parent.parent / "other").write_text("[]")
    path.hardlink_to(path.parent.parent / "other")


def _symlink(path):
    (path.parent.parent / "other").write_text("[]")
    path.symlink_to(path.parent.parent / "other")


def _socket(path):
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


def _oversized(path):
    with path.open("wb") as file:
        file.truncate(10 * 1024**3)  # sparse


@pytest.mark.parametrize("make", [_fifo, _hard_link, _symlink, _socket, _oversized])
def test_what_is_no_plain_file_goes_to_quarantine_and_neither_blocks_nor_touches_anything_else(inbox, home, make):
    make(home.events / "experiences_000.json")
    _drop(home, "llm_1", "a")

    inbox.turn()

    assert _names(home.events) == []
    assert len(_names(home.quarantine)) == 2
    assert inbox.intake.trouble is None
    other = home.trinity / "other"
    assert not other.exists() or other.read_text() == "[]"
    inbox.close()
    counts = check(home)
    assert (counts.pending, sum(counts.rejected.values())) == (1, 1)


def test_a_directory_under_a_name_of_ours_is_left_where_it_is(inbox, home):
    (home.events / "experiences_000.json").mkdir()
    _drop(home, "llm_1", "a")

    inbox.turn()

    assert _names(home.events) == ["experiences_000.json"]
    assert inbox.index.counts().received == 1


@pytest.mark.parametrize(
    "name",
    [
        b"experiences_\xff\xfe.json",
        b"experiences_\n.json",
        b"experiences_\x1b[31m.json",
        b"experiences_~a~b.json",
        b"experiences_" + b"n" * 238 + b".json",
        b"experiences_" + b"\xff" * 238 + b".json",
        "experiences_ünïcode-\U0001f600.json".encode(),
    ],
)
@pytest.mark.parametrize("content", [b'[{"id": "a"}]', b"garbage"])
def test_a_file_of_any_name_comes_in_or_goes_to_quarantine(inbox, home, clock, name, content):
    with open(os.fsencode(home.events) + b"/" + name, "wb") as file:  # noqa: PTH123 - the name is bytes
        file.write(content)
    clock.ahead_s = 10

    inbox.turn()
    inbox.close()

    counts = check(home)
    assert counts.received == 1
    assert not list(home.events.iterdir())
    assert len(_names(home.quarantine)) == 2 * sum(counts.rejected.values())
    assert all(other.isascii() and other.isprintable() for other in _names(home.quarantine))


@pytest.mark.parametrize("door", ["drop", "tail"])
def test_a_file_that_cannot_be_read_is_shown_as_a_trouble_and_keeps_no_other_waiting(inbox, home, door, monkeypatch):
    if door == "tail":
        (home.telemetry / "interactions_20260101.jsonl").mkdir()
    else:
        path, real, durable.disk = _drop(home, "000", "x"), durable.claim, WatchedDisk()
        monkeypatch.setattr(
            durable, "claim", lambda source, target: _deny() if str(source) == str(path) else real(source, target)
        )
    _drop(home, "llm_1", "a")
    _append(home, line("b"))

    inbox.turn()

    assert sorted(identities(home)) == _keys("a", "b")
    assert inbox.intake.trouble
    assert ("interactions_20260101" if door == "tail" else "not permitted") in inbox.intake.trouble


def _deny():
    raise PermissionError(errno.EPERM, "Operation not permitted")


def test_the_trouble_goes_with_its_cause(inbox, home):
    (home.telemetry / "interactions_20260101.jsonl").mkdir()
    inbox.turn()
    assert inbox.intake.trouble
    (home.telemetry / "interactions_20260101.jsonl").rmdir()

    inbox.turn()

    assert inbox.intake.trouble is None


def test_names_that_can_never_be_taken_do_not_keep_the_thread_busy(inbox, home, monkeypatch):
    monkeypatch.setattr(drops, "NAMES_PER_LOOK", 3)
    for n in range(5):
        (home.events / f"experiences_{n}.json").mkdir()

    inbox.turn()  # would not return

    assert inbox.intake.trouble is None


# -- between the look and the claim ------------------------------------------------------------------------------------
@pytest.fixture(params=["by the handful", "one by one"])
def meanwhile(request, monkeypatch):
    """Do something between the look at a file and its claim, once."""
    todo = []

    def before(real, path_of):
        def claim(*arguments):
            if todo:
                todo.pop()(path_of(*arguments))
            return real(*arguments)

        return claim

    if request.param == "one by one":
        monkeypatch.setattr(durable, "disk", WatchedDisk())
        monkeypatch.setattr(durable, "claim", before(durable.claim, lambda source, target: Path(source)))
    else:
        monkeypatch.setattr(Handful, "claim", before(Handful.claim, lambda files, target: Path(*files.waiting[0][1:])))
    return todo.append


def test_a_file_that_is_rewritten_between_the_look_and_the_claim_comes_in_as_it_is_then(inbox, home, meanwhile):
    _drop(home, "x", "old")
    waiting = []
    new = '[{"id": "new"}, {"id": "newer"}]'
    meanwhile(lambda path: waiting.append(begin(lambda: path.write_text(new))))

    inbox.turn()
    waiting[0].join()
    inbox.turn()

    assert sorted(identities(home)) == _keys("new", "newer")
    assert _names(home.claimed) == []


def test_a_writer_who_opens_the_file_between_the_look_and_the_claim_loses_nothing(inbox, home, meanwhile):
    path, waiting, writers = _drop(home, "x", "old"), [], []
    meanwhile(lambda source: waiting.append(begin(lambda: writers.append(source.open("r+b")))))

    inbox.turn()
    waiting[0].join()
    writers[0].write(b'[{"id": "written after the claim"}]')
    inbox.turn()
    assert inbox.index.counts().received == 0
    writers[0].close()
    inbox.turn()

    assert identities(home) == _keys("written after the claim")
    assert not path.exists()


def test_a_file_that_is_gone_before_the_claim_is_nothing(inbox, home, meanwhile):
    _drop(home, "x", "a")
    meanwhile(lambda path: path.unlink())

    inbox.turn()

    assert inbox.index.counts().received == 0
    assert inbox.intake.trouble is None


def test_a_file_that_became_garbage_before_the_claim_is_quarantined_when_it_has_been_quiet(
    inbox, home, clock, meanwhile
):
    _drop(home, "x", "a")
    waiting = []
    meanwhile(lambda path: waiting.append(begin(lambda: path.write_text("garbage"))))
    inbox.turn()
    waiting[0].join()
    inbox.turn()
    assert inbox.index.counts().received == 0

    clock.ahead_s = 10
    inbox.turn()

    assert len(_names(home.quarantine)) == 2
    assert _names(home.claimed) == []


# -- telemetry ---------------------------------------------------------------------------------------------------------
def test_a_bad_line_in_the_middle_is_copied_to_quarantine_and_its_neighbours_come_in(inbox, home):
    _append(home, line("a"), b"{torn", b"", b"\0\0\0", line("b"))

    inbox.turn()
    inbox.turn()

    assert sorted(identities(home))  # readable
    kept = [name for name in _names(home.quarantine) if name.endswith(".line")]
    assert sorted((home.quarantine / name).read_bytes() for name in kept) == [b"\0\0\0", b"{torn"]
    said = [json.loads((home.quarantine / f"{name}.reason.json").read_bytes()) for name in kept]
    assert {note["name"] for note in said} == {TELEMETRY}
    whole = (home.telemetry / TELEMETRY).read_bytes()
    assert {whole[note["offset"] :].split(b"\n")[0] for note in said} == {b"\0\0\0", b"{torn"}
    inbox.close()
    counts = check(home)
    assert (counts.pending, counts.rejected) == (2, {"not JSON": 2})


def test_an_overlong_line_is_passed_over_and_counted(inbox, home):
    _append(home, line("a"), b"x" * (5 * 1024 * 1024), line("b"))

    inbox.turn()
    inbox.close()

    counts = check(home)
    assert (counts.received, counts.pending) == (3, 2)


def test_equal_lines_without_an_id_are_two_records_and_a_copied_file_brings_none(inbox, home):
    _append(home, line(), line())
    inbox.turn()
    path = home.telemetry / TELEMETRY
    copy = home.telemetry / "copy"
    copy.write_bytes(path.read_bytes() + line() + b"\n")
    copy.rename(path)
    inbox.turn()

    counts = inbox.index.counts()
    assert (counts.pending, counts.duplicates) == (3, 2)


def test_the_same_first_line_on_two_days_is_two_records(inbox, home):
    _append(home, line(), name="interactions_20261121.jsonl")
    _append(home, line(), name="interactions_20261122.jsonl")
    inbox.turn()

    assert inbox.index.counts().pending == 2


def test_a_quiet_file_is_looked_at_again_as_soon_as_it_changes(inbox, home):
    for n in range(4):
        _append(home, line(f"e{n}"))
        inbox.turn()
        inbox.turn()
        assert inbox.index.counts().pending == n + 1


def test_a_year_of_quiet_telemetry_costs_an_idle_daemon_next_to_nothing(inbox, home):
    for n in range(365):
        _append(home, line(f"e{n}"), name=f"interactions_{20260000 + n}.jsonl")
    inbox.turn()
    began = time.process_time()
    for _ in range(10):
        inbox.turn()

    assert (time.process_time() - began) / 10 < 0.006  # four times a second; 0.013 s before quiet files were remembered


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
    again = _restarted(inbox, clock)
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
    _append(home, line("a"))
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


# -- restarts ----------------------------------------------------------------------------------------------------------
def test_claimed_files_that_nobody_journalled_come_in_after_a_restart(inbox, home, monkeypatch):
    _drop(home, "x", "a")
    monkeypatch.setattr(inbox.journal, "append", lambda entries: _deny())
    inbox.turn()
    assert len(_names(home.claimed)) == 1
    assert inbox.intake.trouble

    again = _restarted(inbox, time.time)
    again.turn()
    again.close()

    assert identities(home) == _keys("a")
    assert _names(home.claimed) == []


def test_what_is_not_ours_among_the_claimed_files_harms_nobody(inbox, home):
    for name in (".DS_Store", "a~b"):
        (home.claimed / name).write_text("?")
    _drop(home, "x", "a")

    inbox.turn()

    assert inbox.intake.trouble is None
    assert identities(home) == _keys("a")
    assert _names(home.claimed) == [".DS_Store", "a~b"]


def test_a_file_with_a_long_name_and_no_ids_is_the_same_file_before_and_after_a_crash(inbox, home, monkeypatch):
    """A power cut can bring back a drop that was taken in: it must not become new records by then."""
    name = "experiences_" + "n" * 230 + ".json"
    (home.events / name).write_text("[{}]")
    inbox.turn()
    (home.events / name).write_text("[{}]")
    monkeypatch.setattr(inbox.journal, "append", lambda entries: _deny())
    inbox.turn()
    again = _restarted(inbox, time.time)
    again.turn()
    again.close()

    assert (check(home).pending, check(home).duplicates) == (1, 1)


# -- the disk ----------------------------------------------------------------------------------------------------------
def test_a_full_disk_is_a_trouble_that_is_shown_and_left_without_a_restart_and_loses_nothing(inbox, home):
    durable.disk = FullDisk()
    _drop(home, "x", "a", "b")
    _append(home, line("c"))
    offered = inbox.offer("experiences", "job", b'[{"id": "d"}]')
    for _ in range(3):
        inbox.turn()
        assert "No space" in inbox.intake.trouble
    with pytest.raises(OSError, match="No space"):
        offered.result(0)

    durable.disk.full = False
    inbox.turn()

    assert inbox.intake.trouble is None
    inbox.close()
    assert sorted(identities(home)) == _keys("a", "b", "c")
    assert check(home).duplicates == 0
    assert _names(home.claimed) == _names(home.events) == []


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("write_at_most", [50, 1 << 30])
def test_a_disk_that_refuses_any_one_call_loses_nothing_and_doubles_nothing(home, clock, error, write_at_most):
    clock.ahead_s = 10
    swept, expected = 0, []
    inbox = Inbox(home, clock)
    inbox.open()
    for fail_at in range(1, 100):
        durable.disk = FailingDisk()
        _drop(home, f"{fail_at:04d}", f"a{fail_at}", f"b{fail_at}")
        (home.events / f"experiences_bad{fail_at}.json").write_text(f"garbage {fail_at}")
        _append(home, line(f"c{fail_at}"), b"bad %d" % fail_at)
        expected += [f"a{fail_at}", f"b{fail_at}", f"c{fail_at}"]
        durable.disk = FailingDisk(fail_at, error, write_at_most)
        for _ in range(4):
            inbox.turn()
        assert inbox.intake.trouble is None
        swept = fail_at
        if durable.disk.calls < fail_at:
            break
    else:
        pytest.fail("the sweep did not reach the last call")
    inbox.close()

    assert swept > 12
    counts = check(home)
    assert (counts.pending, counts.rejected, counts.duplicates) == (3 * swept, {"not JSON": 2 * swept}, 0)
    assert _names(home.claimed) == _names(home.events) == []
    assert len(_names(home.quarantine)) == 4 * swept
    pending = {record.identity for record in reading.pending(home, 1 << 40)}
    assert pending == {hexed(identity) for identity in expected}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_disk_that_is_really_full_is_left_without_a_restart(tmp_path, clock):
    mounted = tmp_path / "small"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mounted)], check=True)
    try:
        from reactord.home import Home

        home = Home(mounted / "jarvis")
        home.create()
        inbox = Inbox(home, clock)
        inbox.turn()
        _append(home, *(line(f"t{n}", pad="x" * 300) for n in range(300)))
        for n in range(100):
            _drop(home, f"{n:04d}", f"d{n}", "x" * 200)
        ballast = mounted / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"b" * 4096)
            except OSError:
                pass
        for _ in range(3):
            inbox.turn()
            assert inbox.intake.trouble
        ballast.unlink()
        for _ in range(3):
            inbox.turn()

        assert inbox.intake.trouble is None
        inbox.close()
        assert set(identities(home)) >= set(_keys(*(f"t{n}" for n in range(300)), *(f"d{n}" for n in range(100))))
        assert check(home).pending == 401
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


# -- the index is disposable -------------------------------------------------------------------------------------------
def _fail_once(monkeypatch, inbox):
    real, left = Index.flush, [1]

    def flush(self):
        if left and self._staged is not None:
            left.pop()
            self.unstage()  # as the real one does
            raise sqlite3.OperationalError("database or disk is full")
        return real(self)

    monkeypatch.setattr(Index, "flush", flush)


@pytest.mark.parametrize("then", ["a turn", "an offer", "a restart"])
def test_an_index_that_fell_behind_the_journal_catches_up_before_anything_else_is_entered(
    inbox, home, clock, monkeypatch, then
):
    inbox.open()
    _drop(home, "x", "a")
    _append(home, line("b"))
    _fail_once(monkeypatch, inbox)
    first = inbox.offer("experiences", "job-1", b'[{"id": "c"}]')
    second = inbox.offer("experiences", "job-2", b'[{"id": "d"}]') if then == "an offer" else None
    inbox.turn()
    with pytest.raises(sqlite3.OperationalError):
        first.result(0)
    if then == "a restart":
        inbox = _restarted(inbox, clock)

    inbox.turn()
    inbox.close()

    assert second is None or second.result(0) == 1
    expected = ["a", "b", "c", "d"] if then == "an offer" else ["a", "b", "c"]
    assert sorted(identities(home)) == _keys(*expected)
    assert check(home).duplicates == 0
    assert _names(home.claimed) == []


def _overwrite(path):
    path.write_bytes(b"this is no database at all" * 400)


def _cut(path):
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def _scribble(path):
    raw = bytearray(path.read_bytes())
    for page in range(4096, len(raw), 4096):
        raw[page : page + 2000] = os.urandom(2000)
    path.write_bytes(raw)


@pytest.mark.parametrize("damage", [_overwrite, _cut, _scribble])
@pytest.mark.parametrize("when", ["at rest", "while running"])
def test_a_damaged_index_is_set_aside_and_rebuilt_from_the_journal(inbox, home, clock, damage, when):
    _append(home, *(line(f"e{n}") for n in range(800)))
    _drop(home, "x", "a")
    inbox.turn()
    before = inbox.index.counts()
    inbox.index.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if when == "at rest":
        inbox = _restarted(inbox, clock)
        for suffix in ("-wal", "-shm"):
            (home.ledger / f"index.db{suffix}").unlink(missing_ok=True)
        damage(home.index_db)
    else:
        damage(home.index_db)
        inbox.index.db.execute("PRAGMA cache_size=0")
    _append(home, line("after"))
    _drop(home, "y", "b")

    for _ in range(4):
        inbox.turn()

    assert inbox.intake.trouble is None
    assert [name for name in _names(home.ledger) if ".damaged-" in name]
    inbox.close()
    assert check(home).pending == before.pending + 2


def test_a_call_that_meets_the_damage_is_told_to_ask_again(inbox, home):
    inbox.open()

    def hit():
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    asked = inbox.call(hit)
    inbox.turn()
    assert not inbox.intake.ready
    with pytest.raises(EnvironmentTrouble, match="ask again"):
        asked.result(0)
    again = inbox.call(lambda: 1)
    inbox.turn()

    assert again.result(0) == 1
    assert inbox.intake.ready
