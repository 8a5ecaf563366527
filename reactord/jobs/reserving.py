"""May this job start now? Memory first, then the training slot.

`negotiate` is pure: what the machine has, what Prime holds and what the job will need go in; a grant or a reason to
wait comes out.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import psutil

from reactord.jobs.stages import Next, Services
from reactord.jobs.versions import next_version
from reactord.jobspec import Hyper, JobSpec
from reactord.ledger.state import Job
from reactord.memory import Sizes, lora_peak_bytes
from reactord.prime.snapshot import look
from reactord.workdir import WorkDir

GIB = 1024**3
#: what a job is assumed to need before its base has been converted and can be planned for
UNKNOWN_BASE_BYTES = 4 * GIB


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the machine has, in bytes. `prime_bytes` is None when nobody could tell (unknown is not zero)."""

    total_bytes: int
    available_bytes: int
    prime_bytes: int | None


@dataclass(frozen=True, slots=True)
class Need:
    """What a job will take at its peak, and what must stay free beside it."""

    peak_bytes: int
    headroom_bytes: int
    limit_bytes: int  # MAX_TOTAL_MEMORY_GB: Prime and we together


@dataclass(frozen=True, slots=True)
class Grant:
    """The job fits."""

    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Wait:
    """The job does not fit now; the reason in words."""

    why: str


def negotiate(snapshot: Snapshot, need: Need) -> Grant | Wait:
    """Decide. Pure; never "try and see"."""
    wanted = need.peak_bytes + need.headroom_bytes
    if snapshot.available_bytes < wanted:
        return Wait(
            f"needs {_gib(need.peak_bytes)} and {_gib(need.headroom_bytes)} headroom,"
            f" {_gib(snapshot.available_bytes)} are available"
        )
    limit = min(need.limit_bytes, snapshot.total_bytes)
    prime = snapshot.prime_bytes or 0
    if prime + wanted > limit:
        return Wait(f"needs {_gib(wanted)} beside the {_gib(prime)} that Prime holds; the limit is {_gib(limit)}")
    return Grant(need.peak_bytes)


def predict_peak_bytes(base_hf: Path, hyper: Hyper) -> int:
    """Peak resident bytes of a run on the base in `base_hf`: chosen and rejected of each pair at their full length."""
    try:
        sizes = Sizes.of(base_hf, hyper.lora_rank)
    except FileNotFoundError:
        return UNKNOWN_BASE_BYTES
    return lora_peak_bytes(sizes, 2 * hyper.pairs_per_batch * hyper.max_length_tokens)


async def work(services: Services, job: Job) -> Next:
    """Wait for memory and for the slot, then write the spec; back into the queue when it takes too long."""
    settings = services.settings
    hyper = hyper_of(services, job)
    fence = services.store.next_fence()
    deadline = services.clock() + settings.training_slot_timeout_s
    while True:
        peak = predict_peak_bytes(newest_base(services), hyper)
        headroom, limit = int(settings.memory_headroom_gb * GIB), int(settings.max_total_memory_gb * GIB)
        prime = look(services.home, services.clock())
        decision = negotiate(measure(prime.rss_bytes), Need(peak, headroom, limit))
        why = decision.why if isinstance(decision, Wait) else None
        why = why or await services.slot.take(fence, delegated=job.request["born_of"] == "http")
        if why is None:
            spec = write_spec(services, job, hyper, fence)
            facts = {"upto": spec.upto, "version": spec.version, "model_id": spec.model_id, "peak_bytes": peak}
            return Next("start", "memory and the training slot are granted", {**facts, "fence": fence})
        now = services.clock()
        if now >= deadline:
            return Next("requeue", why, {"not_before": now + settings.resource_check_interval_s})
        await asyncio.sleep(min(settings.resource_check_interval_s, deadline - now))


def hyper_of(services: Services, job: Job) -> Hyper:
    """The settings' numbers, with those that the request names."""
    return Hyper.model_validate({**services.settings.hyper.model_dump(), **job.request.get("hyper", {})})


def newest_base(services: Services) -> Path:
    """The Hugging Face folder of the base that was converted last (there is one per base model)."""
    bases = sorted(services.home.base_models.glob("*/BASE.json"), key=lambda path: path.stat().st_mtime)
    return bases[-1].parent / "hf" if bases else services.home.base_models / "none"


def write_spec(services: Services, job: Job, hyper: Hyper, fence: int) -> JobSpec:
    """Write spec.json. Once a dataset is chosen, a later run continues the same work.

    Until then a job that waits for its owner to correct a setting goes by the corrected one; only which records it may
    look at is decided at its first start.
    """
    settings, store, workdir = services.settings, services.store, WorkDir(services.home.jobs / job.id)
    former = workdir.spec() if workdir.spec_path.exists() else None
    if former and (workdir.outcome("prepare") or {}).get("ok"):
        return former
    deployed, datasets = store.deployed(), store.datasets()
    used = [model.version for model in store.models()] + [str(j.facts.get("version", "")) for j in store.jobs()]
    spec = JobSpec(
        job_id=job.id,
        recipe=job.request.get("recipe") or settings.recipe,
        base=settings.base_model,
        home=services.home.root,
        upto=former.upto if former else services.inbox.intake.last_seq,
        as_of=former.as_of if former else services.clock(),
        parent_dataset=datasets[-1] if datasets else None,
        model_id=settings.model_id,
        version=former.version if former else next_version(version for version in used if version),
        seed=settings.seed,
        threads=settings.threads,
        hyper=hyper,
        incumbent_gguf=Path(deployed.facts["gguf"]) if deployed else None,
        fence=fence,
    )
    workdir.create(spec)
    return spec


def measure(prime_bytes: int | None) -> Snapshot:
    """Look at this machine."""
    memory = psutil.virtual_memory()
    return Snapshot(int(memory.total), int(memory.available), prime_bytes)


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
