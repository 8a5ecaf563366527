"""Is the candidate better? A worker merges and quantises, another judges the quantised file; the verdict counts."""

from __future__ import annotations

from dataclasses import replace

from reactord.ipc import announce
from reactord.jobs import models
from reactord.jobs.stages import Next, Services, StageFailed, run_stage
from reactord.ledger.state import Job

REPORTED = ("base", "candidate", "chosen", "verdict", "reasons", "size_bytes", "sha256")


async def work(services: Services, job: Job) -> Next:
    """Export, then judge."""
    try:
        exported = await run_stage(services, job, "export")
        judged = await run_stage(services, job, "judge")
    except StageFailed as failed:
        return failed.next
    facts = {key: judged[key] for key in REPORTED if key in judged}
    facts["files"] = exported.get("files", [])
    announce.gate_evaluated(
        services.home, job.id, {k: facts.get(k) for k in ("verdict", "reasons", "chosen")}, services.clock()
    )
    if judged["verdict"] == "pass":
        return Next("deploy", f"{judged['chosen']} passed the gate", facts)
    reasons = "; ".join(judged.get("reasons", []))
    _remember_rejected(services, replace(job, facts={**job.facts, **facts}))
    return Next("reject", f"the candidate is not better: {reasons}", facts)


def _remember_rejected(services: Services, job: Job) -> None:
    now = services.clock()
    with services.store.transaction():
        row = models.remember(services.store, job, "rejected", now)
    models.append_lineage(services.home, job, row, now)
    models.drop_artifacts(services, job)
