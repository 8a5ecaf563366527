from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import subprocess
import time

import psutil
import pytest
from support import forked
from support.staged_world import FAKE

from reactord.jobs import worker_process
from reactord.jobs.hanging import Limits
from reactord.jobs.worker_process import WorkerLost, bury, is_working, rss_bytes, start
from reactord.workdir import WorkDir, boot_id

LONG = Limits(deadline_s=30.0, quiet_s=30.0)


@pytest.fixture(autouse=True)
def _a_worker_of_our_own(monkeypatch):
    monkeypatch.setattr(worker_process, "WORKER_COMMAND", FAKE)
    monkeypatch.setattr(worker_process, "POLL_S", 0.02)


@pytest.fixture
def workdir(fast_dir):
    made = WorkDir(fast_dir / "job-1")
    made.root.mkdir()
    yield made
    for _, pid in _starts(made):  # whatever a test that failed left behind, and only that
        try:
            os.killpg(pid, 9)
        except ProcessLookupError:
            continue


def _plan(workdir, do, stage="train", **more):
    (workdir.root / f"fake-{stage}.json").write_text(json.dumps({"do": do, **more}))


def _starts(workdir):
    path = workdir.root / "starts"
    return [(line.split()[0], int(line.split()[1])) for line in path.read_text().splitlines()] if path.exists() else []


async def _until(true, patience_s=10.0):
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


def _alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


# -- how a stage ends --------------------------------------------------------------------------------------------------
async def test_a_worker_that_says_ok_is_believed(workdir):
    _plan(workdir, "ok", facts={"steps": 24})

    outcome = await (await start(workdir, "train")).finished(LONG)

    assert (outcome["ok"], outcome["steps"]) == (True, 24)
    assert not is_working(workdir)


async def test_a_worker_that_says_no_is_believed(workdir):
    _plan(workdir, "refuse")

    outcome = await (await start(workdir, "train")).finished(LONG)

    assert (outcome["ok"], outcome["cause"]) == (False, "bad_data")


@pytest.mark.parametrize(("do", "reason", "says"), [("crash", "crashed", "status 3"), ("die", "signal", "SIGKILL"),
                                                    ("fault", "crashed", "SIGSEGV"),
                                                    ("stop", "preempted", "checkpoint")])  # fmt: skip
async def test_a_worker_that_ends_without_an_outcome_is_lost_and_we_say_how(workdir, do, reason, says):
    _plan(workdir, do)

    with pytest.raises(WorkerLost, match=says) as lost:
        await (await start(workdir, "train")).finished(LONG)

    assert lost.value.reason == reason


async def test_a_worker_that_cannot_even_start_is_lost_and_its_output_is_kept(workdir):
    with pytest.raises(WorkerLost, match=r"worker\.log") as lost:
        await (await start(workdir, "train")).finished(LONG)

    assert lost.value.reason == "crashed"
    assert "fake-train.json" in workdir.worker_log.read_text()


@pytest.mark.parametrize("do", ["hang", "babble"])
async def test_a_worker_that_says_nothing_new_for_long_hangs_and_is_ended(workdir, do):
    """One that says the same again and again is alive, and gets nowhere."""
    _plan(workdir, do, for_s=20 if do == "babble" else 0)
    worker = await start(workdir, "train")
    pid = worker.child.pid

    with pytest.raises(WorkerLost, match="nothing new") as lost:
        await worker.finished(Limits(deadline_s=30, quiet_s=0.4))

    assert lost.value.reason == "hang"
    assert not _alive(pid)


async def test_a_run_that_makes_no_further_step_hangs_however_much_else_it_says(workdir):
    _plan(workdir, "talk", for_s=20, steps=[0.01, 0.02, 0.03])

    with pytest.raises(WorkerLost, match="no step after step 3") as lost:
        await (await start(workdir, "train")).finished(Limits(deadline_s=30, step_floor_s=0.4))

    assert lost.value.reason == "hang"


async def test_a_step_may_take_a_few_times_as_long_as_the_ones_before(workdir):
    _plan(workdir, "ok", for_s=1.0, steps=[0.5, 0.5, 0.5])

    assert (await (await start(workdir, "train")).finished(Limits(deadline_s=30, step_floor_s=0.1)))["ok"]


async def test_a_worker_whose_time_is_over_is_ended_at_a_checkpoint_and_we_say_what_to_do(workdir):
    _plan(workdir, "talk", for_s=20, steps=[0.1])

    with pytest.raises(WorkerLost, match=r"at step 1 when they were over; raise train_deadline_s") as lost:
        await (await start(workdir, "train")).finished(Limits(deadline_s=0.5))

    assert lost.value.reason == "deadline"
    assert (workdir.root / "left-at-a-checkpoint").exists()
    assert not is_working(workdir)


