"""Is the candidate better? A worker merges and quantises, another judges the quantised file; the verdict counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from reactord.ipc import announce
from reactord.jobs import models
from reactord.jobs.reserving import next_fence
from reactord.jobs.stages import Next, Services, StageFailed, run_stage, take_slot
from reactord.jobs.worker_process import WorkerLost
from reactord.ledger.state import Job
from reactord.workdir import WorkDir

REPORTED = ("base", "candidate", "incumbent", "chosen", "verdict", "reasons", "size_bytes", "sha256")


async def work(services: Services, job: Job) -> Next:
    """Export, then judge."""
    _against_who_is_deployed(services, job)
    try:
        exported = await run_stage(services, job, "export")
        judged = await run_stage(services, job, "judge")
        if judged["verdict"] == "pass":
            await take_slot(services, job)  # who has lost it commits nothing
    except StageFailed as failed:
        return failed.next
    except WorkerLost as lost:
        return Next("preempt", str(lost), {"end_reason": lost.reason})
    facts = {key: judged[key] for key in REPORTED if key in judged}
    facts["files"] = exported.get("files", [])
    announce.gate_evaluated(
        services.home, job.id, {k: facts.get(k) for k in ("verdict", "reasons", "chosen")}, services.clock()
    )
    if judged["verdict"] == "pass":
        # a deployment is numbered when it begins: jobs beside each other are not judged in the order of their starts
        return Next("deploy", f"{judged['chosen']} passed the gate", {**facts, "fence": await next_fence(services)})
    reasons = "; ".join(judged.get("reasons", []))
    _remember_rejected(services, replace(job, facts={**job.facts, **facts}))
    return Next("reject", f"the candidate is not better: {reasons}", facts)


def _against_who_is_deployed(services: Services, job: Job) -> None:
    """A model that was deployed while this job waited is the one to be better than; an older judgement is void."""
    workdir, deployed = WorkDir(services.home.jobs / job.id), services.store.deployed()
    if deployed and "gguf" not in deployed.facts:  # it cannot be named
        return
    spec, incumbent = workdir.spec(), Path(deployed.facts["gguf"]) if deployed else None
    if spec.incumbent_gguf != incumbent:
        workdir.set_outcome_aside("judge", job.fence)
        workdir.create(spec.model_copy(update={"incumbent_gguf": incumbent}))


def _remember_rejected(services: Services, job: Job) -> None:
    now = services.clock()
    with services.store.transaction():
        row = models.remember(services.store, job, "rejected", now)
    models.append_lineage(services.home, job, row, now)
    models.drop_artifacts(services, job)
