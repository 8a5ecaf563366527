"""Who reads our announcements of models and training? The buses of Body and Prime, rebuilt from their contracts.

contract/body.md 4.4; contract/prime.md 3.3.
"""

from __future__ import annotations

import json
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from reactord.home import Home
from reactord.ipc.announce import ReadyModel

NOW = 1_795_281_095.125


def fresh_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv("REACTOR_PIPELINE_EVENTS_DIR", raising=False)
    home = Home(tmp_path / "jarvis")
    home.create()
    return home


def ready_model(tmp_path: Path) -> ReadyModel:
    path = tmp_path / "jarvis-openhermes-v1.0-auto-2026-11-21.gguf"
    path.write_bytes(b"GGUF")
    return ReadyModel(
        job_id="job-42",
        model_id="jarvis-openhermes",
        version="v1.0-auto-2026-11-21",
        path=path,
        sha256="ab" * 32,
        base_model="smollm2-135m-instruct",
        metrics={"loss": 0.5, "preference_accuracy": 0.93, "neutral_perplexity": float("nan")},
        ready_at=NOW - 3,
        config={"learning_rate": 5e-4, "worst": float("inf")},
    )


class Repo(Enum):
    JARVIS = "jarvis"
    PRIME = "prime"
    REACTOR = "reactor"
    BROADCAST = "broadcast"


class Priority(Enum):
    CRITICAL = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3


class BodysBus:
    """Reads everything, then empties the file. A wrong enum or type raises, and the good lines before it are lost."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.processed: set[str] = set()

    def poll(self) -> list[dict[str, Any]]:
        delivered = []
        for line in self.path.read_text().splitlines():
            try:
                said = json.loads(line)
                event_id, topic = said["event_id"], said["topic"]
            except (json.JSONDecodeError, KeyError):
                continue
            if event_id in self.processed:
                continue
            self.processed.add(event_id)
            source, _, _ = Repo(said["source"]), Repo(said["target"]), Priority(said["priority"])
            at = datetime.fromisoformat(said["timestamp"])
            if source is Repo.JARVIS or at.tzinfo is not None:
                continue
            delivered.append({"topic": topic, **said})
        self.path.write_text("")
        return delivered


COMPONENTS = {"orchestrator", "jarvis_body", "jarvis_prime", "reactor_core", "event_bus", "*"}


class PrimesBus:
    """One reader: its inbox and the broadcasts, in name order. What it reads is gone for the others."""

    def __init__(self, home: Home, component: str) -> None:
        self.component = component
        self.directories = (home.trinity / "inbox" / component, home.events)
        self.seen: set[str] = set()

    def poll(self, now: float) -> list[dict[str, Any]]:
        delivered = []
        for directory in self.directories:
            for path in sorted(directory.glob("*.json")):
                said = json.loads(path.read_bytes())
                if said["event_id"] in self.seen or now - said["timestamp"] > 300:
                    path.unlink()
                    continue
                assert {said["source"], said["target"]} <= COMPONENTS  # unknown: the file stays for ever
                assert said["priority"] in range(5)
                assert said["event_type"] == "model_ready"
                if said["target"] not in (self.component, "*"):
                    continue
                self.seen.add(said["event_id"])
                delivered.append(said)
                path.unlink()
        return delivered


def model_ready_document(home: Home) -> dict[str, Any]:
    for path in home.model_events.glob("*.json"):
        said = json.loads(path.read_bytes())
        if said["event_type"] == "MODEL_READY":
            assert isinstance(said, dict)
            return said
    raise AssertionError("no MODEL_READY")
