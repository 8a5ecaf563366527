"""Is a worker kept to its grant, whoever has to end it, and does the next prediction know?"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys

import psutil
import pytest
from support.staged_world import FAKE, StagedWorld, fill, patch, plan, starts

from reactord.jobs import cgroup, keeping, reserving, worker_process
from reactord.jobs.attempts import Cause
from reactord.jobs.hanging import Limits
from reactord.jobs.keeping import Allowance, Keeper, allowance_of, family_bytes
from reactord.jobs.negotiating import Snapshot
from reactord.jobs.planning import predicted
from reactord.jobs.pressure import Tier
from reactord.jobs.surveying import work_of
from reactord.jobs.worker_process import WorkerLost, is_working, start
from reactord.workdir import WorkDir
from reactord.worker import limits
from reactord.worker.limits import RESERVED_BYTES, keep_to

MIB = 1024**2
GIB = 1024**3
LIMITS = Limits(deadline_s=60.0)
HOG = "import sys, time; held = bytearray(int(sys.argv[1])); print('holds', flush=True); time.sleep(60)"


@pytest.fixture
def workdir(fast_dir, monkeypatch):
    monkeypatch.setattr(worker_process, "WORKER_COMMAND", FAKE)
    monkeypatch.setattr(worker_process, "POLL_S", 0.02)
    monkeypatch.setattr(keeping, "LOOK_EVERY_S", 0.0)
    made = WorkDir(fast_dir / "job-1")
    made.root.mkdir()
    return made


def _do(workdir, do, **more):
    (workdir.root / "fake-train.json").write_text(json.dumps({"do": do, **more}))


def _no_groups(monkeypatch):
    monkeypatch.setattr(cgroup, "_places", lambda: iter(()))


def _keeper(workdir, allowance, **seams):
    return Keeper(workdir, allowance, GIB, **{"spare": lambda held: 8 * GIB, **seams})


def test_the_allowance_is_what_was_granted_and_of_the_headroom_what_others_have_left():
    allowed = allowance_of({"granted_bytes": 4 * GIB}, GIB)

    assert [(allowed.limit_bytes(tier) / GIB, allowed.hard_bytes(tier) / GIB) for tier in Tier] == [
        (4.5, 4.75), (4.25, 4.25), (4, 4), (4, 4),
    ]  # fmt: skip
    assert allowance_of({}, GIB) is None  # a job of an older reactord


async def test_a_worker_above_its_limit_leaves_at_a_checkpoint_and_the_cause_is_memory(workdir, monkeypatch):
    _no_groups(monkeypatch)
    _do(workdir, "hang")
    worker, weights = await start(workdir, "train"), iter([MIB, 50 * MIB, 101 * MIB])
    keeper = _keeper(workdir, Allowance(80 * MIB, 40 * MIB), weigh=lambda pid: next(weights))
    while not workdir.worker_path.exists():
        await asyncio.sleep(0.01)

    with pytest.raises(WorkerLost, match=r"it held 0\.10 GiB, was granted 0\.08 GiB") as lost:
        await worker.finished(LIMITS, keeper)

    assert lost.value.reason == Cause.OUT_OF_MEMORY
    assert (workdir.root / "left-at-a-checkpoint").exists()
    assert keeper.wanted_bytes() == 101 * MIB


async def test_a_worker_above_its_hard_limit_is_killed_at_once(workdir, monkeypatch):
    _no_groups(monkeypatch)
    _do(workdir, "hang", ignore_term=True)
    worker = await start(workdir, "train")
    keeper = _keeper(workdir, Allowance(80 * MIB, 40 * MIB), weigh=lambda pid: 111 * MIB)

    with pytest.raises(WorkerLost) as lost:
        await asyncio.wait_for(worker.finished(LIMITS, keeper), worker_process.GRACE_S / 2)

    assert lost.value.reason == Cause.OUT_OF_MEMORY
    assert not is_working(workdir)


async def test_a_machine_that_runs_dry_sends_the_worker_to_its_checkpoint_and_not_the_job_to_its_end(workdir):
    _do(workdir, "hang")
    worker, free = await start(workdir, "train"), iter([8 * GIB, GIB // 2, GIB // 5])
    keeper = _keeper(workdir, None, spare=lambda held: next(free), weigh=lambda pid: MIB)
    while not workdir.worker_path.exists():
        await asyncio.sleep(0.01)

    with pytest.raises(WorkerLost, match=r"0\.20 GiB of memory would be left on the machine") as lost:
        await worker.finished(LIMITS, keeper)

    assert lost.value.reason == Cause.PREEMPTED
    assert workdir.pressure_path.read_text() == "critical"
    keeper.close()
    assert not workdir.pressure_path.exists()


def test_the_worker_is_told_of_the_pressure_when_it_changes_and_again_so_that_it_is_no_old_news(workdir, monkeypatch):
    told, free = [], [8 * GIB]
    monkeypatch.setattr(keeping.durable, "publish", lambda path, data, **_: told.append((path.name, data)))
    keeper = _keeper(workdir, None, spare=lambda held: free[0], weigh=lambda pid: MIB)

    for free[0] in (8 * GIB, GIB - 1, GIB - 1, GIB // 3, 8 * GIB, 8 * GIB, 8 * GIB):
        keeper.look(1)
    monkeypatch.setattr(keeping, "TELL_EVERY_S", 0.0)
    for free[0] in (GIB - 1, GIB - 1):
        keeper.look(1)

    tiers = [b"elevated", b"constrained", b"elevated", b"normal", b"elevated", b"elevated"]
    assert told == [("pressure", tier) for tier in tiers]


def test_what_a_worker_started_is_weighed_with_it():
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOG!r}, '{64 * MIB}'])"
    outer = subprocess.Popen([sys.executable, "-c", inner], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert outer.stdout.readline() == b"holds\n"
        alone = psutil.Process(outer.pid).memory_info().rss
        assert family_bytes(outer.pid) >= alone + 64 * MIB
    finally:
        os.killpg(outer.pid, 9)
        outer.wait()
        outer.stdout.close()
    assert family_bytes(outer.pid) == 0


# -- the kernel's own means --------------------------------------------------------------------------------------------
@pytest.fixture
def group():
    made = cgroup.make(cgroup.name_of(f"test-{os.getpid()}"), 64 * MIB)
    if made is None:
        pytest.skip("no control group with a memory limit can be made here (that takes root, or a delegated one)")
    yield made
    made.remove()
    assert not made.path.exists()


def test_the_kernel_ends_what_grows_beyond_its_group_and_says_so(group):
    child = subprocess.Popen(["sh", "-c", 'read go; exec "$0" -c "$1" $2', sys.executable, HOG, str(256 * MIB)],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert group.admit(child.pid)
    before = group.kills()

    said, _ = child.communicate(b"\n", timeout=30)

    assert (said, child.returncode, group.kills() - before) == (b"", -9, 1)


def test_a_group_lets_live_what_keeps_within_it(group):
    child = subprocess.Popen(["sh", "-c", "read go; echo fine"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert group.admit(child.pid)

    assert child.communicate(b"\n", timeout=30)[0] == b"fine\n"
    assert group.kills() == 0


def test_groups_that_a_killed_daemon_left_behind_are_swept(group):
    left = group.path.with_name(cgroup.name_of("left-behind"))
    left.mkdir()

    cgroup.make(group.path.name, 64 * MIB)

    assert not left.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="macOS accepts the limit and does not keep it")
@pytest.mark.parametrize("granted", [True, False])
def test_one_huge_allocation_fails_inside_the_worker_and_only_there(workdir, granted):
    hard = 128 * MIB
    if granted:
        workdir.grant_path.write_text(json.dumps({"hard_bytes": hard}))
    script = (
        "import sys; from pathlib import Path; from reactord.workdir import WorkDir;"
        "from reactord.worker.limits import keep_to; print(keep_to(WorkDir(Path(sys.argv[1]))));"
        "print(open('/proc/self/oom_score_adj').read().strip(), flush=True);"
        "bytearray(64 << 20); print(len(bytearray(int(sys.argv[2]))))"  # untouched: it costs the machine nothing
    )
    huge = hard + RESERVED_BYTES + 256 * MIB
    done = subprocess.run([sys.executable, "-c", script, str(workdir.root), str(huge)], capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip

    first_choice = "1000"  # of the kernel, should the machine run out
    if granted:
        assert done.stdout.split() == [str(hard + RESERVED_BYTES), first_choice]
        assert "MemoryError" in done.stderr
    else:
        assert done.stdout.split() == ["None", first_choice, str(huge)]


@pytest.mark.parametrize("said", [None, "", "{}", "[]", '{"hard_bytes": 0}', '{"hard_bytes": "x"}'])
def test_a_worker_that_was_granted_nothing_limits_nothing(workdir, said, monkeypatch):
    if said is not None:
        workdir.grant_path.write_text(said)
    monkeypatch.setattr(limits, "OOM_SCORE", workdir.root / "score")

    assert keep_to(workdir) is None


# -- through the whole job ---------------------------------------------------------------------------------------------
LLAMA = {"num_hidden_layers": 2, "hidden_size": 64, "vocab_size": 512, "intermediate_size": 192,
         "num_attention_heads": 4, "tie_word_embeddings": True}  # fmt: skip


@pytest.fixture
async def world(home, monkeypatch):
    patch(monkeypatch)
    monkeypatch.setattr(keeping, "LOOK_EVERY_S", 0.0)
    fill(home)
    (home.base_models / "base" / "hf").mkdir()
    (home.base_models / "base" / "hf" / "config.json").write_text(json.dumps(LLAMA))
    made = StagedWorld(home)
    await made.until(lambda: made.inbox.intake.ready)
    yield made
    await made.close()


async def test_what_each_stage_took_is_learned_and_asked_for_the_next_time(world, home):
    took = {"prepare": 500, "train": 900, "export": 70, "judge": 400}
    facts = {stage: {"facts": {**made, "peak_rss_mb": took[stage]}} for stage, made in {
        "prepare": {"dataset": "d1", "counts": {}, "base": "base", "longest_example_tokens": 50},
        "train": {"steps": 1}, "export": {"files": []},
        "judge": {"verdict": "pass", "chosen": "Q8_0.gguf", "reasons": []},
    }.items()}  # fmt: skip
    plan(home, **facts)
    world.start()
    world.ask()

    job = await world.until_over()

    assert job.state == "completed", job.cause
    rows = dict(world.store.db.execute("SELECT method, measured_bytes / 1048576 FROM peaks"))
    assert rows == {"prepare": 500, "train/dpo/lora": 900, "export": 70, "judge": 400}
    plan(home, "k", **facts)
    world.ask("k")
    again = await world.until_over("k")
    assert again.facts["stage_peaks"]["train"] >= 900 * MIB > job.facts["stage_peaks"]["train"]


@pytest.mark.parametrize("pairs", [2, 1])
async def test_a_worker_that_outgrows_its_grant_is_ended_and_the_next_run_is_granted_more(
    world, home, monkeypatch, pairs
):
    heavy = {"pid": None}

    def weigh(pid):
        if "train" not in starts(workdir) or heavy["pid"] not in (None, pid):
            return MIB
        heavy["pid"] = pid
        return 2 * GIB

    monkeypatch.setattr(keeping, "family_bytes", weigh)
    workdir = plan(home, train={"do": "ok", "for_s": 0.5, "facts": {"steps": 1}})
    world.start()
    world.ask(hyper={"pairs_per_batch": pairs})
    await world.until(lambda: world.job().facts.get("end_reason") == "out_of_memory")
    granted = world.job().facts["peak_bytes"]
    world.clock.now += 100

    job = await world.until_over()

    assert job.state == "completed", job.cause
    assert starts(workdir).count("train") == 2
    assert job.facts["peak_bytes"] > granted
    work = work_of(home, "dpo", workdir.spec().hyper, workdir)
    assert job.facts["stage_peaks"]["train"] > predicted(work)["train"] * 1.25


async def test_a_base_that_turns_out_larger_than_it_was_guessed_is_reserved_for_again_before_it_trains(
    world, home, monkeypatch
):
    free = [6 * GIB, 1 << 40]
    machine = lambda services, job: Snapshot(1 << 40, free[0] if len(free) == 1 else free.pop(0))  # noqa: E731
    monkeypatch.setattr(reserving, "look_around", machine)
    config = home.base_models / "base" / "hf" / "config.json"
    config.unlink()
    prepared = {"dataset": "d1", "counts": {}, "base": "base", "longest_example_tokens": 512}
    workdir = plan(home, prepare={"facts": prepared, "for_s": 0.3})
    world.start()
    world.ask()
    await world.until(lambda: "prepare" in starts(workdir))
    config.write_text(json.dumps({**LLAMA, "num_hidden_layers": 24, "hidden_size": 1024, "intermediate_size": 4096}))

    job = await world.until_over()

    preempted = [e.data["cause"] for e in world.store.history("j") if e.data.get("trigger") == "preempt"]
    assert job.state == "completed", job.cause
    assert len(preempted) == 1
    assert "5.0 were granted" in preempted[0].replace(" GiB", "")
    assert job.facts["peak_bytes"] > 5.5 * GIB
    assert starts(workdir).count("train") == 1
