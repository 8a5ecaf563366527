"""What do we say about a job and about ourselves? Pure functions from what is known to what Body reads.

Body's clients are strict where it hurts: a `null` loss, a non-ASCII byte, a status they do not know or a line of 64 KiB
makes them fail a healthy job (contract/body.md 1.2, 1.4, 1.5). So every number here is a finite number, every text is
bounded, and only `training`, `completed` and `failed` are ever a status; the true state stands beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reactord import managed
from reactord.http.facade import Pulse
from reactord.jobs.states import LIVE, State
from reactord.ledger.state import Job

Status = dict[str, Any]
_JSON = json.JSONEncoder(allow_nan=False, separators=(",", ":"))

#: an escaped character may take 12 bytes, and a line must stay below 64 KiB
MAX_TEXT = 1000
MAX_TROUBLE_TEXT = 200
MAX_METRICS = 40
MAX_NAME = 40

#: what Body calls the stages of a worker (contract/body.md 1.7), and in which state of the job they run
STAGE_NAMES = {"prepare": "formatting", "train": "training", "export": "quantizing", "judge": "evaluating"}
STATE_OF_STAGE = {"export": State.EXPORTING, "judge": State.EXPORTING}

#: how a job that brought no better model is told: Body knows only completed and failed
NO_MODEL = {
    State.REJECTED: "rejected: ",
    State.ROLLED_BACK: "rolled back: ",
    State.SKIPPED: "nothing to learn from: ",
    State.FAILED: "",
}
#: of the contract with Body and its supervisors, which compare its major number with theirs; not of this package
API_VERSION = "1.0.0"
CAPABILITIES = ("training", "fine-tuning")
TRAINING_FACTS = ("loss", "reward_accuracy", "steps", "peak_rss_mb", "train_s")
STEP_METRICS = ("step", "loss", "reward_accuracy", "reward_margin", "learning_rate")
STEP_PROGRESS = ("step", "total_steps", "step_s", "eta_s", "rss_mb")
WORK_PROGRESS = ("done", "total", "unit")


@dataclass(frozen=True, slots=True)
class Seen:
    """What the lines of progress.jsonl up to `line` say."""

    line: int = 0
    at: float = 0.0
    stage: str = ""
    text: str = ""
    step: Mapping[str, Any] = field(default_factory=dict)  # the last line of kind "step"
    work: Mapping[str, Any] = field(default_factory=dict)  # the newest line, if its kind is "work"


def fold(seen: Seen, line: Mapping[str, Any], number: int) -> Seen:
    """Add one line of progress."""
    kind = line.get("kind")
    return Seen(
        line=number,
        at=_number(line.get("at")) or seen.at,
        stage=str(line.get("stage", seen.stage)),
        text=_words(kind, line) or seen.text,
        step=line if kind == "step" else seen.step,
        work=line if kind == "work" else {},
    )


def fold_all(lines: Iterable[Mapping[str, Any]]) -> Seen:
    """What a number of lines say together."""
    seen = Seen()
    for number, line in enumerate(lines, 1):
        seen = fold(seen, line, number)
    return seen


def _words(kind: object, line: Mapping[str, Any]) -> str:
    if kind == "step":
        return f"step {line.get('step')} of {line.get('total_steps')}"
    if kind == "checkpoint":
        return f"checkpoint after step {line.get('step')}"
    return str(line.get("text", ""))


def status(job: Job, seen: Seen) -> Status:
    """The status object of contract/body.md 1.4, and what a person wants to know besides."""
    epoch = _number(seen.step.get("epoch")) or 0.0
    training = job.facts.get("training", {})
    return {
        "job_id": job.id,
        "status": _status_word(job),
        "state": job.state,
        "stage": stage_of(job, seen),
        "epoch": int(epoch),
        "total_epochs": _total_epochs(epoch, seen.step),
        "loss": _first_number(seen.step.get("loss"), training.get("loss")),
        "accuracy": _first_number(seen.step.get("reward_accuracy"), training.get("reward_accuracy")),
        "metrics": metrics_of(job, seen),
        "model_version": str(job.facts.get("version")) if job.state == State.COMPLETED else None,
        "error": error_of(job),
        "cancelled": job.state == State.CANCELLED,
        "message": cut(job.cause),
        "attempt": job.attempt,
        "started_at": job.created_at,
        "updated_at": max(job.updated_at, seen.at),
        "progress": _progress(seen),
    }


def unknown(job_id: str) -> Status:
    """What a stream says about a job that is not there: terminal, so that the client stops waiting."""
    return {"job_id": cut(job_id), "status": "failed", "error": "job not found", "loss": 0.0, "metrics": {}}


def as_it_was(job: Job, seen: Seen) -> Job:
    """The job at the time of the newest seen line: a replayed step of a finished job is no second ending."""
    return replace(job, state=STATE_OF_STAGE.get(seen.stage, State.TRAINING), cause=seen.text, facts={})


def _status_word(job: Job) -> str:
    if job.state in LIVE:
        return "training"
    return "completed" if job.state == State.COMPLETED else "failed"


def error_of(job: Job) -> str | None:
    """Why there is no new model, once that is so."""
    if job.state == State.CANCELLED:
        return "cancelled"
    prefix = NO_MODEL.get(State(job.state))
    return None if prefix is None else cut(prefix + job.cause)


def stage_of(job: Job, seen: Seen) -> str:
    """Where it is, in Body's words."""
    if job.state in (State.QUEUED, State.RESERVING):
        return "idle"
    if job.state == State.TRAINING:
        return STAGE_NAMES["prepare" if seen.stage in ("", "prepare") else "train"]
    if job.state == State.EXPORTING:
        return STAGE_NAMES["judge" if seen.stage == "judge" else "export"]
    if job.state == State.DEPLOYING:
        return "deploying"
    return _status_word(job)


