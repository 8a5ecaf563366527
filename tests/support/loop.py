"""How does a test run the real daemon on the tiny model, and look at it, kill it, start it again?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
from support.tiny import HYPER, long, short, telemetry

from reactord.home import Home
from reactord.jobs.worker_process import is_working
from reactord.ledger.counts import count
from reactord.ledger.sqlite import open_readonly
from reactord.ledger.state import Event, Job, State
from reactord.workdir import WorkDir

#: with these the model of `tiny.py --both` learns to stop after one sentence; the gate mostly lets it pass
LEARNS = HYPER.model_copy(update={"max_steps": 12, "sft_weight": 1.0})
POLL_S = 0.02


class Loop:
    """A home with settings for the tiny model, and the daemon that lives in it."""

    def __init__(self, root: Path, base: Path, **settings: Any) -> None:
        self.home = Home(root)
        self.home.create()
        chosen = {
            "base_model": str(base), "model_id": "jarvis-openhermes-tiny", "experience_threshold": 50, "settle_s": 0.3,
            "min_training_interval_s": 0.0, "memory_headroom_gb": 0.1, "hyper": LEARNS.model_dump(), "threads": 2,
            "resource_check_interval_s": 0.5, **settings,
        }  # fmt: skip
        self.home.config.write_text(json.dumps(chosen))
        self.daemon: subprocess.Popen[bytes] | None = None

    def write_telemetry(self) -> int:
        lines = [json.dumps(line) for line in telemetry(short, long)]
        (self.home.telemetry / "interactions_20261121.jsonl").write_text("\n".join(lines) + "\n")
        return len(lines)

    def start(self) -> None:
        with (self.home.root / "stderr").open("ab") as errors:
            self.daemon = subprocess.Popen(
                [sys.executable, "-m", "reactord.cli", "run", "--home", str(self.home.root), "--port", "0"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
            )  # fmt: skip

    def stop(self) -> float:
        """SIGTERM; how many seconds it took to leave. Whatever is left of a failed test is killed."""
        assert self.daemon
        began = time.monotonic()
        self.daemon.send_signal(signal.SIGTERM)
        self.daemon.wait(30)
        return time.monotonic() - began

    def kill_daemon(self) -> None:
        assert self.daemon
        self.daemon.kill()
        self.daemon.wait()

    def kill_worker(self) -> bool:
        """SIGKILL the worker's whole session, if one works."""
        for job in self.jobs():
            work = WorkDir(self.home.jobs / job.id)
            if is_working(work) and work.worker_path.exists():
                try:
                    os.killpg(int(orjson.loads(work.worker_path.read_bytes())["pid"]), signal.SIGKILL)
                except ProcessLookupError:
                    continue
                return True
        return False

    def clean_up(self) -> None:
        if self.daemon and self.daemon.poll() is None:
            self.kill_daemon()
        self.kill_worker()

    def jobs(self) -> list[Job]:
        try:
            db = open_readonly(self.home.state_db)
        except FileNotFoundError:
            return []
        with closing(db):
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
            return State(db).jobs() if "jobs" in tables else []

    def job(self) -> Job | None:
        jobs = self.jobs()
        return jobs[0] if jobs else None

    def state(self) -> str:
        job = self.job()
        return job.state if job else "none"

    def progress(self) -> list[dict[str, Any]]:
        job = self.job()
        return WorkDir(self.home.jobs / job.id).recent_progress() if job else []

    def outcome(self, stage: Any) -> dict[str, Any] | None:
        job = self.job()
        return WorkDir(self.home.jobs / job.id).outcome(stage) if job else None

    def models(self) -> list[Any]:
        with closing(open_readonly(self.home.state_db)) as db:
            return State(db).models()

    def events(self) -> list[Event]:
        with closing(open_readonly(self.home.state_db)) as db:
            return State(db).events()

    def is_counting(self) -> bool:
        """Whether the index has its tables; the file is there a moment before them."""
        try:
            with closing(open_readonly(self.home.index_db)) as db:
                return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'records'").fetchone() is not None
        except FileNotFoundError:
            return False

    def counts(self) -> Any:
        return count(self.home)

    def wait(self, what: Callable[[], Any], timeout_s: float) -> None:
        """Until `what()` is true. The failure shows the job and what its worker said."""
        deadline = time.monotonic() + timeout_s
        while not what():
            if time.monotonic() > deadline:
                raise AssertionError(self.story())
            time.sleep(POLL_S)

    def story(self) -> str:
        job = self.job()
        log = self.home.jobs / job.id / "worker.log" if job else self.home.root / "stderr"
        tail = log.read_text(errors="replace")[-3000:] if log.exists() else ""
        errors = (self.home.root / "stderr").read_text(errors="replace")[-2000:]
        return f"{job}\n--- progress {self.progress()[-3:]}\n--- worker.log {tail}\n--- stderr {errors}"
