"""Is what we announce told once to every reader, or to none, and cleaned up, and kept in the history?

contract/body.md 4.4; contract/prime.md 3.3 and section 7 rows 7, 14, 15, 16; contract/lifecycle.md 11.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support.event_readers import NOW, BodysBus, PrimesBus, fresh_home, model_ready_document, ready_model

from reactord import durable
from reactord.errors import BadInput
from reactord.home import Home
from reactord.ipc import announce
from reactord.ipc.announce import ReadyModel
from reactord.ipc.doors import entrances


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    return fresh_home(tmp_path, monkeypatch)


@pytest.fixture
def model(tmp_path: Path) -> ReadyModel:
    return ready_model(tmp_path)


# -- once, whatever crashes --------------------------------------------------------------------------------------------


def test_announcing_again_after_a_crash_is_one_event_for_every_reader(home: Home, model: ReadyModel) -> None:
    bus, prime = BodysBus(home.bus_lines), PrimesBus(home, "orchestrator")
    for now in (NOW, NOW + 7):
        announce.model_ready(home, model, now)
    sequences = {json.loads(path.read_bytes()).get("sequence_number") for path in home.model_events.glob("*.json")}

    assert len(bus.poll()) == 1
    assert len(prime.poll(NOW + 8)) == 1
    assert len(sequences - {None}) == 1


def test_a_crash_between_any_two_routes_loses_none_when_it_runs_again(
    home: Home, model: ReadyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCutError(BaseException):
        pass

    real_rename, real_link, real_write = durable.disk.rename, durable.disk.link, durable.disk.write
    calls = 0

    def counted(real: Any, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == cut_at:
            raise PowerCutError
        return real(*arguments)

    monkeypatch.setattr(durable.disk, "rename", lambda *a: counted(real_rename, *a))
    monkeypatch.setattr(durable.disk, "link", lambda *a: counted(real_link, *a))
    monkeypatch.setattr(durable.disk, "write", lambda *a: counted(real_write, *a))
    cut_at = 0
    while True:
        cut_at, calls = cut_at + 1, 0
        try:
            announce.model_ready(home, model, NOW)
        except PowerCutError:
            announce.model_ready(home, model, NOW + 1)
        else:
            break
        assert model_ready_document(home)
        assert len(BodysBus(home.bus_lines).poll()) == 1
        assert len(PrimesBus(home, "orchestrator").poll(NOW + 2)) == 1
        announce.expire(home, NOW + 400)
    assert cut_at > 10


# -- what is refused, what is cleaned up, what is kept -----------------------------------------------------------------


def test_a_model_that_a_reader_would_refuse_is_not_announced_anywhere(home: Home, model: ReadyModel) -> None:
    for wrong in (
        replace(model, metrics={"accuracy": 1.0}),
        replace(model, metrics={"loss": float("nan")}),
        replace(model, path=model.path.with_name("gone.gguf")),
        replace(model, capabilities=("text-generation",)),
    ):
        with pytest.raises(BadInput):
            announce.model_ready(home, wrong, NOW)

    assert not home.bus_lines.exists()
    assert not [path for path in home.root.rglob("*.json") if path.is_file()]


def test_what_nobody_fetched_disappears_after_300_s_and_only_ours(home: Home, model: ReadyModel) -> None:
    announce.model_ready(home, model, NOW)
    others = [
        home.events / "5_000001795281095_abc.json",
        home.events / "experiences_voice_1.json",
        home.events / "1_000001795281095_0123456789abcdef0123456789abcdef.json",
        home.model_events / "000001795281095_ffff.json",
        home.reactor / ".config.json.7.tmp",
    ]
    for path in others:
        path.write_text("{}")
    leftover = home.reactor / f".{next(home.model_events.glob('*reactord-*')).name}.77.tmp"
    leftover.write_text("{")  # a crash between writing and linking

    assert announce.expire(home, NOW + 299) == 0
    assert announce.expire(home, NOW + 301) == 6
    assert all(path.exists() for path in others)
    assert not leftover.exists()
    assert announce.expire(home, NOW + 302) == 0


def test_our_own_announcements_come_in_by_no_door(home: Home, model: ReadyModel) -> None:
    announce.model_ready(home, model, NOW)

    files = [path for path in home.trinity.rglob("*.json") if path.is_file()]
    assert len(files) == 3
    doors = entrances(home)
    assert not [path for path in files for door in doors if door.directory == path.parent and door.admits(path.name)]


def test_the_history_keeps_started_completed_failed_and_the_gates_verdict(home: Home) -> None:
    announce.training(home, "started", "job-42", {"total_steps": 24}, NOW)
    announce.training(home, "progress", "job-42", {}, NOW)
    announce.gate_evaluated(home, "job-42", {"verdict": "pass", "kl": float("nan")}, NOW)
    announce.training(home, "completed", "job-42", {}, NOW)
    announce.training(home, "failed", "job-43", {"error": "bad_data"}, NOW)

    lines = [json.loads(line) for line in (home.model_events / "pipeline_events.jsonl").read_text().splitlines()]
    topics = ["training.started", "gate.evaluated", "training.completed", "training.failed"]
    assert [line["topic"] for line in lines] == topics
    assert lines[1]["payload"] == {"job_id": "job-42", "verdict": "pass", "kl": None}
    assert {line["source"] for line in lines} == {"reactor"}
    assert [line["correlation_id"] for line in lines] == ["job-42", "job-42", "job-42", "job-43"]
    assert all(datetime.fromisoformat(line["timestamp"]).tzinfo is None for line in lines)


def test_the_history_goes_where_the_environment_says(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REACTOR_PIPELINE_EVENTS_DIR", str(tmp_path))

    announce.gate_evaluated(home, "job-42", {}, NOW)

    assert (tmp_path / "pipeline_events.jsonl").exists()


def test_no_dangerous_and_no_double_announcement_is_ever_written(home: Home, model: ReadyModel) -> None:
    announce.training(home, "completed", "job-42", {}, NOW)
    announce.model_ready(home, model, NOW)

    types = {json.loads(path.read_bytes())["event_type"] for path in home.root.rglob("*.json") if path.is_file()}
    assert types == {"MODEL_READY", "model_ready", "model_updated"}
