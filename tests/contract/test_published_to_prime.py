"""Do Prime's bus and Prime's adapter get what we announce, each once? (contract/prime.md 3.3, 3.6)"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.event_readers import NOW, PrimesBus, fresh_home, ready_model

from reactord.home import Home
from reactord.ipc import announce
from reactord.ipc.announce import ReadyModel

ROUTER_WORDS = {"text_generation", "code_generation", "chat", "reasoning", "instruction_following"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    return fresh_home(tmp_path, monkeypatch)


@pytest.fixture
def model(tmp_path: Path) -> ReadyModel:
    return ready_model(tmp_path)


def test_each_of_primes_readers_handles_the_model_once_whoever_polls_first(home: Home, model: ReadyModel) -> None:
    for first, second in (("orchestrator", "jarvis_body"), ("jarvis_body", "orchestrator")):
        announce.model_ready(home, model, NOW)
        buses = [PrimesBus(home, first), PrimesBus(home, second)]
        events = [bus.poll(NOW + 0.5) for bus in buses] + [bus.poll(NOW + 1) for bus in buses]
        assert [len(delivered) for delivered in events] == [1, 1, 0, 0]
        payload = events[0][0]["payload"]
        assert Path(payload["model_path"]).is_absolute()
        assert set(payload["capabilities"]) <= ROUTER_WORDS
        assert payload["model_type"] == "llm"
        assert list(home.events.glob("*.json")) == []


def test_names_on_primes_bus_sort_by_priority_and_time(home: Home, model: ReadyModel) -> None:
    announce.model_ready(home, model, NOW)

    (path,) = home.events.glob("*.json")
    priority, stamp, event_id = path.stem.split("_")
    assert (priority, int(stamp)) == ("1", int(NOW * 1000))
    assert len(stamp) == 15
    assert event_id == json.loads(path.read_bytes())["event_id"]


ADAPTER_TYPES = {"training_start", "training_complete", "training_failed", "model_updated", "service_up"}


def primes_adapter_reads(directory: Path, known: set[str]) -> list[dict[str, Any]]:
    """Polls; drops unknown types and equal payloads; deletes everything."""
    delivered = []
    for path in sorted(directory.glob("*.json")):
        said = json.loads(path.read_bytes())
        path.unlink()
        content = f"{said['event_type']}:{said['source']}:{json.dumps(said['payload'], sort_keys=True)}"
        digest = hashlib.md5(content.encode()).hexdigest()
        if said["event_type"] in ADAPTER_TYPES and digest not in known:
            known.add(digest)
            delivered.append(said)
    return delivered


def test_primes_adapter_learns_of_each_model_once(home: Home, model: ReadyModel) -> None:
    known: set[str] = set()
    announce.model_ready(home, model, NOW)
    assert len(primes_adapter_reads(home.model_events, known)) == 1

    announce.model_ready(home, model, NOW + 60)  # again, after a crash: the same announcement
    assert primes_adapter_reads(home.model_events, known) == []

    announce.model_ready(home, replace(model, version="v1.1-rollback-2026-11-22"), NOW + 90)  # the same weights
    (said,) = primes_adapter_reads(home.model_events, known)
    assert said["payload"]["metadata"]["version"] == "v1.1-rollback-2026-11-22"
