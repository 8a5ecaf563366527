"""What does this machine have now, and what do the settings allow of it? What `negotiate` is asked with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from reactord import access
from reactord.home import Home
from reactord.jobs.negotiating import Policy, Snapshot
from reactord.jobs.planning import GIB, Bounds, Work
from reactord.jobs.scarcity import scarcity
from reactord.jobspec import Hyper
from reactord.memory import is_unified
from reactord.prime.asking import is_local
from reactord.prime.health import Health, ask
from reactord.prime.memory import holding
from reactord.prime.snapshot import REGISTRY_NAMES, look, parse_time, resident_bytes
from reactord.settings import Settings
from reactord.workdir import STAGES, WorkDir

#: our own entries in the services registry: told apart from other processes of the house
OUR_NAMES = ("reactor-core", "reactor_core")


@dataclass(frozen=True, slots=True)
class Heard:
    """What Prime said when it was asked (jobs/leasing.py). Asking takes time; so it is done elsewhere, beforehand."""

    health: Health | str | None = None
    leased: bool = False  # its memory is lent to a job of ours


UNHEARD = Heard()


def asked(home: Home, now: float) -> Health | str | None:
    """What the Prime of this machine answers at /health; blocks for two seconds at most. None: it is not here."""
    base_url = look(home, now).base_url
    return ask(base_url) if is_local(base_url) else None


def survey(home: Home, now: float, ours: Iterable[tuple[int, int]] = (), heard: Heard = UNHEARD) -> Snapshot:
    """Look at this machine. `ours`: (held, granted) bytes of each worker of ours that runs; `heard`: Prime's words."""
    memory, unified = psutil.virtual_memory(), is_unified()
    workers = list(ours)
    return Snapshot(
        total_bytes=int(memory.total),
        available_bytes=int(memory.available),
        prime=holding(look(home, now), unified=unified, health=heard.health, leased=heard.leased),
        swap_used_bytes=int(psutil.swap_memory().used),
        scarcity=scarcity(),
        ours_held_bytes=sum(held for held, _ in workers),
        ours_to_come_bytes=sum(max(0, granted - held) for held, granted in workers),
        others=tuple(_others(home)),
        unified=unified,
    )


def _others(home: Home) -> Iterable[tuple[str, int]]:
    """Body and whoever else is in the services registry, with what they hold now."""
    try:
        services = json.loads(access.read_shared(home.registry / "services.json"))
    except (OSError, ValueError, RecursionError):
        return
    for name, entry in services.items() if isinstance(services, dict) else ():
        if name in (*REGISTRY_NAMES, *OUR_NAMES) or not isinstance(entry, Mapping):
            continue
        pid = entry.get("pid")
        if isinstance(pid, int) and not isinstance(pid, bool) and pid > 0:
            held = resident_bytes(pid, parse_time(entry.get("process_start_time")))
            if held is not None:
                yield str(name)[:64], held


def policy_of(settings: Settings) -> Policy:
    """The settings' numbers in bytes and seconds."""
    limit = int(settings.max_total_memory_gb * GIB)
    return Policy(
        headroom_bytes=int(settings.memory_headroom_gb * GIB),
        limit_bytes=limit,
        reserve_bytes=min(limit, int(settings.training_memory_reserve_gb * GIB)),
        prime_threshold_bytes=min(limit, int(settings.jprime_memory_threshold_gb * GIB)),
        patience_s=settings.training_slot_timeout_s,
        look_again_s=settings.resource_check_interval_s,
        may_lease=settings.prime_lease,
    )


def bounds_of(settings: Settings, *, only_batch: bool = False) -> Bounds:
    """How far a plan may shrink."""
    return Bounds(settings.min_length_tokens, settings.min_lora_rank, only_batch=only_batch)


def hyper_of(settings: Settings, request: Mapping[str, Any]) -> Hyper:
    """The settings' numbers, with those that the request names."""
    said = settings.hyper.model_dump(exclude_unset=True)
    return Hyper.model_validate({"processes": settings.training_processes, **said, **request.get("hyper", {})})


def work_of(home: Home, recipe: str, hyper: Hyper, workdir: WorkDir | None = None) -> Work:
    """What is to be run: what a job directory knows already, else the base that was converted last."""
    outcomes = {stage: workdir.outcome(stage) or {} for stage in STAGES} if workdir else {}
    prepared = outcomes.get("prepare", {})
    known = home.base_models / str(prepared.get("base")) / "hf" if prepared.get("ok") else newest_base(home)
    longest = prepared.get("longest_example_tokens")
    return Work(
        recipe=recipe,
        base_hf=known,
        hyper=hyper,
        longest_tokens=longest if isinstance(longest, int) else None,
        ended=frozenset(stage for stage, outcome in outcomes.items() if outcome.get("ok")),
    )


def newest_base(home: Home) -> Path:
    """The Hugging Face folder of the base that was converted last (there is one per base model)."""
    bases = sorted(home.base_models.glob("*/BASE.json"), key=lambda path: path.stat().st_mtime)
    return bases[-1].parent / "hf" if bases else home.base_models / "none" / "hf"
