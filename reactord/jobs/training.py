"""How does a job learn? A worker chooses the examples, the ledger takes that dataset, a worker trains on it."""

from __future__ import annotations

import asyncio

import orjson

from reactord.errors import Conservation
from reactord.jobs.stages import Next, Services, StageFailed, run_stage
from reactord.ledger.state import Job

#: the ingest thread answers within a look; longer means that it is stuck on a disk
TAKE_TIMEOUT_S = 60.0
#: what of the train outcome is worth a place in the job's row
KEPT = ("steps", "loss", "peak_rss_mb", "tokens", "reward_accuracy", "train_s")


async def work(services: Services, job: Job) -> Next:
    """Prepare, take the dataset, train."""
    try:
        prepared = await run_stage(services, job, "prepare")
        dataset = str(prepared["dataset"])
        await take(services, job, dataset)
        trained = await run_stage(services, job, "train")
    except StageFailed as failed:
        return failed.next
    except Conservation as broken:
        return Next("fail", str(broken), {"error": "Conservation"})
    facts = {"dataset": dataset, "counts": prepared.get("counts", {}), "base_name": prepared.get("base")}
    facts["training"] = {key: trained[key] for key in KEPT if key in trained}
    return Next("export", f"trained {trained.get('steps')} steps", facts)


async def take(services: Services, job: Job, dataset: str) -> None:
    """Give the records the fates that the dataset's manifest says, and remember in the state that they have them."""
    manifest = orjson.loads((services.home.datasets / dataset / "manifest.json").read_bytes())
    inbox = services.inbox
    await asyncio.wait_for(asyncio.wrap_future(inbox.call(lambda: inbox.index.take(dataset, manifest))), TAKE_TIMEOUT_S)
    if dataset not in services.store.datasets():
        now = services.clock()
        with services.store.transaction():
            services.store.insert_dataset(dataset, job.id, now)
            services.store.note("dataset.taken", dataset, now, job_id=job.id, counts=manifest["counts"])


async def take_again(services: Services) -> None:
    """At start: the index is disposable, so what the state says was taken is taken again where the index forgot it."""
    for dataset in services.store.datasets():
        manifest = orjson.loads((services.home.datasets / dataset / "manifest.json").read_bytes())
        await asyncio.wait_for(asyncio.wrap_future(services.inbox.take(dataset, manifest)), TAKE_TIMEOUT_S)
