"""Does a disk that is full or refuses cost a wait and no record?"""

from __future__ import annotations

import errno
import os
import subprocess
from contextlib import closing

import pytest
from support.disks import FailingDisk, FullDisk
from support.inboxes import Skewed, append, drop, keys, names
from support.ledgers import check, hexed, identities, line

from reactord import durable
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


def test_a_full_disk_is_a_trouble_that_is_shown_and_left_without_a_restart_and_loses_nothing(inbox, home):
    durable.disk = FullDisk()
    drop(home, "x", "a", "b")
    append(home, line("c"))
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
    assert sorted(identities(home)) == keys("a", "b", "c")
    assert check(home).duplicates == 0
    assert names(home.claimed) == names(home.events) == []


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("write_at_most", [50, 1 << 30])
def test_a_disk_that_refuses_any_one_call_loses_nothing_and_doubles_nothing(home, clock, error, write_at_most):
    clock.ahead_s = 10
    swept, expected = 0, []
    inbox = Inbox(home, clock)
    inbox.open()
    for fail_at in range(1, 100):
        durable.disk = FailingDisk()
        drop(home, f"{fail_at:04d}", f"a{fail_at}", f"b{fail_at}")
        (home.events / f"experiences_bad{fail_at}.json").write_text(f"garbage {fail_at}")
        append(home, line(f"c{fail_at}"), b"bad %d" % fail_at)
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
    assert names(home.claimed) == names(home.events) == []
    assert len(names(home.quarantine)) == 4 * swept
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
        append(home, *(line(f"t{n}", pad="x" * 300) for n in range(300)))
        for n in range(100):
            drop(home, f"{n:04d}", f"d{n}", "x" * 200)
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
        assert set(identities(home)) >= set(keys(*(f"t{n}" for n in range(300)), *(f"d{n}" for n in range(100))))
        assert check(home).pending == 401
    finally:
        subprocess.run(["umount", str(mounted)], check=True)
