from __future__ import annotations

import json
from typing import Any

import pytest

from reactord.http import views
from reactord.http.facade import Pulse
from reactord.jobs.states import LIVE, TERMINAL, State
from reactord.ledger.state import Job


def job(state: str, *, cause: str = "why", **facts: Any) -> Job:
    return Job(
        id="a1", state=state, cause=cause, attempt=0, fence=0, created_at=10.0, updated_at=20.0, request={}, facts=facts
    )


def step(number: int, *, total: int = 24, epoch: float = 0.5, **more: Any) -> dict[str, Any]:
    line = {"at": 30.0, "stage": "train", "kind": "step", "step": number, "total_steps": total, "epoch": epoch}
    measured = {"loss": 0.25, "reward_accuracy": 0.9, "reward_margin": None, "learning_rate": 1e-4}
    return line | measured | {"step_s": 2.0, "eta_s": 24.0, "rss_mb": 800} | more


@pytest.mark.parametrize("state", LIVE)
def test_every_live_state_is_training_for_body_with_the_true_state_beside_it(state):
    seen = views.status(job(state), views.Seen())
    assert (seen["status"], seen["state"], seen["error"]) == ("training", state, None)


@pytest.mark.parametrize(
    ("state", "status", "error"),
    [
        ("completed", "completed", None),
        ("failed", "failed", "why"),
        ("cancelled", "failed", "cancelled"),
        ("rejected", "failed", "rejected: why"),
        ("rolled_back", "failed", "rolled back: why"),
        ("skipped", "failed", "nothing to learn from: why"),
    ],
)
def test_a_finished_job_is_completed_or_failed_and_nothing_else(state, status, error):
    seen = views.status(job(state), views.Seen())
    assert (seen["status"], seen["error"], seen["cancelled"]) == (status, error, state == "cancelled")


def test_no_terminal_state_is_forgotten():
    assert {views.status(job(state), views.Seen())["status"] for state in TERMINAL} == {"completed", "failed"}


def test_a_job_without_progress_has_numbers_where_body_formats_numbers():
    status = views.status(job("queued"), views.Seen())
    said = f"{status['epoch']:d}/{status['total_epochs']:d} {status['loss']:.4f} {status['accuracy']:.4f}"
    assert said == "0/1 0.0000 0.0000"
    assert isinstance(status["started_at"], float)
    assert isinstance(status["updated_at"], float)
    assert status["metrics"] == {}


def test_a_loss_that_is_not_a_number_is_no_loss():
    seen = views.fold_all([step(1, loss=None), step(2, loss=float("nan"))])
    status = views.status(job("training"), seen)
    assert status["loss"] == 0.0
    assert "loss" not in status["metrics"]


def test_the_newest_step_speaks_for_the_training():
    status = views.status(job("training"), views.fold_all([step(1, loss=2.0), step(6, epoch=0.75)]))
    assert (status["loss"], status["accuracy"], status["epoch"], status["updated_at"]) == (0.25, 0.9, 0, 30.0)
    assert status["progress"] == {
        "stage": "train", "text": "step 6 of 24", "line": 2, "step": 6, "total_steps": 24, "step_s": 2.0, "eta_s": 24.0,
        "rss_mb": 800,
    }  # fmt: skip
    assert "reward_margin" not in status["metrics"]


@pytest.mark.parametrize(
    ("number", "total", "epoch", "total_epochs"),
    [(6, 24, 0.75, 3), (24, 24, 3.001, 3), (1, 24, 0.036, 1), (0, 24, 0.0, 1)],
)
def test_the_planned_passes_over_the_data_follow_from_the_steps(number, total, epoch, total_epochs):
    seen = views.fold_all([step(number, total=total, epoch=epoch)])
    assert views.status(job("training"), seen)["total_epochs"] == total_epochs


def test_the_training_outcome_replaces_the_steps_after_they_scrolled_away():
    status = views.status(job("exporting", training={"loss": 0.1, "reward_accuracy": 0.95, "tokens": {}}), views.Seen())
    assert (status["loss"], status["accuracy"]) == (0.1, 0.95)


