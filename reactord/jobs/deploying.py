"""How does a judged model come before Prime, and how is it taken back?

    keep      models/<id>/<version>/ is ours and complete
    place     Prime's models directory, then its drop directory          (contract/prime.md section 8)
    promote   current.gguf points to it: what Prime loads when it starts
    wait      a Prime that is alive may accept or refuse the drop
    remember  state, lineage; then tell everybody

Each step can be done again: a crash anywhere means that the whole state is done again at the next start.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import orjson

from reactord.errors import BadInput
from reactord.ipc import announce
from reactord.jobs import models
from reactord.jobs.stages import Next, Services
from reactord.jobs.versions import for_prime
from reactord.ledger.state import Job
from reactord.prime import live, place
from reactord.prime.manifest import Release
from reactord.prime.snapshot import STATE_FRESH_S, PrimeSnapshot, look
from reactord.prime.template import family_of
from reactord.threads import in_thread

POLL_S = 0.5


async def work(services: Services, job: Job) -> Next:
    """Deploy what the judge chose; back to the model before when Prime refuses it."""
    home, settings = services.home, services.settings
    target = place.models_dir(home, os.environ, settings.prime_models_dir)
    drop = place.drop_dir(home, os.environ, settings.prime_drop_dir)
    try:
        kept = await in_thread(models.keep, home, job)
        release = _release(services, job, kept)
        if "previous" not in job.facts:  # written down before the link moves, so that a rollback knows the way
            job = services.machine.learn(job, services.clock(), previous=place.current(target))
        placed = await in_thread(place.place, release, target, drop)
        await in_thread(place.promote, release, target)
        if job.facts.get("rolls_back") and (before := job.facts["previous"]):
            stem = Path(before).stem
            place.rollback(target, drop, rejected=stem, target=f"{release.stem}.gguf", again=None)
    except BadInput as refused:
        return Next("fail", str(refused), {"error": type(refused).__name__})
    row = models.known(services.store, job)
    waited = row is not None and row.fate == "deployed"  # before a crash; then it may have been told, too
    if not waited and await _refused(services, drop, release.stem):
        place.settle_failed(drop, release.stem)
        place.rollback(target, drop, rejected=release.stem, target=job.facts["previous"], again=None)
        with services.store.transaction():
            row = models.remember(services.store, job, "rolled_back", services.clock(), gguf=str(kept))
        models.append_lineage(home, job, row, services.clock())
        models.drop_artifacts(services, job)
        return Next("roll_back", f"Prime refused {release.stem}; {job.facts['previous'] or 'nothing'} is current again")
    found = await in_thread(_liveness, look(home, services.clock()), release, placed)
    return _finish(services, job, release, placed, found)


def _heard(prime: PrimeSnapshot) -> bool:
    return prime.heard_at is not None and prime.at - prime.heard_at <= STATE_FRESH_S


def _liveness(prime: PrimeSnapshot, release: Release, placed: Path) -> live.Liveness:
    """Ask a Prime that is there; one that runs without a model is asked to load ours."""
    if not _heard(prime):
        return live.Liveness("awaiting_prime", "no Prime is heard here; the next one to start loads current.gguf")
    found = live.check(prime.base_url, placed, prime.started_at)
    if prime.model_loaded is False:
        return live.load(prime.base_url, placed, release.model_id, release.version)
    return found


def _finish(services: Services, job: Job, release: Release, placed: Path, found: live.Liveness) -> Next:
    """Remember the deployment, then tell everybody."""
    home, now = services.home, services.clock()
    with services.store.transaction():
        row = models.remember(
            services.store, job, "deployed", now, gguf=str(placed), deployed_at=now, prime=found.state
        )
    deployed_at = float(row.facts["deployed_at"])  # of the run before a crash, if there was one
    models.append_lineage(home, job, row, now)
    announce.model_ready(home, _ready(job, release, placed), now)
    models.drop_artifacts(services, job)
    served = [model for model in services.store.models() if model.fate in ("deployed", "superseded")]
    ours = [Path(model.facts["gguf"]).stem for model in served if "gguf" in model.facts]
    place.prune(placed.parent, place.drop_dir(home, os.environ, services.settings.prime_drop_dir), ours)
    deployment = {
        "gguf": str(placed),
        "current": str(placed.parent / place.CURRENT),
        "version": job.facts["version"],
        "stem": release.stem,
        "status": found.state,
        "why": found.reason,
        "deployed_at": deployed_at,
    }
    return Next("complete", f"{job.facts['version']} is deployed; {found.reason}", {"deployment": deployment})


async def _refused(services: Services, drop: Path, stem: str) -> bool:
    """Whether a Prime that is alive moved the drop to failed/. Without one nobody answers, and nobody is waited for."""
    if not _heard(look(services.home, services.clock())):
        return place.outcome(drop, stem) == "failed"
    elapsed = asyncio.get_running_loop().time  # a wall clock that is set back would lengthen the wait
    deadline = elapsed() + services.settings.deploy_wait_s
    while place.outcome(drop, stem) == "pending" and elapsed() < deadline:
        await asyncio.sleep(POLL_S)
    return place.outcome(drop, stem) == "failed"


def _release(services: Services, job: Job, kept: Path) -> Release:
    facts = job.facts
    base = orjson.loads((services.home.base_models / facts["base_name"] / "BASE.json").read_bytes())
    return Release(
        source=kept,
        sha256=facts["sha256"],
        model_id=facts["model_id"],
        version=for_prime(facts["version"], job.created_at, "rollback" if "restores" in facts else "auto"),
        training_run_id=job.id,
        base_model=str(base["name"]),
        quantization=kept.stem,
        template=family_of(base["chat_template"]),
        metrics=_metrics(job),
        created_at=job.created_at,
        training_config={"recipe": models.spec_of(services.home, job).recipe, "dataset": facts["dataset"]},
    )


def _metrics(job: Job) -> dict[str, float]:
    """The measured numbers; `loss` is what Prime and Body insist on."""
    measured = {key: value for key, value in job.facts["candidate"].items() if isinstance(value, int | float)}
    return {"loss": float(job.facts["training"]["loss"]), **{key: float(value) for key, value in measured.items()}}


def _ready(job: Job, release: Release, placed: Path) -> announce.ReadyModel:
    return announce.ReadyModel(
        job_id=job.id,
        model_id=release.model_id,
        version=job.facts["version"],
        path=placed,
        sha256=release.sha256,
        base_model=release.base_model,
        metrics=release.metrics,
        ready_at=job.updated_at,
    )