async def test_a_worker_that_is_done_and_does_not_leave_is_ended_and_believed(workdir, monkeypatch):
    monkeypatch.setattr(worker_process, "LINGER_S", 0.3)
    _plan(workdir, "linger", facts={"steps": 24})

    assert (await (await start(workdir, "train")).finished(LONG))["steps"] == 24
    assert not is_working(workdir)


@pytest.mark.parametrize(("more", "cause"), [(1, "out_of_memory"), (0, "signal")])
async def test_a_kill_while_the_kernel_ended_somebody_for_memory_is_called_so(workdir, monkeypatch, more, cause):
    counts = iter([7, 7 + more, 7 + more])
    monkeypatch.setattr(worker_process, "count_oom_kills", lambda: next(counts))
    _plan(workdir, "die")

    with pytest.raises(WorkerLost) as lost:
        await (await start(workdir, "train")).finished(LONG)

    assert lost.value.reason == cause


def test_the_kernel_s_count_is_read_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_process, "VMSTAT", tmp_path / "vmstat")
    assert worker_process.count_oom_kills() is None
    (tmp_path / "vmstat").write_text("nr_free_pages 1\noom_kill 42\n")
    assert worker_process.count_oom_kills() == 42


async def test_a_worker_that_reports_now_and_then_does_not_hang_however_long_it_takes(workdir):
    _plan(workdir, "talk", for_s=1.5)

    assert (await (await start(workdir, "train")).finished(Limits(deadline_s=30, quiet_s=0.5)))["ok"]


async def test_a_clock_that_jumps_a_day_ahead_is_no_silence(workdir, monkeypatch):
    """A notebook that slept: the wall clock jumps, the monotonic one stood still, the worker stood still too."""
    _plan(workdir, "ok", for_s=0.5)
    workdir.progress_path.write_text("{}\n")
    worker = await start(workdir, "train")
    os.utime(workdir.progress_path, (1, 1))
    monkeypatch.setattr(time, "time", lambda: 1e12)

    assert (await worker.finished(Limits(deadline_s=20, quiet_s=20)))["ok"]


# -- stopping ----------------------------------------------------------------------------------------------------------
async def test_cancelling_the_wait_lets_the_worker_leave_at_a_checkpoint(workdir):
    _plan(workdir, "hang")
    worker = await start(workdir, "train")
    waiting = asyncio.create_task(worker.finished(LONG))
    await _until(workdir.worker_path.exists)
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert (workdir.root / "left-at-a-checkpoint").exists()
    assert not is_working(workdir)


async def test_stopping_is_over_within_eight_seconds_even_if_the_worker_ignores_sigterm(workdir):
    _plan(workdir, "hang", ignore_term=True)
    worker = await start(workdir, "train")
    await _until(workdir.worker_path.exists)
    began = time.monotonic()

    await worker.stop()

    assert time.monotonic() - began < 8
    assert not _alive(worker.child.pid)
    assert not is_working(workdir)


async def _child(workdir):
    await _until((workdir.root / "child").exists)
    await _until((workdir.root / "child").read_text)
    return int((workdir.root / "child").read_text())


@pytest.mark.parametrize("child", [True, "stubborn", "daemon"])
@pytest.mark.parametrize("ignores", [True, False], ids=["worker ignores SIGTERM", "worker leaves politely"])
async def test_what_the_worker_started_dies_with_it(workdir, monkeypatch, child, ignores):
    """A child that ignores SIGTERM, and one in a session of its own, too."""
    monkeypatch.setattr(worker_process, "GRACE_S", 0.3)
    _plan(workdir, "hang", child=child, ignore_term=ignores)
    worker = await start(workdir, "train")
    grandchild = await _child(workdir)

    await worker.stop()

    await _until(lambda: not _alive(grandchild))


async def test_what_a_worker_that_died_left_behind_is_ended(workdir):
    _plan(workdir, "die", child="stubborn", for_s=0.2)

    with pytest.raises(WorkerLost):
        await (await start(workdir, "train")).finished(LONG)

    grandchild = await _child(workdir)
    await _until(lambda: not _alive(grandchild))


async def test_burying_where_nobody_works_is_nothing(workdir):
    began = time.monotonic()
    await bury(workdir)
    await bury(WorkDir(workdir.root / "no such job"))

    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize("why", ["it started later", "it is of another boot"])
