"""Would a job start now, in which form, and where? `reactord plan`: machine, prediction, decision, place.

The same functions decide here as in the daemon, with this shell's environment and the settings file.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from reactord import memory
from reactord.cli import text
from reactord.cli.exits import DEGRADED, OK
from reactord.cli.text import safe, size
from reactord.cli.view import SCHEMA_VERSION, rows_of
from reactord.errors import BadRequest
from reactord.home import Home
from reactord.jobs.correction import first_margin
from reactord.jobs.launching import cloud_of
from reactord.jobs.negotiating import Decision, Request, Snapshot, negotiate, spare_bytes
from reactord.jobs.planning import Plan, Work, factors_of, history_of, plans
from reactord.jobs.surveying import Heard, asked, bounds_of, hyper_of, policy_of, survey, work_of
from reactord.jobs.where import Limits, Placement, Question, decide
from reactord.jobspec import recipe_names
from reactord.ledger.peaks import KEPT
from reactord.ledger.state import Job, State
from reactord.settings import Settings, load
from reactord.workdir import WorkDir

HOUR_S = 3600.0


def command(home: Home, options: argparse.Namespace) -> int:
    """Show it; exit 4 when the job can run nowhere."""
    now, settings = time.time(), load(home)
    with rows_of(home) as rows:
        job = _job(rows, options.id)
        work, only_batch = _work(home, settings, job, options.recipe)
        history = history_of(rows.db if rows else None, work)
        jobs = rows.jobs() if rows else []
    waited_s = now - float(job.facts.get("waits_since") or now) if job else 0.0
    factors = factors_of(work, history)
    found = plans(work, history, bounds_of(settings, only_batch=only_batch))
    snapshot, policy = survey(home, now, heard=Heard(asked(home, now))), policy_of(settings)
    decision = negotiate(snapshot, Request(found, policy, now, waited_s, cloud_of()))
    placement = decide(
        Question(
            size_mb=_size_mb(work),
            here=decision,
            seconds=_seconds(jobs, work),
            deadline_s=options.deadline and options.deadline * HOUR_S,
        ),
        Limits(settings.local_training_max_size_mb, settings.cloud_training_min_size_mb),
    )
    if options.json:
        body = as_json(snapshot, spare_bytes(snapshot, policy), work, factors, found, decision, placement)
        text.say(text.json_text(body))
    else:
        text.say(*screen(snapshot, spare_bytes(snapshot, policy), work, factors, decision, placement, found[0]))
    return DEGRADED if placement.where == "nowhere" else OK


def _job(rows: State | None, job_id: str | None) -> Job | None:
    if job_id is None:
        return None
    if rows is None or (job := rows.job(job_id)) is None:
        raise BadRequest(f"there is no job {safe(job_id)}; see: reactord jobs")
    return job


def _work(home: Home, settings: Settings, job: Job | None, recipe: str | None) -> tuple[Work, bool]:
    """What is planned for: a job of the ledger as far as it is, or one that would be started now."""
    if recipe is not None and recipe not in recipe_names():
        raise BadRequest(f"unknown recipe {safe(recipe)}; choose one of {', '.join(recipe_names())}")
    request: Mapping[str, Any] = job.request if job else {}
    chosen = recipe or request.get("recipe") or settings.recipe
    workdir = WorkDir(home.jobs / job.id) if job else None
    hyper = hyper_of(settings, request)
    if workdir and workdir.spec_path.exists() and (workdir.outcome("prepare") or {}).get("ok"):
        hyper = workdir.spec().hyper
    only_batch = workdir is not None and any(workdir.checkpoints.glob("step-*"))
    return work_of(home, chosen, hyper, workdir), only_batch


def _size_mb(work: Work) -> float | None:
    try:
        sizes = memory.Sizes.of(work.base_hf, work.hyper.lora_rank)
    except FileNotFoundError:
        return None
    return sizes.weights_bytes / 1e6


def _seconds(jobs: Sequence[Job], work: Work) -> float | None:
    """As long as the steps of the newest run here took; None when none has run."""
    for job in jobs:
        training = job.facts.get("training") or {}
        steps, took_s = training.get("steps"), training.get("train_s")
        if job.facts.get("base_name") == work.base_hf.parent.name and steps and took_s:
            return float(took_s) / int(steps) * work.hyper.max_steps
    return None


# -- JSON --------------------------------------------------------------------------------------------------------------
def as_json(  # noqa: PLR0913, PLR0917 - what was looked at, and what came of it
    snapshot: Snapshot,
    spare: int,
    work: Work,
    factors: Mapping[Any, float],
    found: Sequence[Plan],
    decision: Decision,
    placement: Placement,
) -> dict[str, Any]:
    """The stable form; a number that nobody could measure is null."""
    return {
        "schema_version": SCHEMA_VERSION,
        "machine": {**asdict(snapshot), "others": dict(snapshot.others), "spare_bytes": spare,
                    "platform": memory.platform_name()},
        "work": {"recipe": work.recipe, "base": work.base_hf.parent.name if found[0].known else None,
                 "longest_tokens": work.longest_tokens, "ended": sorted(work.ended)},
        "factors": dict(factors),
        "plans": [{"hyper": plan.hyper.model_dump(), "stages": dict(plan.stages), "peak_bytes": plan.peak_bytes,
                   "lossless": plan.lossless, "known": plan.known} for plan in found],
        "decision": {"kind": type(decision).__name__.lower(), "why": getattr(decision, "why", None),
                     "until": getattr(decision, "until", None),
                     "granted_bytes": getattr(decision, "granted_bytes", None)},
        "placement": {"where": placement.where, "best": placement.best, "reasons": list(placement.reasons)},
    }  # fmt: skip


# -- text --------------------------------------------------------------------------------------------------------------
def screen(  # noqa: PLR0913, PLR0917 - as above
    snapshot: Snapshot,
    spare: int,
    work: Work,
    factors: Mapping[Any, float],
    decision: Decision,
    placement: Placement,
    asked: Plan,
) -> list[str]:
    """One screen for a person."""
    free = f"{size(snapshot.available_bytes)} of {size(snapshot.total_bytes)} available"
    lines = [
        f"machine    {free}, {size(max(0, spare))} if everybody takes what they may",
        *_swap(snapshot),
        f"Prime      {_prime(snapshot)}",
    ]
    lines += [f"           {safe(name)} holds {size(held)}" for name, held in snapshot.others]
    base = safe(work.base_hf.parent.name) if asked.known else "a base that was never converted: a guess"
    lines.append(f"job        {safe(work.recipe)} on {base}")
    if asked.known:
        rows = [["  " + stage, size(peak), f"{factors[stage]:.2f}"] for stage, peak in asked.stages]
        lines += text.table(["  STAGE", "PEAK", "FACTOR"], rows, text.screen_width(sys.stdout))
        lines.append(
            f"  (factor: what up to {KEPT} earlier runs took, against what was foretold;"
            f" {first_margin()} before the first)"
        )
        if work.longest_tokens is None:
            lines.append(f"  (for examples of {work.hyper.max_length_tokens} tokens: the job has not chosen any yet)")
    else:
        lines.append(f"           {size(asked.peak_bytes)} are asked for until it is")
    lines.append(f"decision   {_decision(decision)}")
    lines.append(f"place      {'this machine' if placement.where == 'local' else safe(placement.where)}")
    lines += [f"           - {safe(reason)}" for reason in placement.reasons]
    return lines


def _prime(snapshot: Snapshot) -> str:
    prime = snapshot.prime
    if not prime.alive:
        return "is not there"
    held = "does not say what it holds" if prime.held_bytes is None else f"holds {size(prime.held_bytes)}"
    reach = prime.may_reach_bytes
    grows = "what it may reach is unknown" if reach is None else f"may reach {size(reach)}"
    lends = "" if prime.leasable_bytes is None else f", could lend {size(prime.leasable_bytes)} (REACTOR_PRIME_LEASE)"
    return f"{held}, {grows}{lends}"


def _swap(snapshot: Snapshot) -> list[str]:
    """Swap does not decide anything; whether anybody waits for memory does (scarcity.py)."""
    if snapshot.scarcity:
        return [f"           memory is short: {snapshot.scarcity.words}"]
    if not snapshot.swap_used_bytes:
        return []
    return [
        f"           {size(snapshot.swap_used_bytes)} lie in swap; nobody waits for memory, so nothing waits for them"
    ]


def _decision(decision: Decision) -> str:
    why = getattr(decision, "why", None)
    names = {
        "grant": "starts now",
        "shrink": "starts now, smaller",
        "lease": "starts when Prime has lent its memory",
        "wait": "waits",
        "offload": "goes elsewhere",
        "refuse": "is refused",
    }
    name = names[type(decision).__name__.lower()]
    return f"{name}: {safe(why)}" if why else name
