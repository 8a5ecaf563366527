"""The whole loop with the real daemon, the real worker and a tiny real model: killed, stopped, refused."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import orjson
import psutil
import pytest
from support.loop import LEARNS, Loop
from support.tiny import tiny_model

from reactord.jobs.states import TERMINAL
from reactord.workdir import WorkDir

pytestmark = pytest.mark.timeout(400)
FINISH_S = 150.0
#: what the gate thinks of so small a model differs from machine to machine; that it is asked exactly once does not
JUDGED = ("completed", "rejected")


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("tiny") / "both", "--both")


@pytest.fixture
def loop(fast_dir, base):
    made = Loop(fast_dir / "jarvis", base)
    yield made
    made.clean_up()


def _said(loop, stage, kind=None, **more):
    return any(
        line["stage"] == stage
        and (kind is None or line["kind"] == kind)
        and all(line.get(key, 0) >= value for key, value in more.items())
        for line in loop.progress()
    )


#: ten moments of a run, in order, and who is killed then
MOMENTS = [
    ("the records are in", "daemon", lambda loop: loop.is_counting() and loop.counts().received > 0),
    ("examples are being chosen", "worker", lambda loop: _said(loop, "prepare")),
    ("a dataset is made", "both", lambda loop: loop.outcome("prepare")),
    ("the dataset is taken", "daemon", lambda loop: loop.counts().pending == 0),
    ("the first step is done", "worker", lambda loop: _said(loop, "train", "step", step=1)),
    ("the first checkpoint is sealed", "both", lambda loop: _said(loop, "train", "checkpoint", step=2)),
    ("half of the steps are done", "daemon", lambda loop: _said(loop, "train", "step", step=6)),
    ("the model is being exported", "both", lambda loop: _said(loop, "export")),
    ("the model is being judged", "worker", lambda loop: _said(loop, "judge")),
    ("the judge has spoken", "both", lambda loop: loop.outcome("judge")),
]


def test_killed_at_ten_moments_the_job_finishes_once_and_every_record_is_accounted_for(loop):
    records = loop.write_telemetry()
    loop.start()
    for what, whom, reached in MOMENTS:
        loop.wait(lambda reached=reached: reached(loop) or loop.state() in TERMINAL, FINISH_S)
        assert loop.state() not in TERMINAL, f"the job ended before it could be killed when {what}"
        if whom in ("worker", "both"):
            loop.kill_worker()
        if whom in ("daemon", "both"):
            loop.kill_daemon()
            loop.start()
    loop.wait(lambda: loop.state() in TERMINAL, FINISH_S)

    assert loop.state() in JUDGED, loop.story()
    counts = loop.counts()
    assert counts.balanced
    assert (counts.received, counts.duplicates, counts.pending) == (records, 0, 0)
    assert counts.in_datasets + counts.held_out == records
    assert len(loop.jobs()) == 1
    assert [model.job_id for model in loop.models()] == [loop.job().id]
    assert len(loop.home.lineage.read_bytes().splitlines()) == 1
    current = loop.home.root / "models" / "current.gguf"
    if loop.state() == "completed":
        assert current.resolve().samefile(loop.job().facts["deployment"]["gguf"])
    else:
        assert not current.exists()
    assert loop.stop() < 8


@pytest.mark.parametrize(
    "moment",
    [
        ("training", lambda loop: _said(loop, "prepare")),
        ("training", lambda loop: _said(loop, "train", "step", step=3)),
        ("exporting", lambda loop: _said(loop, "export")),
        ("exporting", lambda loop: _said(loop, "judge")),
    ],
    ids=["prepare", "train", "export", "judge"],
)
def test_sigterm_leaves_within_eight_seconds_and_the_next_start_goes_on(loop, moment):
    state, reached = moment
    loop.write_telemetry()
    loop.start()
    loop.wait(lambda: reached(loop), FINISH_S)
    assert loop.state() == state
    assert loop.stop() < 8
    job = loop.job()
    assert (job.state, job.cause, job.attempt) == ("queued", "the daemon was stopped", 0)
    if state == "training" and loop.outcome("prepare"):
        steps = sorted(path.name for path in WorkDir(loop.home.jobs / job.id).checkpoints.glob("step-*"))
        assert steps, "it left without a checkpoint"
    loop.start()
    loop.wait(lambda: loop.state() in TERMINAL, FINISH_S)
    assert loop.state() in JUDGED, loop.story()


def test_a_second_daemon_says_who_holds_the_home_and_leaves(loop):
    loop.start()
    loop.wait(loop.home.daemon_note.exists, 30)
    second = subprocess.run(
        [sys.executable, "-m", "reactord.cli", "run", "--home", str(loop.home.root), "--port", "0"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert second.returncode == 1
    assert str(loop.daemon.pid) in second.stderr
    assert "Traceback" not in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1


def test_a_missing_model_is_waited_for_and_the_job_goes_on_when_it_is_there(fast_dir, base):
    later = fast_dir / "comes-later"
    loop = Loop(fast_dir / "jarvis", later)
    try:
        loop.write_telemetry()
        loop.start()
        loop.wait(lambda: loop.job() is not None and loop.job().facts.get("end_reason") == "missing_model", FINISH_S)
        assert loop.job().state == "queued"
        assert str(later) in loop.job().cause
        later.symlink_to(base)
        loop.wait(lambda: loop.state() in TERMINAL, FINISH_S)
        assert loop.state() in JUDGED, loop.story()
    finally:
        loop.clean_up()


def test_the_daemon_never_imports_machine_learning_while_a_job_runs(loop):
    """Seen from outside: no file of those packages is mapped into the daemon, at the end of a whole loop."""
    loop.write_telemetry()
    loop.start()
    loop.wait(lambda: loop.state() in TERMINAL, FINISH_S)
    daemon = Path("/proc") / str(loop.daemon.pid)
    mapped = (daemon / "maps").read_text()
    for package in ("torch", "transformers", "numpy", "llama_cpp", "tokenizers", "google"):
        assert f"/{package}/" not in mapped
    resident = next(line for line in (daemon / "status").read_text().splitlines() if line.startswith("VmRSS"))
    resident_kb = int(resident.split()[1])
    assert resident_kb < 80 * 1024

    def published():
        state = orjson.loads(loop.home.reactor_state.read_bytes())
        return state["status"], state["active_training_jobs"]

    loop.wait(lambda: published() == ("ready", 0), 15)


ADOPTED_WITHIN_S = 2.0


@pytest.mark.alone
def test_a_daemon_that_comes_back_adopts_the_worker_within_two_seconds_and_there_is_never_a_second(fast_dir, base):
    loop = Loop(fast_dir / "jarvis", base, hyper=LEARNS.model_copy(update={"max_steps": 2000}).model_dump())
    try:
        loop.write_telemetry()
        loop.start()
        loop.wait(lambda: _said(loop, "train", "step", step=1), FINISH_S)
        (pid,) = _workers(loop)
        took = []
        for life in range(1, 4):
            loop.kill_daemon()
            began = time.monotonic()
            loop.start()
            loop.wait(lambda life=life: len(_runs(loop, "run.adopted")) == life, 30)
            took.append(time.monotonic() - began)
            assert _workers(loop) == [pid]
        reached = loop.progress()[-1]["step"]
        loop.wait(lambda: _said(loop, "train", "step", step=reached + 3), 30)

        print("adopted after", [round(s, 2) for s in took])
        assert max(took) < ADOPTED_WITHIN_S, took
        assert {run["pid"] for run in _runs(loop, "run.adopted")} == {pid}
        assert [run["stage"] for run in _runs(loop, "run.started")] == ["prepare", "train"]
        assert loop.job().attempt == 0
        assert loop.stop() < 8
        assert _workers(loop) == []
    finally:
        loop.clean_up()


def _runs(loop, topic):
    return [event.data for event in loop.events() if event.topic == topic]


def _workers(loop):
    """Every worker process of this home, found without any note of ours."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if "reactord.worker" in (line := process.info["cmdline"] or []) and str(loop.home.root) in str(line)
    ]