def _total_epochs(epoch: float, step: Mapping[str, Any]) -> int:
    """How many passes over the data the planned steps make; one until the first step has told."""
    done, planned = _number(step.get("step")), _number(step.get("total_steps"))
    if not done or not planned or epoch <= 0:
        return max(1, math.ceil(epoch))
    # the trainer rounds its epoch to 3 digits: 3.0006 passes are 3
    return max(1, math.ceil(round(epoch * planned / done, 2)))


def metrics_of(job: Job, seen: Seen) -> dict[str, float]:
    """Measured numbers only. No path is among them: Body would deploy what it names a second time."""
    found = _numbers(seen.step, STEP_METRICS)
    for facts, names, prefix in (
        (job.facts.get("training"), TRAINING_FACTS, ""),
        (job.facts.get("candidate"), None, ""),
        (job.facts.get("base"), None, "base_"),
    ):
        if isinstance(facts, dict):
            found |= {prefix + name: number for name, number in _numbers(facts, names).items()}
    return dict(list(found.items())[:MAX_METRICS])


def _progress(seen: Seen) -> dict[str, Any]:
    progress: dict[str, Any] = {"stage": seen.stage, "text": cut(seen.text), "line": seen.line}
    if seen.stage == "train":
        progress |= _numbers(seen.step, STEP_PROGRESS)
    if seen.work:
        progress |= {key: value for key in WORK_PROGRESS if (value := _plain(seen.work.get(key))) is not None}
    return progress


def health(pulse: Pulse, *, version: str, uptime_s: float) -> dict[str, Any]:
    """The health object of contract/body.md 1.2, below 4 KiB. It has no `pid`: Body kills workers by it (6.6).

    A supervisor that manages us by a session gets its own envelope around it, and that has one.
    """
    phase = pulse.told
    ready = phase == "ready"
    base = {
        "status": "healthy" if ready else phase,
        "phase": phase,
        "service": "reactor_core",
        "version": version,
        "protocol_version": API_VERSION,
        "api_version": API_VERSION,
        "contract_version": 1,
        "autonomy_schema_version": "1.0",
        "training_ready": ready,
        "trinity_connected": True,
        "healthy": ready,
        "ready": ready,
        "degraded": bool(pulse.troubles),
        "trouble": cut("; ".join(pulse.troubles), MAX_TROUBLE_TEXT),
        "capabilities": list(CAPABILITIES),
        "uptime_seconds": round(uptime_s, 3),
        "startup_progress": 0 if pulse.phase == "starting" else 100,
        "active_jobs": pulse.active_jobs,
        "queued_jobs": pulse.queued_jobs,
        "pending_experiences": pulse.pending_experiences,
    }
    readiness: managed.Readiness = "not_ready"
    if phase in ("ready", "draining"):
        readiness = "draining" if pulse.draining else "degraded" if pulse.troubles else "ready"
    return managed.build_health_envelope(base, readiness, pulse.draining, managed.capability_list_hash(CAPABILITIES))


def encode(document: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """One line of ASCII. Raises ValueError for NaN and infinity."""
    return _JSON.encode(document).encode()


def _number(value: object) -> float | None:
    """The value if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def _first_number(*values: object) -> float:
    return next((float(n) for value in values if (n := _number(value)) is not None), 0.0)


def _numbers(facts: Mapping[str, Any], names: tuple[str, ...] | None) -> dict[str, float]:
    """The finite numbers among `facts`, those of the given names or all of them."""
    return {
        name: number
        for name in (facts if names is None else names)
        if (number := _number(facts.get(name))) is not None and name.isascii() and len(name) <= MAX_NAME
    }


def _plain(value: object) -> float | str | None:
    return cut(value, MAX_NAME) if isinstance(value, str) else _number(value)


def cut(text: str, limit: int = MAX_TEXT) -> str:
    """The text, or as much of it as goes on a line."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
