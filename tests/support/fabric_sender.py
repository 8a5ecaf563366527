"""What do we have to say on the message fabric and beside it, and where does it lie then?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reactord.home import Home
from reactord.ipc import announce, umf
from reactord.ipc.announce import ReadyModel
from reactord.ipc.presence import Presence

NOW = 1_795_281_095.125


def opened(home: Home, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where our messages lie, in a process whose UMF is active from now on."""
    monkeypatch.delenv("REACTOR_PIPELINE_EVENTS_DIR", raising=False)
    monkeypatch.setattr(umf, "sender", umf.Sender())
    umf.sender.open("active", home.root / "umf", {"JARVIS_ROOT_SESSION_ID": "session-7"})
    return home.root / "umf"


def ready_model(tmp_path: Path) -> ReadyModel:
    path = tmp_path / "jarvis-openhermes-v1.0.gguf"
    path.write_bytes(b"GGUF")
    return ReadyModel(
        job_id="job-42",
        model_id="jarvis-openhermes",
        version="v1.0",
        path=path,
        sha256="ab" * 32,
        base_model="smollm2-135m-instruct",
        metrics={"loss": 0.5, "neutral_perplexity": float("nan")},
        ready_at=NOW - 3,
    )


def we(**changes: Any) -> Presence:
    return replace(
        Presence(
            status="ready",
            phase="ready",
            port=8090,
            primary_port=8090,
            version="1.2.3",
            started_at=NOW - 60,
            memory_usage_gb=0.1,
            memory_percent=12.5,
            cpu_percent=3.0,
            active_training_jobs=1,
            model_output_dir="/models",
            metrics={"pending_fresh": 17.0},
        ),
        **changes,
    )


def files(base: Path) -> list[Path]:
    return sorted(path for path in base.rglob("*") if path.is_file())


def bus(home: Home) -> list[dict[str, Any]]:
    return [json.loads(line) for line in home.bus_lines.read_text().splitlines()]


def history(home: Home) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home.model_events / "pipeline_events.jsonl").read_text().splitlines()]


def announce_all(home: Home, model: ReadyModel, now: float = NOW) -> None:
    announce.training(home, "started", "job-42", {"total_steps": 24}, now)
    announce.training(home, "progress", "job-42", {"loss": float("nan")}, now + 1)
    announce.gate_evaluated(home, "job-42", {"verdict": "pass", "kl": float("inf")}, now + 2)
    announce.model_ready(home, model, now + 3)
    announce.training(home, "completed", "job-42", {}, now + 4)
