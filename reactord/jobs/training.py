"""How does a job learn? A worker chooses the examples, the ledger takes that dataset, a worker trains on it."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any, TypeVar

import orjson

from reactord.errors import BadInput, Conservation, EnvironmentTrouble
from reactord.jobs.reserving import outgrown, tightened
from reactord.jobs.stages import Next, Services, StageFailed, run_stage
from reactord.jobs.worker_process import is_working
from reactord.ledger.state import Job
from reactord.prime import template
from reactord.workdir import WorkDir

T = TypeVar("T")

#: the ingest thread answers within a look; longer means that it is stuck on a disk
TAKE_TIMEOUT_S = 60.0
#: what of the train outcome is worth a place in the job's row
KEPT = ("steps", "loss", "peak_rss_mb", "tokens", "reward_accuracy", "train_s")


async def work(services: Services, job: Job) -> Next:
    """Prepare, take the dataset, train."""
    workdir = WorkDir(services.home.jobs / job.id)
    if not (adopted := is_working(workdir)):
        await take_again(services)
        _forget_what_is_stale(services, job)
    try:
        prepared = await run_stage(services, job, "prepare")
        dataset = str(prepared["dataset"])
        if job.facts.get("dataset") != dataset:
            if adopted:  # the ingest thread answers within a second; a worker that is there is watched at once
                await take_again(services)
            job = await _settle(services, job, str(prepared["base"]), dataset)
        if why := outgrown(services, job):
            return Next("preempt", why)
        job = tightened(services, job)
        trained = await run_stage(services, job, "train")
    except StageFailed as failed:
        return failed.next
    except BadInput as refused:
        return Next("fail", str(refused), {"error": type(refused).__name__})
    except Conservation as broken:
        return Next("fail", str(broken), {"error": "Conservation"})
    facts = {"dataset": dataset, "counts": prepared.get("counts", {}), "base_name": prepared.get("base")}
    facts["training"] = {key: trained[key] for key in KEPT if key in trained}
    return Next("export", f"trained {trained.get('steps')} steps", facts)


async def _settle(services: Services, job: Job, base: str, dataset: str) -> Job:
    """The dataset is this job's from now on, and another job may choose the next one (queue.py)."""
    _speaks(services, job, base)
    await asyncio.shield(take(services, job, dataset))  # index and state say the same, even of a cancelled job
    return services.machine.learn(job, services.clock(), dataset=dataset)


def _forget_what_is_stale(services: Services, job: Job) -> None:
    """A dataset that was chosen and not taken before another job took its own counts records that are gone."""
    workdir, datasets = WorkDir(services.home.jobs / job.id), services.store.datasets()
    prepared, newest = workdir.outcome("prepare"), datasets[-1] if datasets else None
    if not prepared or prepared.get("dataset") in datasets or workdir.spec().parent_dataset == newest:
        return
    workdir.set_outcome_aside("prepare", job.fence)
    workdir.create(workdir.spec().model_copy(update={"parent_dataset": newest}))


def _speaks(services: Services, job: Job, base_name: str) -> None:
    """Found out before minutes of training: whether Prime will talk to this model as it was trained to be talked to."""
    base = orjson.loads((services.home.base_models / base_name / "BASE.json").read_bytes())
    template.require_id(str(job.facts["model_id"]), template.family_of(base["chat_template"]))


async def take(services: Services, job: Job, dataset: str) -> None:
    """Give the records the fates that the dataset's manifest says, and remember in the state that they have them."""
    manifest = _manifest(services, dataset)
    await _answer(services.inbox.take(dataset, manifest))
    if dataset not in services.store.datasets():
        now = services.clock()
        with services.store.transaction():
            services.store.insert_dataset(dataset, job.id, now)
            services.store.note("dataset.taken", dataset, now, job_id=job.id, counts=manifest["counts"])


async def take_again(services: Services) -> None:
    """The index is disposable: what the state says was taken is taken again where a rebuilt index forgot it."""
    inbox, datasets = services.inbox, services.store.datasets()
    for dataset in await _answer(inbox.call(lambda: [d for d in datasets if not inbox.index.has_taken(d)])):
        await _answer(inbox.take(dataset, _manifest(services, dataset)))


async def _answer(future: Future[T]) -> T:
    async with asyncio.timeout(TAKE_TIMEOUT_S):
        return await asyncio.wrap_future(future)


def _manifest(services: Services, dataset: str) -> dict[str, Any]:
    path = services.home.datasets / dataset / "manifest.json"
    try:
        manifest: dict[str, Any] = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise EnvironmentTrouble(
            f"{path} is gone, and with it what became of its records. Restore it from a backup; training waits."
        ) from None
    return manifest
