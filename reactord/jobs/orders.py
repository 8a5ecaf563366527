"""How does a command become a job? The executor of `ipc/commands.py`: it asks the driver, on the driver's own loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from pydantic import ValidationError

from reactord.errors import BadRequest, EnvironmentTrouble
from reactord.jobs.driver import Driver
from reactord.jobs.states import State
from reactord.jobs.triggers import LANGUAGE, JobRequest
from reactord.ledger.state import Job

T = TypeVar("T")
#: a loop that does not answer for so long is busy or ending: the command is tried again later
ANSWER_S = 10.0
STOPPING = "the daemon is stopping; the command is done after its next start"


class Orders:
    """Called from the thread of the commands. Every method is idempotent. `ended` is set before the store is closed."""

    def __init__(self, driver: Driver, phase: Callable[[], str], ended: threading.Event) -> None:
        self.loop, self.driver, self.phase, self.ended = asyncio.get_running_loop(), driver, phase, ended

    def submit(self, job_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        model_type = payload.get("model_type") or "llm"
        if model_type not in LANGUAGE:
            raise BadRequest(f"model_type is not known; send one of {', '.join(LANGUAGE)}")
        try:
            request = JobRequest(
                job_id=job_id,
                born_of="command",
                model_type=model_type,
                recipe=payload.get("recipe"),
                priority=payload.get("priority") or None,
                needs_experiences=payload.get("needs_experiences"),
                needs_dataset=payload.get("needs_dataset"),
            )
        except ValidationError as invalid:
            first = invalid.errors()[0]
            raise BadRequest(f"`{first['loc'][0]}`: {first['msg']}; correct it and send a new command") from None
        job, new = self._ask(lambda: self.driver.submit(request, "asked for by a command"))
        return {"job_id": job.id, "state": job.state, "new": new}

    def cancel(self, job_id: str) -> Mapping[str, Any]:
        job = self._ask(lambda: self.driver.cancel(job_id))
        if job is None:
            raise BadRequest(f"there is no job {job_id[:128]!a}; see: reactord jobs")
        return {"job_id": job.id, "state": job.state}

    def facts(self) -> Mapping[str, Any]:
        def look() -> list[Job]:
            return self.driver.services.store.live_jobs()

        live = self._ask(look)
        queued = sum(job.state == State.QUEUED for job in live)
        return {
            "phase": self.phase(),
            "running": self.driver.running,
            "active_jobs": len(live) - queued,
            "queued_jobs": queued,
            "pending_experiences": self.driver.services.inbox.intake.fresh,
            "draining": self.driver.draining,
        }

    def checkpoint(self, why: str) -> Mapping[str, Any]:
        return {"job_id": self._ask(lambda: self.driver.checkpoint(why))}

    def drain(self, why: str) -> Mapping[str, Any]:
        self._ask(lambda: self.driver.drain(why))
        return {"draining": True}

    def _ask(self, work: Callable[[], T]) -> T:
        answer: Future[T] = Future()

        def do() -> None:
            if not answer.set_running_or_notify_cancel():
                return
            try:
                if self.ended.is_set():
                    raise EnvironmentTrouble(STOPPING)
                answer.set_result(work())
            except Exception as error:  # noqa: BLE001 - the thread that asked gets it, whatever it is
                answer.set_exception(error)

        try:
            self.loop.call_soon_threadsafe(do)
        except RuntimeError:  # the loop is closed
            raise EnvironmentTrouble(STOPPING) from None
        try:
            return answer.result(ANSWER_S)
        except TimeoutError:
            answer.cancel()
            raise