async def test_a_process_that_only_has_the_number_of_a_former_worker_is_neither_killed_nor_adopted(workdir, why):
    _plan(workdir, "ok")
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)  # noqa: ASYNC220 - it only sleeps
    try:
        started = psutil.Process(stranger.pid).create_time()
        note = {"pid": stranger.pid, "started": started, "boot_id": boot_id(), "stage": "train"}
        note |= {"started": started - 100} if why == "it started later" else {"boot_id": "another"}
        workdir.worker_path.write_text(json.dumps(note))
        await bury(workdir)
        assert rss_bytes(workdir) == 0
        # even while somebody holds the lock and cannot be found: a signal to a number would be a guess
        with _locked(workdir):
            monkeyed = worker_process.GRACE_S, worker_process.KILL_S
            worker_process.GRACE_S = worker_process.KILL_S = 0.1
            await bury(workdir)
            worker_process.GRACE_S, worker_process.KILL_S = monkeyed

        worker = await start(workdir, "train")

        assert worker.child is not None
        assert (await worker.finished(LONG))["ok"]
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize(
    "note", ["", "{", "[]", '{"pid": "x"}', '{"pid": -1, "started": 0}', '{"pid": 1e30, "started": 1}', "null"]
)
async def test_a_note_that_says_nothing_useful_is_no_worker(workdir, note):
    workdir.worker_path.write_text(note)

    assert rss_bytes(workdir) == 0


@contextlib.contextmanager
def _locked(workdir):
    with (workdir.root / "worker.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# -- never two ---------------------------------------------------------------------------------------------------------
async def test_of_many_starts_at_once_one_starts_a_worker_and_the_others_adopt_it(workdir):
    _plan(workdir, "ok", for_s=0.5)

    workers = await asyncio.gather(*(start(workdir, "train") for _ in range(5)))
    outcomes = await asyncio.gather(*(worker.finished(LONG) for worker in workers))

    assert [worker.child is not None for worker in workers].count(True) == 1
    assert len(_starts(workdir)) == 1
    assert all(outcome["ok"] for outcome in outcomes)


async def test_an_adopted_worker_can_be_stopped(workdir):
    _plan(workdir, "hang")
    await start(workdir, "train")
    adopted = await start(workdir, "train")
    await _until(workdir.worker_path.exists)
    assert rss_bytes(workdir) > 1_000_000

    await adopted.stop()

    assert adopted.child is None
    assert (workdir.root / "left-at-a-checkpoint").exists()
    assert not is_working(workdir)


async def test_an_adopted_worker_that_vanishes_is_lost(workdir):
    _plan(workdir, "die", for_s=0.3)
    await start(workdir, "train")

    with pytest.raises(WorkerLost) as lost:
        await (await start(workdir, "train")).finished(LONG)

    assert lost.value.reason == "signal"


async def test_an_adopted_worker_that_never_says_who_it_is_does_not_keep_us_for_ever(workdir, monkeypatch):
    monkeypatch.setattr(worker_process, "GRACE_S", 0.2)
    monkeypatch.setattr(worker_process, "KILL_S", 0.1)
    _plan(workdir, "hang")
    worker = await start(workdir, "train")
    await _until(workdir.worker_path.exists)
    workdir.worker_path.unlink()
    began = time.monotonic()

    await bury(workdir)

    assert time.monotonic() - began < 2
    await worker.stop()


async def _start_and_stay(workdir):
    await start(workdir, "train")
    (workdir.root / "started").touch()
    await asyncio.sleep(60)


@pytest.mark.parametrize("then", ["it finishes", "it is stopped", "it finished before we came back"])
def test_a_worker_outlives_a_daemon_that_is_killed_and_the_next_daemon_adopts_it(workdir, then):
    _plan(workdir, "ok" if "finish" in then else "hang", for_s=1.0, facts={"steps": 24})
    daemon = forked.start(lambda: asyncio.run(_start_and_stay(workdir)))
    deadline = time.monotonic() + 10
    while not workdir.worker_path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert forked.kill(daemon) == forked.DIED
    assert is_working(workdir)
    if then == "it finished before we came back":
        while is_working(workdir):
            time.sleep(0.02)
        assert workdir.outcome("train")["steps"] == 24
        return

    async def come_back():
        worker = await start(workdir, "train")
        assert worker.child is None
        if then == "it is stopped":
            await worker.stop()
            return None
        return await worker.finished(LONG)

    outcome = asyncio.run(come_back())

    assert len(_starts(workdir)) == 1
    assert not is_working(workdir)
    assert (workdir.root / "left-at-a-checkpoint").exists() if outcome is None else outcome["steps"] == 24
