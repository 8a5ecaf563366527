"""What did the loop do, in numbers? Read back from the files it left; the page and the report show nothing else.

Every number was measured by somebody who says so in a file. What nobody measured is None, and is shown as `-`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reactord.cli.jobs import curve_of, manifest_of
from reactord.cli.presence import read_object
from reactord.cli.status import counts_json
from reactord.cli.text import plain_path
from reactord.cli.view import SCHEMA_VERSION, SCORES, rows_of
from reactord.home import Home
from reactord.jobs.states import State
from reactord.ledger.counts import count
from reactord.ledger.state import Event, Job
from reactord.workdir import STAGES, WorkDir

SHOWN_ANSWERS = 10
LOG_LINES = 20


@dataclass(frozen=True, slots=True)
class Lap:
    """What the demo itself measured. Times are epoch seconds."""

    began_at: float  # just before the daemon was started
    ready_at: float | None
    peak_rss_bytes: int  # daemon and workers together
    peak_worker_rss_bytes: int
    stop_s: float | None  # from SIGTERM to the daemon's end
    trouble: str | None  # why the demo did not wait for the end of the job


def gather(home: Home, job_id: str | None, lap: Lap) -> dict[str, Any]:
    """Everything there is to tell. Raises OSError or sqlite3.Error when the ledger cannot be read."""
    with rows_of(home) as rows:
        job = rows.job(job_id) if rows and job_id else None
        history = rows.history(job.id) if rows and job else []
    facts = job.facts if job else {}
    deployment = facts.get("deployment") or {}
    gguf = Path(str(deployment["gguf"])) if deployment.get("gguf") else None
    deployed = job is not None and job.state == State.COMPLETED and gguf is not None and gguf.is_file()
    work = WorkDir(home.jobs / job.id) if job else None
    ended_at = job.updated_at if job and job.state == State.COMPLETED else None
    return {
        "schema_version": SCHEMA_VERSION,
        "deployed": deployed,
        "version": facts.get("version"),
        "model_id": facts.get("model_id"),
        "gguf": plain_path(gguf) if gguf else None,
        "loop_s": None if ended_at is None else round(ended_at - lap.began_at, 3),
        "peak_rss_mb": _mebibytes(lap.peak_rss_bytes),
        "peak_worker_rss_mb": _mebibytes(lap.peak_worker_rss_bytes),
        "stop_s": None if lap.stop_s is None else round(lap.stop_s, 3),
        "home": plain_path(home.root),
        "job": {"id": job.id, "state": job.state, "cause": job.cause} if job else None,
        "trouble": lap.trouble,
        "dataset": _dataset(home, job),
        "training": {**(facts.get("training") or {}), "curve": curve_of(work) if work else []},
        "base": _scores(facts.get("base")),
        "candidate": _scores(facts.get("candidate")),
        "chosen": facts.get("chosen"),
        "verdict": facts.get("verdict"),
        "reasons": facts.get("reasons") or [],
        "answers": _answers(work),
        "phases": _phases(job, history, work, lap),
        "written": _written(home, job, deployment),
        "worker_log": _log_end(work) if work and not deployed else [],
    }


def _mebibytes(size_bytes: int) -> int | None:
    return size_bytes // 1024**2 or None


def _dataset(home: Home, job: Job | None) -> dict[str, Any]:
    """The ledger's counts of records, and the dataset's of examples."""
    manifest = (manifest_of(home, job) if job else None) or {}
    more = {name: manifest[name] for name in ("id", "not_paired", "length_bias") if name in manifest}
    return {**counts_json(count(home)), **(manifest.get("counts") or {}), **more}


def _scores(measured: object) -> dict[str, Any]:
    """The five scores, None where nothing was measured, and whatever else was counted."""
    found = measured if isinstance(measured, Mapping) else {}
    more = {k: v for k, v in found.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return {**{name: found.get(name) for name in SCORES}, **more}


def _answers(work: WorkDir | None) -> dict[str, Any]:
    """Held-out prompts with what the base and the chosen file said to them; an even sample, so nobody picked them."""
    answers = read_object(work.judgement_path).get("answers") if work else None
    found = [answer for answer in answers or [] if isinstance(answer, dict)]
    shown = min(SHOWN_ANSWERS, len(found))
    return {"of": len(found), "shown": [found[i * len(found) // shown] for i in range(shown)]}


def _phases(job: Job | None, history: list[Event], work: WorkDir | None, lap: Lap) -> list[dict[str, Any]]:
    """[{name, s}]: each from the end of the one before to its own end. A phase that did not end is not there."""
    if job is None or work is None:
        return []
    moved: dict[str, float] = {}
    for event in history:  # a state that was entered twice counts from the first time
        moved.setdefault(event.topic.removeprefix("job."), event.at)
    ends = {"start the daemon": lap.ready_at, "find the data": job.created_at, "reserve": moved.get("training")}
    ends |= {stage: read_object(work.outcome_path(stage)).get("at") for stage in STAGES}
    ends["deploy"] = moved.get("completed")
    phases, before = [], lap.began_at
    for name, end in ends.items():
        if isinstance(end, int | float):
            phases.append({"name": name, "s": round(max(0.0, end - before), 3)})
            before = max(before, end)
    return phases


def _written(home: Home, job: Job | None, deployment: Mapping[str, Any]) -> list[dict[str, Any]]:
    """[{what, path, size_bytes}]: what a person may want to open. Only what is there."""
    model = home.models / str(job.facts.get("model_id")) / str(job.facts.get("version")) if job else None
    dataset = manifest_of(home, job) if job else None
    gguf = Path(str(deployment["gguf"])) if deployment.get("gguf") else None
    places = {
        "deployed model": gguf,
        "what Prime loads": Path(str(deployment["current"])) if deployment.get("current") else None,
        "our copy": model,
        "its manifest": model / "manifest.json" if model else None,
        "the judgement": WorkDir(home.jobs / job.id).judgement_path if job else None,
        "the job": home.jobs / job.id if job else None,
        "the dataset": home.datasets / str(dataset["id"]) if dataset else None,
        "the lineage": home.lineage,
        "the published state": home.reactor_state,
        "events for Body and Prime": home.model_events,
        "the ledger": home.ledger,
        "the logs": home.logs,
    }
    there = {what: path for what, path in places.items() if path is not None and path.exists()}
    return [
        {"what": what, "path": plain_path(path), "size_bytes": path.stat().st_size if path.is_file() else None}
        for what, path in there.items()
    ]


def _log_end(work: WorkDir) -> list[str]:
    try:
        return work.worker_log.read_text("utf-8", "backslashreplace").splitlines()[-LOG_LINES:]
    except FileNotFoundError:
        return []
