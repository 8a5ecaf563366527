"""What can be asked of us by a command, and how is each answered?

`ACTIONS` is the whole list. What is done is behind `Executor`, so nothing here knows of jobs.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from reactord.errors import BadRequest
from reactord.ipc.command_queue import ME, Command
from reactord.ipc.presence import encode


class Executor(Protocol):
    """What can be asked for. Called from the thread of `turn`. Every method must bear being called twice.

    Raises BadInput when it cannot be done as it was asked for; OSError, sqlite3.OperationalError or EnvironmentTrouble
    when it may succeed later. What is returned becomes the `result` of the answer.
    """

    def submit(self, job_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Queue a training job, idempotent by its id."""
        ...

    def cancel(self, job_id: str) -> Mapping[str, Any]:
        """Stop a job."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """How the daemon is doing."""
        ...

    def checkpoint(self, why: str) -> Mapping[str, Any]:
        """Have the running worker write down what it learned; its job must not be lost."""
        ...

    def drain(self, why: str) -> Mapping[str, Any]:
        """Begin no new jobs; what runs may end."""
        ...


Action = Callable[[Executor, Command], Mapping[str, Any]]


def _train(executor: Executor, command: Command) -> Mapping[str, Any]:
    return executor.submit(_job_id(command, f"cmd-{command.identity}"), command.payload)


def _cancel(executor: Executor, command: Command) -> Mapping[str, Any]:
    return executor.cancel(_job_id(command, None))


def _checkpoint(executor: Executor, command: Command) -> Mapping[str, Any]:
    return executor.checkpoint(f"{command.source or 'somebody'} announced a shutdown{_reason(command)}")


def _drain(executor: Executor, command: Command) -> Mapping[str, Any]:
    return executor.drain(f"{command.source or 'somebody'} asked to drain{_reason(command)}")


def _facts(executor: Executor, command: Command) -> Mapping[str, Any]:
    del command
    return executor.facts()


ACTIONS: dict[str, Action] = {
    "train": _train,
    "start_training": _train,
    "cancel_training": _cancel,
    "status": _facts,
    "ping": _facts,
    "shutdown_announce": _checkpoint,
    "drain": _drain,
}


def _job_id(command: Command, default: str | None) -> str:
    said = command.payload.get("job_id", default)
    if isinstance(said, str) and said:
        return said
    raise BadRequest("the payload names no job; send payload.job_id as text")


def _reason(command: Command) -> str:
    said = command.payload.get("reason")
    return f": {said[:200]}" if isinstance(said, str) and said else ""


def answer_to_queue(identity: str, now: float, *, error: str | None = None, result: object = None) -> bytes:
    """The response document of trinity_ipc."""
    said = {
        "response_id": uuid.uuid4().hex[:8],
        "command_id": identity,
        "source": ME,
        "success": error is None,
        "result": result,
        "error": error,
        "timestamp": now,
    }
    return encode(said)


def answer_to_file(command: Command, now: float, *, error: str | None = None, result: object = None) -> bytes:
    """ACK or NACK, itself a TrinityCommand."""
    said = {
        "id": str(uuid.uuid4()),
        "timestamp": now,
        "source": ME,
        "intent": "ack" if error is None else "nack",
        "payload": {"success": error is None, "message": error or f"{command.action} is done", "result": result},
        "metadata": {},
        "target": command.source,
        "priority": 5,
        "requires_ack": False,
        "response_to": command.identity,
        "ttl_seconds": 3600.0,
    }
    return encode(said)
