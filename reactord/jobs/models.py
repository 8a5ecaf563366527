"""What do we keep and remember of each model version?

`models/<model_id>/<version>/` holds the judged file, the adapter, the judgement and a manifest; one line in
`models/lineage.jsonl` tells its whole descent (contract/lifecycle.md 5): data -> job -> model -> gate -> deployment.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from reactord import durable
from reactord.home import Home
from reactord.jobs.stages import Services
from reactord.jobspec import JobSpec
from reactord.ledger.state import Job, Model, Store
from reactord.workdir import WorkDir


def directory(home: Home, job: Job) -> Path:
    """Where the version that `job` made is kept."""
    return home.models / str(job.facts["model_id"]) / str(job.facts["version"])


def keep(home: Home, job: Job) -> Path:
    """Move the judged file and its evidence out of the job directory; returns where the file is now. Repeatable."""
    final, chosen = directory(home, job), str(job.facts["chosen"])
    sources = _sources(home, job)
    if not final.exists():
        final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = final.with_name(f".{final.name}{durable.TEMPORARY}")  # no pid: the run after a crash removes it
        durable.remove_tree(scratch)
        scratch.mkdir(mode=0o700)
        for source in sources:
            if source.exists():
                durable.disk.link(source, scratch / source.name)
        durable.publish(scratch / "manifest.json", orjson.dumps(_manifest(job), option=orjson.OPT_INDENT_2))
        durable.publish_directory(scratch, final)
    return final / chosen


def _sources(home: Home, job: Job) -> tuple[Path, ...]:
    """The judged file and its evidence: where the job made them, or where the version it restores is kept."""
    work, chosen = WorkDir(home.jobs / job.id), str(job.facts["chosen"])
    if restored := job.facts.get("restores"):
        kept = home.models / str(job.facts["model_id"]) / str(restored)
        return kept / chosen, kept / "adapter.gguf", kept / work.judgement_path.name
    return work.artifacts / chosen, work.artifacts / "adapter.gguf", work.judgement_path


def drop_artifacts(services: Services, job: Job) -> None:
    """The job's intermediates (f16, ladder, checkpoints) are of no use any more; gigabytes are."""
    if not services.settings.keep_job_artifacts:
        work = WorkDir(services.home.jobs / job.id)
        durable.remove_tree(work.artifacts)
        durable.remove_tree(work.checkpoints)


def known(store: Store, job: Job) -> Model | None:
    """The row of the version that `job` made, if it has one."""
    return next((model for model in store.models() if model.version == job.facts["version"]), None)


def remember(store: Store, job: Job, fate: str, now: float, **facts: Any) -> Model:  # noqa: ANN401 - JSON values
    """The version's row, written unless a run before a crash wrote it; a newly deployed one supersedes the one before.

    Inside a transaction of the caller.
    """
    row = known(store, job)
    if row and row.fate == fate:
        return row
    if fate == "deployed":
        for model in store.models():
            if model.fate == "deployed" and model.version != job.facts["version"]:
                store.put_model(replace(model, fate="rolled_back" if job.facts.get("rolls_back") else "superseded"))
    row = Model(
        version=job.facts["version"],
        model_id=job.facts["model_id"],
        job_id=job.id,
        created_at=job.created_at,
        fate=fate,
        facts={**_manifest(job), **facts},
    )
    store.put_model(row)
    store.note(f"model.{fate}", job.facts["version"], now, job_id=job.id, **facts)
    return row


def append_lineage(home: Home, job: Job, row: Model, now: float) -> None:
    """Append the line of the version that `job` made and `row` remembers, unless a run before a crash did."""
    marker = f'"training_job_id":"{job.id}"'.encode()
    if home.lineage.exists() and marker in home.lineage.read_bytes():
        return
    durable.append(home.lineage, orjson.dumps(_line(home, job, row, now)) + b"\n")


def _manifest(job: Job) -> dict[str, Any]:
    kept = (
        "model_id",
        "version",
        "dataset",
        "counts",
        "chosen",
        "sha256",
        "size_bytes",
        "base",
        "candidate",
        "training",
        "restores",
    )
    return {"job_id": job.id, **{key: job.facts[key] for key in kept if key in job.facts}}


def _line(home: Home, job: Job, row: Model, now: float) -> dict[str, Any]:
    facts, spec = job.facts, spec_of(home, job)
    dataset = str(facts.get("dataset", ""))
    manifest = orjson.loads((home.datasets / dataset / "manifest.json").read_bytes())
    return {
        "model_id": facts["model_id"],
        "version": facts["version"],
        "model_hash": facts.get("sha256"),
        "parent_model": str(spec.incumbent_gguf) if spec.incumbent_gguf else spec.base,
        "training_method": f"lora_{spec.recipe}",
        "training_job_id": job.id,
        "dataset": {
            "hash": f"sha256:{dataset}",
            "size": len(manifest["fates"]["train"]),
            "date_range": manifest["date_range"],
            "source_distribution": manifest["sources"],
            "weighted_score": None,  # nothing here measures it
        },
        "eval_scores": facts.get("candidate", {}),
        "gate_decision": "REJECTED" if row.fate == "rejected" else "APPROVED",
        "deployed_at": _iso(row.facts.get("deployed_at")),
        "probation_result": "ROLLED_BACK" if row.fate == "rolled_back" else None,
        "transformation_steps": ["lora", "merge_f16", str(facts.get("chosen", "")).removesuffix(".gguf")],
        "created_at": _iso(now),
    }


def spec_of(home: Home, job: Job) -> JobSpec:
    """How the model was trained that `job` deploys."""
    return WorkDir(home.jobs / str(job.facts.get("made_by", job.id))).spec()


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()
