"""Does our side of the peers' lock do what contract/body.md 5.1 and RELIABILITY.md 5 measured?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from reactord import durable
from reactord.ipc import dlm

NOW = 1_795_281_095.0
NAME = "training_slot"
GUARDS = ["training_slot.dlm-acquire.lock", "training_slot.reactor.flock"]


def body_would_acquire(path: Path, now: float) -> bool:
    """Body's rule for a lock file it meets (body.md 5.1), with real processes."""
    try:
        said = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return True
    if now > said["expires_at"]:
        return True
    fields = said["owner"].split("-")
    try:
        process = psutil.Process(int(fields[1]))
    except (ValueError, IndexError, psutil.NoSuchProcess):
        return True
    return len(fields) > 2 and abs(process.create_time() - float(fields[2])) > 1


def body_cleanup_would_remove(path: Path, now: float) -> bool:
    """Body's start-up cleanup: what it would acquire, and what lacks a mandatory key."""
    said = json.loads(path.read_bytes())
    mandatory = {"acquired_at", "expires_at", "owner", "token", "lock_name"}
    return not mandatory <= set(said) or body_would_acquire(path, now)


def old_body_reads(path: Path) -> dict[str, object]:
    """The first version builds a strict class from the file: one key too many and the lock does not exist."""

    def strict(*, acquired_at: float, expires_at: float, owner: str, token: str, lock_name: str) -> dict[str, object]:
        return {"owner": owner}

    return strict(**json.loads(path.read_bytes()))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "cross_repo"


