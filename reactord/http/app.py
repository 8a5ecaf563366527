"""Which paths are there? Each route parses, calls and answers; what it says is in views.py."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from reactord.errors import BadRequest, EnvironmentTrouble
from reactord.http import intake, views
from reactord.http.facade import Facade
from reactord.http.guards import (
    FACADE,
    RETRY_AFTER_S,
    answer,
    errors_are_json,
    from_this_machine,
    only_when_ready,
    refuse,
)
from reactord.http.stream import STREAMS, Streams, stream
from reactord.jobs.states import LIVE, State
from reactord.jobs.triggers import JobRequest
from reactord.ledger.state import Job
from reactord.workdir import WorkDir

#: of one body, after decompression: ten thousand experiences inline (contract/body.md 0.8)
MAX_BODY_BYTES = 16 * 1024 * 1024
BODY_TIMEOUT_S = 30.0
#: the ingest thread answers within a look; longer means that it is stuck on a disk
TAKE_TIMEOUT_S = 30.0
CAUSE = "asked for over HTTP"


def build(facade: Facade) -> web.Application:
    """The application. It answers /health before `facade` is ready, and everything else afterwards."""
    app = web.Application(
        middlewares=[errors_are_json, from_this_machine, only_when_ready], client_max_size=MAX_BODY_BYTES
    )
    app[FACADE] = facade
    app[STREAMS] = Streams()
    app.on_shutdown.append(_end_streams)
    app.router.add_get("/health", health)
    app.router.add_get("/api/health", health)
    app.router.add_get("/health/ready", ready)
    app.router.add_post("/api/training/start", start)
    app.router.add_get("/api/training/status/{job_id}", status)
    app.router.add_get("/api/training/stream/{job_id}", stream, allow_head=False)
    app.router.add_post("/api/training/cancel/{job_id}", cancel)
    return app


async def _end_streams(app: web.Application) -> None:
    app[STREAMS].end()


async def health(request: web.Request) -> web.Response:
    """GET /health, /api/health: 200 in every phase."""
    facade = request.app[FACADE]
    uptime_s = facade.clock() - facade.started_at
    return answer(views.health(facade.pulse(), version=facade.version, uptime_s=uptime_s))


async def ready(request: web.Request) -> web.Response:
    """GET /health/ready: 200 or 503, for those who look at nothing else."""
    if request.app[FACADE].pulse().phase == "ready":
        return answer({"ready": True})
    return answer({"ready": False}, 503, {"Retry-After": str(RETRY_AFTER_S)})


async def start(request: web.Request) -> web.Response:
    """POST /api/training/start: 200 once the experiences are durable and the job is queued; idempotent by job_id."""
    facade = request.app[FACADE]
    raw = await _body(request)
    order = await asyncio.to_thread(intake.understand, raw, facade.clock())
    if known := facade.job(order.job.job_id):
        return answer(_started(known, "this job is known already; nothing was taken again", order.ignored))
    documents = await asyncio.to_thread(intake.documents, order, facade.home)
    job, new = await _queue(facade, order.job.model_copy(update={"experiences": documents.items}), documents)
    message = f"{documents.items} experiences taken, {new} of them new; the job is {job.state}"
    return answer(_started(job, message, order.ignored) | {"experiences": documents.items, "experiences_new": new})


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except web.RequestPayloadError as damage:
        raise BadRequest(f"the body cannot be read ({damage}); send it again, whole") from None


async def _queue(facade: Facade, request: JobRequest, documents: intake.Documents) -> tuple[Job, int]:
    """Make the experiences durable, then the job. A retry after any crash in between doubles neither."""
    try:
        offers = [
            facade.offer(intake.FORMAT, f"{request.job_id}.{part}.json", raw)
            for part, raw in enumerate(documents.parts)
        ]
        async with asyncio.timeout(TAKE_TIMEOUT_S):
            new = sum(await asyncio.gather(*map(asyncio.wrap_future, offers)))
        job, _ = facade.submit(request, CAUSE)
    except TimeoutError:
        raise EnvironmentTrouble(f"the ledger did not answer in {TAKE_TIMEOUT_S:.0f} s; send it again later") from None
    except (OSError, sqlite3.Error) as trouble:
        raise EnvironmentTrouble(f"the ledger cannot write ({trouble}); make room and send it again") from None
    return job, new


def _started(job: Job, message: str, ignored: Mapping[str, str]) -> dict[str, Any]:
    reply = {
        "job_id": job.id,
        "status": "started",
        "state": job.state,
        "message": message,
        "started_at": job.created_at,
    }
    return reply | ({"ignored": dict(ignored)} if ignored else {})


async def status(request: web.Request) -> web.Response:
    """GET /api/training/status/{job_id}."""
    facade = request.app[FACADE]
    job = facade.job(request.match_info["job_id"])
    if job is None:
        return _no_such_job()
    lines = WorkDir(facade.home.jobs / job.id).recent_progress()
    return answer(views.status(job, views.fold_all(lines)))


async def cancel(request: web.Request) -> web.Response:
    """POST /api/training/cancel/{job_id}: 200 means that the job ends, or has ended, as cancelled."""
    facade, job_id = request.app[FACADE], request.match_info["job_id"]
    job = facade.job(job_id)
    if job is None:
        return _no_such_job()
    if job.state in LIVE and job.state != State.DEPLOYING:
        job = facade.cancel(job_id) or job
    elif job.state != State.CANCELLED:
        return refuse(409, f"the job is {job.state}, past cancelling; see /api/training/status")
    return answer({"job_id": job.id, "cancelled": True, "state": job.state, "message": "the job is being cancelled"})


def _no_such_job() -> web.Response:
    return refuse(404, "there is no such job; see `reactord jobs`")
