"""Who writes commands for us, what do they start, and how does a test kill in between? (contract/body.md 3.7)"""

from __future__ import annotations

import fcntl
import json
import uuid

from reactord.errors import BadRequest
from reactord.home import Home
from reactord.ipc.commands import Commands
from reactord.ipc.deadletter import DeadLetters

NOW = 1_795_281_095.0


class Killed(BaseException):
    """kill -9, as far as a test in one process can tell."""


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


class Jobs:
    """What the daemon passes in: idempotent by the job's id. It survives the reader of the commands."""

    def __init__(self):
        self.jobs, self.calls, self.trouble = {}, [], None
        self.after = None  # raised when the effect has happened

    def _called(self, name, *arguments):
        self.calls.append((name, *arguments))
        if self.trouble is not None:
            raise self.trouble

    def submit(self, job_id, payload):
        self._called("submit", job_id)
        new = job_id not in self.jobs
        self.jobs.setdefault(job_id, dict(payload))
        if self.after is not None:
            raise self.after
        return {"job_id": job_id, "new": new}

    def cancel(self, job_id):
        self._called("cancel", job_id)
        if job_id not in self.jobs:
            raise BadRequest(f"there is no job {job_id}; see `reactord jobs`")
        return {"job_id": job_id, "state": "cancelled"}

    def facts(self):
        self._called("facts")
        return {"phase": "ready", "active_jobs": 0}

    def checkpoint(self, why):
        self._called("checkpoint", why)
        return {"checkpointing": True}

    def drain(self, why):
        self._called("drain", why)
        return {"draining": True}

    @property
    def done(self):
        return [name for name, *_ in self.calls]


class Bus:
    """Both families, written as Body and Prime write them."""

    def __init__(self, home):
        self.home, self.directory = home, home.trinity / "commands"
        self.directory.mkdir(parents=True)
        self.queue = self.directory / "command_queue.json"

    def enqueue(self, *entries, **more):
        """trinity_ipc: whole-file read-modify-write under flock, temporary file and rename."""
        with (self.directory / "command_queue.json.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = json.loads(self.queue.read_text()) if self.queue.exists() else {"commands": []}
            known["commands"] = sorted([*known["commands"], *entries], key=lambda entry: entry.get("priority", 2))
            temporary = self.directory / f".command_queue.json.{uuid.uuid4().hex}.tmp"
            temporary.write_text(json.dumps(known | more, indent=2))
            temporary.replace(self.queue)

    def queued(self):
        return json.loads(self.queue.read_text())["commands"]

    def send(self, command, name=None):
        """reactor_bridge: one file, written in place."""
        path = self.directory / (name or f"{int(command['timestamp'] * 1000)}_{command['id']}.json")
        path.write_text(json.dumps(command, indent=2))
        return path

    def files(self):
        return sorted(path.name for path in self.directory.glob("*.json") if path != self.queue)

    def response(self, identity):
        return json.loads((self.home.trinity / "responses" / f"{identity}.json").read_bytes())

    def responses(self):
        return sorted(path.stem for path in (self.home.trinity / "responses").glob("*"))


def entry(identity="c1", action="train", **changes):
    return {
        "command_id": identity, "source": "jarvis_body", "target": "reactor_core", "action": action, "payload": {},
        "priority": 2, "timestamp": NOW, "timeout_seconds": 5.0, "correlation_id": None,
    } | changes  # fmt: skip


def trinity(identity="f1", intent="train", **changes):
    return {
        "id": identity, "timestamp": NOW, "source": "jarvis_body", "intent": intent, "payload": {}, "metadata": {},
        "target": "reactor_core", "priority": 5, "requires_ack": False, "response_to": None, "ttl_seconds": 30.0,
    } | changes  # fmt: skip


class World:
    """A bus with a command of each kind on it, and the daemon's lives on it."""

    def __init__(self, root, clock):
        self.home, self.clock, self.jobs = Home(root), clock, Jobs()
        self.home.create()
        self.bus = Bus(self.home)
        self.bus.enqueue(entry("c1"), entry("other", target="jarvis_body"), entry("bad", payload=7))
        self.bus.send(trinity("f1", requires_ack=True))
        self.bus.send(trinity("f2", action=7, intent=7))

    def live(self, turns):
        life = Commands(self.home, self.jobs, self.clock)
        try:
            for _ in range(turns):
                life.turn()
        finally:
            life.close()

    def is_as_it_must_be(self):
        assert self.jobs.done == ["submit", "submit"]
        assert sorted(self.jobs.jobs) == ["cmd-c1", "cmd-f1"]
        assert [left["command_id"] for left in self.bus.queued()] == ["other"]
        assert (self.bus.files(), self.bus.responses()) == ([], ["bad", "c1", "f1"])
        assert len(DeadLetters(self.home, self.clock).all()) == 2