@pytest.fixture
def path(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return dlm.lock_path(directory, NAME)


@pytest.fixture(scope="module")
def dead_pid() -> int:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(timeout=30)
    return gone.pid


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def started(pid: int) -> float:
    return psutil.Process(pid).create_time()


def foreign(owner: str, *, expires_at: object = NOW + 7200, **more: object) -> dict[str, object]:
    return {
        "acquired_at": NOW - 10,
        "expires_at": expires_at,
        "owner": owner,
        "token": "theirs",
        "lock_name": NAME,
        **more,
    }


def claim(directory: Path, now: float = NOW, *, fence: int = 0) -> dlm.Lease | dlm.Busy:
    return dlm.claim(directory, NAME, 60, now, fence=fence, wait_s=0.05)


def test_a_free_lock_is_taken_and_every_generation_of_body_respects_it(directory: Path) -> None:
    lease = claim(directory, fence=7)

    assert isinstance(lease, dlm.Lease)
    said = json.loads(lease.path.read_bytes())
    assert list(said) == ["acquired_at", "expires_at", "owner", "token", "lock_name"]
    assert said["owner"] == f"reactor-{os.getpid()}-{started(os.getpid()):.1f}"
    assert said["token"].endswith(".7")
    assert said["expires_at"] == NOW + 60
    assert lease.path.name == "training_slot.dlm.lock"
    assert lease.path.stat().st_mode & 0o777 == 0o600
    assert not body_would_acquire(lease.path, NOW)
    assert not body_cleanup_would_remove(lease.path, NOW)
    assert old_body_reads(lease.path)


def test_no_file_of_ours_carries_the_name_that_peers_sweep_away(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()

    def link(source: Path, target: Path) -> None:
        seen.update(names(directory))
        os.link(source, target)

    def rename(source: Path, target: Path) -> None:
        seen.update({*names(directory), target.name})
        source.replace(target)

    monkeypatch.setattr(durable.disk, "link", link)
    monkeypatch.setattr(durable.disk, "rename", rename)
    lease = claim(directory)
    assert isinstance(lease, dlm.Lease)
    assert lease.renew(NOW + 15)
    assert isinstance(claim(directory, NOW + 1000), dlm.Lease)

    assert len(seen) > 3
    assert not [name for name in seen if ".tmp." in name]


@pytest.mark.parametrize(
    "owner",
    ["jarvis-{me}-{start}", "reactor-{me}-{start}", "reactor_core-{me}-{start}", "jarvis-{me}", "prime-{me}-{start}-x"],
)
def test_a_living_owner_keeps_its_lock(directory: Path, path: Path, owner: str) -> None:
    me = os.getpid()
    path.write_text(json.dumps(foreign(owner.format(me=me, start=f"{started(me):.1f}"), machine_id="linux-x")))

    assert claim(directory) == dlm.Busy(owner.format(me=me, start=f"{started(me):.1f}"), NOW + 7200)


@pytest.mark.parametrize("owner", ["reactord", "reactor-core-123-5.0", "3f0c7a4e", "", "host:77", "jarvis--1-5"])
def test_an_owner_that_names_no_process_keeps_its_lock_until_it_expires(
    directory: Path, path: Path, owner: str
) -> None:
    path.write_text(json.dumps(foreign(owner, expires_at=NOW + 5)))

    assert isinstance(claim(directory), dlm.Busy)
    assert isinstance(claim(directory, NOW + 5 + dlm.SKEW_S + 0.1), dlm.Lease)


def test_the_lock_of_a_dead_process_is_taken_over(directory: Path, path: Path, dead_pid: int) -> None:
    path.write_text(json.dumps(foreign(f"jarvis-{dead_pid}-{NOW}")))

    assert isinstance(claim(directory), dlm.Lease)


def test_the_lock_of_a_reused_pid_is_taken_over(directory: Path, path: Path) -> None:
    me = os.getpid()
    path.write_text(json.dumps(foreign(f"jarvis-{me}-{started(me) - 1.5:.1f}")))

    assert isinstance(claim(directory), dlm.Lease)


def test_an_expired_lock_is_left_for_the_skew_of_two_clocks_and_then_taken_although_its_owner_lives(
    directory: Path, path: Path
) -> None:
    path.write_text(json.dumps(foreign(f"jarvis-{os.getpid()}", expires_at=NOW)))

    assert isinstance(claim(directory, NOW + dlm.SKEW_S - 0.1), dlm.Busy)
    assert isinstance(claim(directory, NOW + dlm.SKEW_S + 0.1), dlm.Lease)


@pytest.mark.parametrize(
    "torn",
    [
        b"",
        b'{"acquired_at": 17',
        b"[]",
        b"null",
        b"\xff\xfe",
        json.dumps({"owner": "jarvis-1-1.0", "expires_at": NOW + 99}).encode(),
        json.dumps(foreign("jarvis-1-1.0", expires_at="2026-11-21T10:00:00")).encode(),
        json.dumps(foreign("jarvis-1-1.0", expires_at=float("inf"))).encode(),
        json.dumps(foreign("jarvis-1-1.0", expires_at=float("nan"))).encode(),
        b"[" * 100_000,
    ],
)
def test_an_unreadable_lock_is_somebody_writing_for_five_seconds_and_rubbish_after_that(
    directory: Path, path: Path, torn: bytes
) -> None:
    path.write_bytes(torn)
    os.utime(path, (NOW - 4, NOW - 4))
    assert claim(directory) == dlm.Busy("", NOW + 1)

    os.utime(path, (NOW - 6, NOW - 6))
    assert isinstance(claim(directory), dlm.Lease)


def test_a_second_claim_is_told_who_holds_it(directory: Path) -> None:
    first = claim(directory)
    assert isinstance(first, dlm.Lease)

    assert claim(directory) == dlm.Busy(first.owner, NOW + 60)


def test_renewing_extends_the_lease_and_keeps_the_token(directory: Path) -> None:
    lease = claim(directory)
    assert isinstance(lease, dlm.Lease)
    token = lease.token

    assert lease.renew(NOW + 15)

    found = dlm.holder(directory, NAME)
    assert found is not None
    assert (found.token, found.expires_at, found.acquired_at) == (token, NOW + 75, NOW)
    assert lease.mine(NOW + 74)
    assert not lease.mine(NOW + 75)


def test_a_holder_that_slept_too_long_does_not_renew_over_a_thief(directory: Path) -> None:
    lease = claim(directory)
    assert isinstance(lease, dlm.Lease)

    assert not lease.renew(NOW + 41)  # less than a third of 60 s left


def test_a_holder_whose_lock_was_stolen_learns_it_and_leaves_the_thiefs_lock_alone(directory: Path) -> None:
    lease = claim(directory)
    assert isinstance(lease, dlm.Lease)
    thief = json.dumps(foreign(f"jarvis-{os.getpid()}"))
    lease.path.write_text(thief)

    assert not lease.mine(NOW + 1)
    assert not lease.renew(NOW + 1)
    lease.release()
    assert lease.path.read_text() == thief


def test_releasing_removes_the_lock_and_leaves_nothing_but_the_guard(directory: Path) -> None:
    lease = claim(directory)
    assert isinstance(lease, dlm.Lease)

    lease.release()

    assert names(directory) == GUARDS
    assert dlm.holder(directory, NAME) is None
    lease.release()


def test_the_worker_owns_the_lock_after_the_hand_over_so_the_daemons_death_does_not_free_it(
    directory: Path, dead_pid: int
) -> None:
    lease = claim(directory)
    assert isinstance(lease, dlm.Lease)
    worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        lease.owner = dlm.owner_of(worker.pid)
        assert lease.renew(NOW + 1)
        found = dlm.holder(directory, NAME)
        assert found is not None
        assert found.owner.startswith(f"reactor-{worker.pid}-")
        assert isinstance(claim(directory, NOW + 2), dlm.Busy)
    finally:
        worker.communicate(b"\n", timeout=30)
    assert isinstance(claim(directory, NOW + 2), dlm.Lease)


def test_a_restarted_daemon_continues_the_lease_that_its_worker_kept_and_nobody_elses(
    directory: Path, dead_pid: int
) -> None:
    lease = claim(directory, fence=3)
    assert isinstance(lease, dlm.Lease)
    me = os.getpid()

    adopted = dlm.adopt(directory, NAME, 60, me, NOW + 10)
    assert adopted is not None
    assert adopted.fence == 3
    assert adopted.renew(NOW + 10)
    assert lease.mine(NOW + 65)
    assert dlm.adopt(directory, NAME, 60, os.getppid(), NOW + 10) is None
    assert dlm.adopt(directory, NAME, 60, dead_pid, NOW + 10) is None
    assert dlm.adopt(directory, NAME, 60, me, NOW + 71) is None
    for owner, machine in ((f"jarvis-{me}-{started(me):.1f}", ""), (f"reactor-{me}-{started(me):.1f}", "linux-other")):
        lease.path.write_text(json.dumps(foreign(owner, machine_id=machine)))
        assert dlm.adopt(directory, NAME, 60, me, NOW + 10) is None


def test_only_a_living_body_lets_its_job_run_under_its_lock(directory: Path, path: Path, dead_pid: int) -> None:
    me = os.getpid()
    for owner, delegated in (
        (f"jarvis-{me}-{started(me):.1f}", True),
        (f"jarvis-{dead_pid}-{NOW}", False),
        (f"reactor-{me}-{started(me):.1f}", False),
    ):
        path.write_text(json.dumps(foreign(owner)))
        assert dlm.is_live_jarvis_owner(dlm.holder(directory, NAME), NOW) is delegated
    path.write_text(json.dumps(foreign(f"jarvis-{me}-{started(me):.1f}", expires_at=NOW - 60)))
    assert not dlm.is_live_jarvis_owner(dlm.holder(directory, NAME), NOW)
    assert not dlm.is_live_jarvis_owner(None, NOW)


def test_a_stuck_guard_delays_the_claim_and_does_not_prevent_it(directory: Path, path: Path) -> None:
    with dlm.flocked(directory / f"{NAME}.dlm-acquire.lock", 0) as mine:
        assert mine
        before = time.monotonic()
        assert isinstance(claim(directory), dlm.Lease)
        assert 0.05 <= time.monotonic() - before < 2


def test_a_claim_that_appears_between_looking_and_stealing_is_put_back(
    directory: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text(json.dumps(foreign("jarvis-1-1.0", expires_at=NOW - 100)))
    newcomer = json.dumps(foreign(f"jarvis-{os.getpid()}")).encode()

    def rename(source: Path, target: Path) -> None:
        path.write_bytes(newcomer)
        source.replace(target)

    monkeypatch.setattr(durable.disk, "rename", rename)

    assert claim(directory) == dlm.Busy(f"jarvis-{os.getpid()}", NOW + 7200)
    assert path.read_bytes() == newcomer
    assert names(directory) == sorted([*GUARDS, "training_slot.dlm.lock"])


def test_a_legacy_peer_that_overwrites_our_fresh_claim_is_noticed_at_the_second_look(directory: Path) -> None:
    lease = claim(directory)
    assert isinstance(lease, dlm.Lease)
    lease.path.write_text(json.dumps(foreign(f"jarvis-{os.getpid()}")))

    assert not lease.mine(NOW + dlm.SETTLE_S)


def test_processes_that_fight_for_the_lock_never_hold_it_together(directory: Path, tmp_path: Path) -> None:
    """Four processes for two seconds; one dies after a moment with the lock in its hands."""
    script = textwrap.dedent(
        """
        import os, sys, time
        from pathlib import Path
        from reactord.ipc import dlm
        directory, marker, log = map(Path, sys.argv[1:4])
        started, held, overlaps = time.monotonic(), 0, 0
        while (elapsed := time.monotonic() - started) < 2:
            dying = sys.argv[4] == "dies" and elapsed > 0.5
            lease = dlm.claim(directory, "training_slot", 500, time.time())
            if not isinstance(lease, dlm.Lease):
                time.sleep(0.001)
                continue
            if dying:
                os.kill(os.getpid(), 9)
            try:
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                overlaps += 1
            time.sleep(0.001)
            held += elapsed > 1
            marker.unlink(missing_ok=True)
            lease.release()
        log.write_text(f"{held} {overlaps}")
        """
    )
    logs = [tmp_path / f"log{i}" for i in range(4)]
    fighters = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(directory), str(tmp_path / "marker"), str(log), "dies" if not i else "-"]
        )
        for i, log in enumerate(logs)
    ]
    codes = [fighter.wait(timeout=60) for fighter in fighters]

    assert codes == [-9, 0, 0, 0]
    results = [tuple(map(int, log.read_text().split())) for log in logs[1:]]
    assert sum(overlaps for _, overlaps in results) == 0
    assert sum(held for held, _ in results) > 10  # after one second: the dead holder blocks nobody


def test_a_pipe_in_the_place_of_a_lock_is_nobodys_and_never_waited_for(directory: Path, path: Path) -> None:
    os.mkfifo(path)

    assert dlm.holder(directory, "training_slot") is None
