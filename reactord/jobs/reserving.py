"""May this job start now? Memory first (jobs/negotiating.py), then the training slot.

Where Prime must lend its memory for it (jobs/leasing.py), the slot comes first: Prime shall not fall silent for a job
that waits. What then came free is measured, and decided about anew; if it is not enough, Prime has it back at once.

Here the waiting is done and the answer written down: the numbers that the job may train with into its spec, what it was
granted into its facts.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

from reactord.jobs.launching import cloud_of
from reactord.jobs.negotiating import Decision, Grant, Lease, Refuse, Request, Shrink, Snapshot, gib, negotiate
from reactord.jobs.neighbours import at_work
from reactord.jobs.planning import Plan, history_of, plans
from reactord.jobs.stages import Next, Services
from reactord.jobs.surveying import bounds_of, hyper_of, policy_of, survey, work_of
from reactord.jobs.versions import next_version
from reactord.jobs.worker_process import is_working
from reactord.jobspec import Hyper, JobSpec
from reactord.ledger.state import Job
from reactord.prime import place, turn
from reactord.workdir import WorkDir


async def work(services: Services, job: Job) -> Next:
    """Wait for memory and for the slot, then write the spec; back into the queue when it takes too long."""
    settings = services.settings
    fence = await next_fence(services)
    began = services.clock()
    deadline = began + settings.training_slot_timeout_s
    since = float(job.facts.get("waits_since") or began)
    told = False
    while True:
        await services.leasing.ask()
        decision = negotiate(look_around(services, job), request_of(services, job, services.clock(), since))
        if isinstance(decision, Refuse):
            await services.leasing.give_back(job.id)
            return Next("fail", decision.why, {"end_reason": "never_fits", "waits_since": None})
        why = await _obtained(services, job, decision, fence)
        if why is None and isinstance(decision, Grant | Shrink):
            return _start(services, job, decision, fence)
        if why is None:
            continue  # Prime has lent its memory: look at what that made of the machine
        await services.leasing.give_back(job.id, useless=True)
        now = services.clock()
        if now >= deadline:
            again = {"not_before": now + settings.resource_check_interval_s, "waits_since": since}
            return Next("requeue", why, again)
        if not told:  # once a round, not every few seconds: each is an event
            job, told = services.machine.learn(job, now, waits_for=why), True
        await asyncio.sleep(min(settings.resource_check_interval_s, deadline - now))


async def next_fence(services: Services) -> int:
    """A number above all that were handed out: by this ledger, by Redis, and to whoever placed a model before Prime.

    Above the last, so that a ledger which begins anew is not for ever behind what the one before it deployed.
    """
    target = place.models_dir(services.home, os.environ, services.settings.prime_models_dir)
    fence = services.store.next_fence(above=turn.fence_at(target))
    shared = await services.slot.shared_fence(fence)
    return fence if shared <= fence else services.store.next_fence(above=shared - 1)


async def _obtained(services: Services, job: Job, decision: Decision, fence: int) -> str | None:
    """Take what the decision needs: the slot, and Prime's memory. None when it is there, else why not."""
    if not isinstance(decision, Grant | Shrink | Lease):
        return decision.why
    why = await services.slot.take(fence, delegated=job.request["born_of"] == "http")
    if why is None and isinstance(decision, Lease):
        why = await services.leasing.acquire(job.id)
        if why and not at_work(services.home, services.store, job):
            await services.slot.release()
    return why


def request_of(services: Services, job: Job, now: float, since: float) -> Request:
    """What the job asks for: its plan and the smaller ones, as far as what it has done leaves a choice."""
    settings, workdir = services.settings, WorkDir(services.home.jobs / job.id)
    former = _settled(workdir)
    recipe = former.recipe if former else job.request.get("recipe") or settings.recipe
    work = work_of(services.home, recipe, former.hyper if former else hyper_of(settings, job.request), workdir)
    history = history_of(services.store.db, work)
    only_batch = any(workdir.checkpoints.glob("step-*"))
    return Request(
        plans=plans(work, history, bounds_of(settings, only_batch=only_batch)),
        policy=policy_of(settings),
        now=now,
        waited_s=now - since,
        cloud=cloud_of(),
    )


def look_around(services: Services, job: Job) -> Snapshot:
    """This machine now, and what our other jobs were granted."""
    ours = at_work(services.home, services.store, job)
    seen = survey(services.home, services.clock(), ours, services.leasing.heard())
    lease = services.leasing.lease
    return replace(seen, lent_to=lease.job_id) if lease and lease.job_id != job.id else seen


def _start(services: Services, job: Job, decision: Grant | Shrink, fence: int) -> Next:
    plan = decision.plan
    spec = write_spec(services, job, plan.hyper, fence)
    shrunk = decision.why if isinstance(decision, Shrink) else None
    facts = {
        "upto": spec.upto, "version": spec.version, "model_id": spec.model_id, "waits_since": None, "waits_for": None,
        "peak_bytes": plan.peak_bytes, "granted_bytes": decision.granted_bytes, "stage_peaks": dict(plan.stages),
        "shrunk": shrunk, "fence": fence,
    }  # fmt: skip
    cause = "memory and the training slot are granted"
    if services.leasing.lease:  # its own: beside another's it would not have been granted anything
        cause += "; Prime lends its memory until the job has trained"
    return Next("start", f"{cause}, in a smaller form: {shrunk}" if shrunk else cause, facts)


def outgrown(services: Services, job: Job) -> str | None:
    """Why a job must reserve again: by now its base or its examples are known, and need more than was granted."""
    if is_working(WorkDir(services.home.jobs / job.id)):  # an adopted worker trains by what it was granted
        return None
    granted = int(job.facts.get("granted_bytes") or 0)
    asked: Plan = request_of(services, job, services.clock(), services.clock()).plans[0]
    if not granted or asked.peak_bytes <= granted:
        return None
    return f"it is known now that {gib(asked.peak_bytes)} are needed, {gib(granted)} were granted"


def tightened(services: Services, job: Job) -> Job:
    """A job that was granted memory for examples of any length, or for any base, gives back what it does not need."""
    granted = int(job.facts.get("granted_bytes") or 0)
    asked: Plan = request_of(services, job, services.clock(), services.clock()).plans[0]
    if not asked.known or asked.peak_bytes >= granted or is_working(WorkDir(services.home.jobs / job.id)):
        return job
    return services.machine.learn(
        job, services.clock(), granted_bytes=asked.peak_bytes, peak_bytes=asked.peak_bytes,
        stage_peaks=dict(asked.stages),
    )  # fmt: skip


def _settled(workdir: WorkDir) -> JobSpec | None:
    """The spec of a job that has chosen its dataset: it goes on with the same work."""
    if workdir.spec_path.exists() and (workdir.outcome("prepare") or {}).get("ok"):
        return workdir.spec()
    return None


def write_spec(services: Services, job: Job, hyper: Hyper, fence: int) -> JobSpec:
    """Write spec.json. Once a dataset is chosen, a later run continues the same work, in smaller pieces if it must.

    Until then a job that waits for its owner to correct a setting goes by the corrected one; only which records it may
    look at is decided at its first start.
    """
    settings, store, workdir = services.settings, services.store, WorkDir(services.home.jobs / job.id)
    former = workdir.spec() if workdir.spec_path.exists() else None
    if former and (workdir.outcome("prepare") or {}).get("ok"):
        if hyper != former.hyper:
            former = former.model_copy(update={"hyper": hyper})
            workdir.create(former)
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
