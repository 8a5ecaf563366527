"""What became of each job? `reactord jobs`: the list, newest first, or everything about one."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import orjson

from reactord.cli import parts, text
from reactord.cli.exits import OK
from reactord.cli.presence import read_object
from reactord.cli.text import Paint, duration, safe
from reactord.cli.view import SCHEMA_VERSION, rows_of
from reactord.errors import BadRequest
from reactord.home import Home
from reactord.ledger.state import Event, Job
from reactord.workdir import STAGES, WorkDir


def command(home: Home, options: argparse.Namespace) -> int:
    """List the jobs, or show the one that is named."""
    if options.id is not None:
        return _one(home, options.id, as_json=options.json)
    with rows_of(home) as rows:
        jobs = rows.jobs(limit=options.lines) if rows else []
    if options.json:
        text.say(text.json_text({"schema_version": SCHEMA_VERSION, "jobs": [_brief(job) for job in jobs]}))
    elif not jobs:
        text.tell("no jobs yet; start one: reactord train")
    else:
        now, paint = time.time(), Paint.on_stream(sys.stdout)
        rows_ = [[job.id, job.state, duration(now - job.created_at), *_what(job), job.cause] for job in jobs]
        header = ["JOB", "STATE", "AGE", "BY", "VERSION", "WHY"]
        text.say(*text.table(header, rows_, text.screen_width(sys.stdout), colours={1: paint.state}))
    return OK


def _what(job: Job) -> tuple[str, str]:
    return str(job.request.get("born_of") or text.NOTHING), str(job.facts.get("version", text.NOTHING))


def _brief(job: Job) -> dict[str, Any]:
    return {
        "id": job.id, "state": job.state, "cause": job.cause, "attempt": job.attempt, "created_at": job.created_at,
        "updated_at": job.updated_at, "born_of": job.request.get("born_of"), "recipe": job.request.get("recipe"),
        "version": job.facts.get("version"), "verdict": job.facts.get("verdict"),
    }  # fmt: skip


def row_of(home: Home, job_id: str) -> Job | None:
    """The row of a job, None while there is none."""
    with rows_of(home) as rows:
        return rows.job(job_id) if rows else None


def find(home: Home, job_id: str) -> tuple[Job, list[Event]]:
    """A job and what happened to it. Raises BadRequest when there is none."""
    with rows_of(home) as rows:
        job = rows.job(job_id) if rows else None
        if rows is None or job is None:
            raise BadRequest(f"there is no job {safe(job_id)} in {text.path_text(home.root)}; see: reactord jobs")
        return job, rows.history(job_id)


def _one(home: Home, job_id: str, *, as_json: bool) -> int:
    job, history = find(home, job_id)
    work = WorkDir(home.jobs / job.id)
    if as_json:
        text.say(text.json_text(_everything(home, job, history, work)))
        return OK
    text.say(*page(home, job, history, text.screen_width(sys.stdout), Paint.on_stream(sys.stdout)))
    return OK


def _everything(home: Home, job: Job, history: list[Event], work: WorkDir) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        **_brief(job),
        "fence": job.fence,
        "request": job.request,
        "facts": job.facts,
        "history": [{"seq": e.seq, "at": e.at, "topic": e.topic, **e.data} for e in history],
        "spec": read_object(work.spec_path) or None,
        "outcomes": {stage: read_object(work.outcome_path(stage)) or None for stage in STAGES},
        "dataset": manifest_of(home, job),
        "judgement": read_object(work.judgement_path) or None,
        "directory": text.plain_path(work.root),
    }


def manifest_of(home: Home, job: Job) -> dict[str, Any] | None:
    """The manifest of the dataset that `job` learned from, without its long list of fates; None before there is one."""
    prepared = read_object(WorkDir(home.jobs / job.id).outcome_path("prepare"))
    dataset = job.facts.get("dataset") or prepared.get("dataset")
    if not isinstance(dataset, str):
        return None
    manifest = read_object(home.datasets / dataset / "manifest.json")
    manifest.pop("fates", None)
    return {"id": dataset, **manifest}


def curve_of(work: WorkDir) -> list[list[Any]]:
    """[[step, loss, reward accuracy], ...] of the run: from its outcome, else from what was reported so far."""
    if curve := read_object(work.outcome_path("train")).get("curve"):
        return list(curve)
    try:
        lines = work.recent_progress(4 * 1024 * 1024)
    except orjson.JSONDecodeError:
        return []
    steps = {line.get("step"): line for line in lines if line.get("kind") == "step"}  # a resumed run repeats some
    return [[step, line.get("loss"), line.get("reward_accuracy")] for step, line in steps.items()]


# -- one job's page --------------------------------------------------------------------------------------------------
def page(home: Home, job: Job, history: list[Event], width: int, paint: Paint) -> list[str]:
    """Everything about one job."""
    work, inner = WorkDir(home.jobs / job.id), width - 2
    lines = [f"{paint('bold', job.id)}  {paint.state(job.state)}  {_what(job)[1]}  born of {_what(job)[0]}", ""]
    lines += _history(history, width, paint)
    if spec := read_object(work.spec_path):
        lines += section("spec", parts.counts(_spec(spec), inner), paint)
    if manifest := manifest_of(home, job):
        lines += section(f"dataset {manifest['id'][:12]}", parts.dataset(manifest, inner), paint)
    if points := curve_of(work):
        lines += section("training", parts.curve(points, inner), paint)
    if job.facts.get("candidate"):
        columns = {name: job.facts.get(name) for name in ("base", "candidate")}
        verdict = f"verdict: {safe(job.facts.get('verdict', text.NOTHING))}"
        reasons = [f"- {safe(reason)}" for reason in job.facts.get("reasons") or []]
        lines += section("judgement", [*parts.judgement(columns, inner), verdict, *reasons], paint)
    lines += section("files", files_of(job, work), paint)
    return lines + section("next", _next(job, work), paint)


def section(title: str, lines: list[str], paint: Paint) -> list[str]:
    """A titled, indented block."""
    return ["", paint("bold", title), *(f"  {line}" for line in lines)]


def _history(history: list[Event], width: int, paint: Paint) -> list[str]:
    """Each transition with its time and cause."""
    moves = [event for event in history if event.topic.startswith("job.") and event.topic != "job.fact"]
    rows = [
        [text.clock(e.at), e.topic.removeprefix("job."), str(e.data.get("trigger", "")), str(e.data.get("cause", ""))]
        for e in moves
    ]
    return text.table(["WHEN", "STATE", "BY", "WHY"], rows, width, colours={1: paint.state})


def _spec(spec: dict[str, Any]) -> dict[str, Any]:
    shown = (
        "recipe", "base", "model_id", "version", "upto", "parent_dataset", "seed", "threads", "incumbent_gguf", "hyper",
    )  # fmt: skip
    return {key: spec[key] for key in shown if spec.get(key) is not None}


def files_of(job: Job, work: WorkDir) -> list[str]:
    """What there is to open, with its size."""
    deployment = job.facts.get("deployment") or {}
    places = [Path(str(deployment[key])) for key in ("gguf", "current") if deployment.get(key)]
    places += [Path(str(file["path"])) for file in job.facts.get("files", []) if "path" in file]
    places += [work.judgement_path, work.worker_log]
    found = [
        f"{text.path_text(path)}  {text.size(path.stat().st_size)}" for path in dict.fromkeys(places) if path.is_file()
    ]
    return [text.path_text(work.root), *found] if work.root.is_dir() else found


def _next(job: Job, work: WorkDir) -> list[str]:
    """What to type."""
    log = f"less {text.path_text(work.worker_log)}"
    return {
        "completed": ["reactord models"],
        "failed": [f"why: {safe(job.cause)}", log, "reactord train"],
        "rejected": [f"why: {safe(job.cause)}", f"less {text.path_text(work.judgement_path)}"],
        "rolled_back": [f"why: {safe(job.cause)}", "reactord models"],
        "cancelled": ["reactord train"],
        "skipped": [f"why: {safe(job.cause)}", "reactord ledger"],
    }.get(job.state, ["reactord status -w", f"reactord cancel {job.id}"])
