"""What do those who watch us want to know? (contract/body.md 1.7; /metrics as Prometheus reads it)"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from aiohttp import web
from pydantic import Field

from reactord.http.bodies import Said
from reactord.http.facade import Facade, Pulse
from reactord.http.route import Ask, Route
from reactord.jobs.negotiating import Snapshot, spare_bytes
from reactord.jobs.neighbours import held_by
from reactord.jobs.surveying import policy_of, survey
from reactord.ledger.counts import Counts
from reactord.ledger.counts import count as count_records

if TYPE_CHECKING:
    from prometheus_client import Metric

GIB = 1024**3
#: Prometheus asks every 15 s
MEASURED_FOR_S = 1.0


class Status(Said):
    """How it goes, in a few numbers."""

    status: str
    phase: str
    version: str
    pending_experiences: int
    active_jobs: int
    queued_jobs: int
    troubles: list[str]
    deployed: str | None


class Resources(Said):
    """This machine and what we take of it, memory in GiB; null is what was not measured yet."""

    memory_usage_gb: float | None = Field(description="of ours, workers included")
    memory_total_gb: float
    cpu_percent: float | None = Field(description="of ours, without workers, of one processor")
    active_training_jobs: int | None
    total_memory_gb: float
    available_memory_gb: float
    free_for_training_gb: float
    prime_memory_gb: float | None
    training_memory_gb: float
    unified_memory: bool


async def status(ask: Ask) -> dict[str, Any]:
    """For a client that wants one number, and for people."""
    facade = ask.facade
    pulse, deployed = facade.pulse(), facade.state.deployed()
    well = "degraded" if pulse.troubles else "healthy"
    return {
        "status": well if pulse.told == "ready" else pulse.told,
        "phase": pulse.told,
        "version": facade.version,
        "pending_experiences": pulse.pending_experiences,
        "active_jobs": pulse.active_jobs,
        "queued_jobs": pulse.queued_jobs,
        "troubles": list(pulse.troubles),
        "deployed": deployed and deployed.version,
    }


async def resources(ask: Ask) -> dict[str, Any]:
    """As the negotiation sees them (jobs/negotiating.py), and as the state file tells them."""
    facade = ask.facade
    live, told = facade.state.live_jobs(), facade.presence

    def look() -> Snapshot:
        return survey(facade.home, facade.clock(), held_by(facade.home, live))

    seen = await asyncio.to_thread(look)
    spare = spare_bytes(seen, policy_of(facade.settings))
    return {
        "memory_usage_gb": told and told.memory_usage_gb,
        "memory_total_gb": _gib(seen.total_bytes),
        "cpu_percent": told and told.cpu_percent,
        "active_training_jobs": told and told.active_training_jobs,
        "total_memory_gb": _gib(seen.total_bytes),
        "available_memory_gb": _gib(seen.available_bytes),
        "free_for_training_gb": _gib(max(0, spare)),
        "prime_memory_gb": None if seen.prime.held_bytes is None else _gib(seen.prime.held_bytes),
        "training_memory_gb": _gib(seen.ours_held_bytes),
        "unified_memory": seen.unified,
    }


class Measured:
    """What was told last, and when; however many ask, it is measured by one of them at a time."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.at, self.text = -math.inf, b""


MEASURED: web.AppKey[Measured] = web.AppKey("measured", Measured)


async def metrics(ask: Ask) -> web.Response:
    """Measured now, or a moment ago: every record is counted."""
    last = ask.app[MEASURED]
    async with last.turn:
        if time.monotonic() - last.at >= MEASURED_FOR_S:
            last.text, last.at = await _measured(ask.facade), time.monotonic()
    return web.Response(body=last.text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def _measured(facade: Facade) -> bytes:
    counts = await asyncio.to_thread(count_records, facade.home)
    seen = await asyncio.to_thread(survey, facade.home, facade.clock())
    return await asyncio.to_thread(_exposed, facade, facade.pulse(), counts, seen)


def _exposed(facade: Facade, pulse: Pulse, counts: Counts, seen: Snapshot) -> bytes:
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - only who is scraped pays
    from prometheus_client.registry import Collector  # noqa: PLC0415

    class Now(Collector):
        def collect(self) -> Iterable[Metric]:
            return _families(facade, pulse, counts, seen)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Now())
    return generate_latest(registry)


def _families(facade: Facade, pulse: Pulse, counts: Counts, seen: Snapshot) -> Iterable[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

    yield GaugeMetricFamily("reactord_ready", "1 while it takes requests", value=pulse.told == "ready")
    yield GaugeMetricFamily("reactord_troubles", "what keeps it from working as it should", value=len(pulse.troubles))
    yield GaugeMetricFamily("reactord_uptime_seconds", "since its start", value=facade.clock() - facade.started_at)
    yield CounterMetricFamily("reactord_received", "records that came in, known ones included", value=counts.received)
    yield CounterMetricFamily("reactord_duplicates", "records that were known already", value=counts.duplicates)
    fates = GaugeMetricFamily("reactord_records", "records by what became of them", labels=["fate"])
    rejected = sum(counts.rejected.values())
    for fate, n in (("pending", counts.pending), ("train", counts.in_datasets), ("holdout", counts.held_out),
                    ("rejected", rejected)):  # fmt: skip
        fates.add_metric([fate], n)
    yield fates
    jobs = GaugeMetricFamily("reactord_jobs", "live jobs", labels=["state"])
    jobs.add_metric(["active"], pulse.active_jobs)
    jobs.add_metric(["queued"], pulse.queued_jobs)
    yield jobs
    memory = GaugeMetricFamily("reactord_memory_bytes", "of the machine", labels=["what"])
    memory.add_metric(["total"], seen.total_bytes)
    memory.add_metric(["available"], seen.available_bytes)
    yield memory


def _gib(size: int) -> float:
    return round(size / GIB, 3)


ROUTES = (
    Route("GET", "/api/v1/status", status, "How it goes.", gives=Status),
    Route("GET", "/api/resources", resources, "The memory of this machine, and what we take of it.", gives=Resources),
    Route("GET", "/metrics", metrics, "For Prometheus.", gives={"type": "string"}, media="text/plain"),
)
