"""A stand-in for the work of every state, and a state.db that takes nothing more: what the driver does is its own."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from typing import NoReturn

import pytest
from support.job_world import World

from reactord.jobs import driver as module
from reactord.jobs.stages import Next, Services
from reactord.jobs.states import State
from reactord.ledger.state import Job

WORKING = [State.RESERVING, State.TRAINING, State.EXPORTING, State.DEPLOYING]
GOES_ON = {"reserving": "start", "training": "export", "exporting": "deploy", "deploying": "complete"}


class Work:
    """Does every state's work at once, unless told otherwise: `plan[state]` is called first."""

    def __init__(self) -> None:
        self.plan: dict[str, Callable[[Services, Job], Awaitable[Next | None]]] = {}
        self.calls: list[str] = []
        self.interrupted: list[str] = []

    async def __call__(self, services: Services, job: Job) -> Next:
        self.calls.append(job.state)
        try:
            if job.state in self.plan and (said := await self.plan[job.state](services, job)):
                return said
        except asyncio.CancelledError:
            self.interrupted.append(job.state)
            raise
        return Next(
            GOES_ON[job.state], "done", {"fence": len(self.calls), "upto": 7} if job.state == "reserving" else {}
        )

    def does(self, state: str, result: Next | None = None, error: Exception | None = None, times: int = 10**6) -> None:
        """Return or raise something, the first so many times."""
        left = [times]

        async def act(services: Services, job: Job) -> Next | None:
            if left[0] <= 0:
                return None
            left[0] -= 1
            if error:
                raise error
            return result

        self.plan[state] = act

    def waits(self, state: str, event: asyncio.Event | None = None) -> None:
        async def act(services: Services, job: Job) -> None:
            await (event or asyncio.Event()).wait()

        self.plan[state] = act


def stand_in(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Work for every state, in a driver that looks often and waits briefly."""
    made = Work()
    put_in(monkeypatch, made)
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(module, "TROUBLE_S", 0.01)
    return made


def put_in(monkeypatch: pytest.MonkeyPatch, work: Work) -> None:
    monkeypatch.setattr(module, "WORK", dict.fromkeys(WORKING, work))


def fill_disk(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """state.db takes nothing more."""

    def refuse(*arguments: object, **more: object) -> NoReturn:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(world.store, "update_job", refuse)