def test_the_version_is_told_when_it_is_deployed_and_not_before():
    assert views.status(job("exporting", version="v1.0.1"), views.Seen())["model_version"] is None
    assert views.status(job("completed", version="v1.0.1"), views.Seen())["model_version"] == "v1.0.1"


def test_metrics_are_the_measured_numbers_and_name_no_file():
    facts = {
        "training": {"loss": 0.1, "tokens": {"seen": 1}},
        "candidate": {"preference_accuracy": 0.95, "gguf": "/tmp/x.gguf", "empty_replies": 0},
        "base": {"preference_accuracy": 0.5},
    }
    metrics = views.status(job("completed", **facts), views.Seen())["metrics"]
    assert metrics == {"loss": 0.1, "preference_accuracy": 0.95, "empty_replies": 0, "base_preference_accuracy": 0.5}


@pytest.mark.parametrize(
    ("state", "stage", "said"),
    [
        ("queued", "train", "idle"),
        ("training", "", "formatting"),
        ("training", "prepare", "formatting"),
        ("training", "train", "training"),
        ("exporting", "train", "quantizing"),
        ("exporting", "judge", "evaluating"),
        ("deploying", "judge", "deploying"),
        ("completed", "judge", "completed"),
        ("rejected", "judge", "failed"),
    ],
)
def test_stages_carry_the_names_of_bodys_pipeline(state, stage, said):
    assert views.status(job(state), views.Seen(stage=stage))["stage"] == said


def test_work_that_is_not_a_step_shows_how_far_it_is():
    line = {"at": 1.0, "stage": "export", "kind": "work", "text": "quantising", "done": 1, "total": 3, "unit": "files"}
    progress = views.status(job("exporting"), views.fold_all([line]))["progress"]
    assert progress == {"stage": "export", "text": "quantising", "line": 1, "done": 1, "total": 3, "unit": "files"}


def test_a_step_of_a_finished_job_is_replayed_as_it_was():
    seen = views.fold_all([step(3)])
    status = views.status(views.as_it_was(job("failed", cause="later"), seen), seen)
    assert (status["status"], status["state"], status["error"]) == ("training", State.TRAINING, None)


def test_the_longest_line_stays_below_64_kib_and_is_ascii():
    facts = {"candidate": {f"m{i}{'x' * 30}": 0.123456789012345 for i in range(500)} | {"é" * 300: 1.0}}
    seen = views.fold_all([{"stage": "train", "kind": "note", "text": "😀" * 20_000}])
    line = views.encode(views.status(job("failed", cause="😀" * 20_000, **facts), seen))
    assert line.isascii()
    assert len(line) < 64 * 1024
    assert b"\n" not in line


def test_health_has_no_pid_and_every_field_of_the_contract():
    health = views.health(Pulse("ready"), version="1.0.0", uptime_s=1.0)
    assert "pid" not in health
    assert health["training_ready"] is True
    assert type(health["contract_version"]) is int
    assert health["capabilities"][0] == "training"
    assert {
        "status": "healthy",
        "phase": "ready",
        "version": "1.0.0",
        "trinity_connected": True,
    }.items() <= health.items()


def test_health_of_a_starting_daemon_is_not_ready():
    health = views.health(Pulse("starting"), version="1.0.0", uptime_s=1.0)
    assert (health["status"], health["phase"], health["training_ready"]) == ("starting", "starting", False)


def test_a_trouble_degrades_the_health_and_stays_short():
    pulse = Pulse("ready", ("No space left on device: " + "😀" * 5000,))
    health = views.health(pulse, version="1.0.0", uptime_s=1.0)
    assert (health["status"], health["training_ready"], health["degraded"]) == ("healthy", True, True)
    assert health["trouble"].startswith("No space left")
    assert len(json.dumps(health)) < 3800


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_no_json_parser_agrees_on_is_never_sent(number):
    with pytest.raises(ValueError, match="JSON"):
        views.encode({"loss": number})
