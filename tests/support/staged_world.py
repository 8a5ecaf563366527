"""A job's life with real worker processes (stand-ins for the stages), a real ledger and the real slot."""

from __future__ import annotations

import json
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

from support.job_world import World, make_base
from support.ledgers import line, manifest, pending

from reactord.home import Home
from reactord.ipc import dlm
from reactord.ipc import inbox as inbox_module
from reactord.ipc.inbox import Inbox
from reactord.jobs import driver as driver_module
from reactord.jobs import neighbours, reserving, worker_process
from reactord.jobs.slot import Slot
from reactord.jobs.stages import Next
from reactord.jobs.states import State
from reactord.ledger.index import Index
from reactord.workdir import STAGES, WorkDir

#: isolated and without site-packages: it starts in milliseconds
FAKE = (sys.executable, "-I", "-S", str(Path(__file__).parent / "fake_worker.py"))
FACTS: dict[str, dict[str, Any]] = {
    "prepare": {"dataset": "d1", "counts": {"pairs": 2}, "base": "base"},
    "train": {"steps": 24, "loss": 0.5},
    "export": {"files": []},
    "judge": {"verdict": "pass", "chosen": "Q8_0.gguf", "reasons": []},
}
RECORDS = 10


def patch(monkeypatch: Any) -> None:
    """Stand-ins for the stages, enough memory, short waits, and a deployment that is done at once."""

    async def deployed(services: Any, job: Any) -> Next:
        return Next("complete", "deployed")

    for module, name, value in (
        (worker_process, "WORKER_COMMAND", FAKE),
        (worker_process, "POLL_S", 0.02),
        (reserving, "look_around", lambda services, job: reserving.Snapshot(1 << 40, 1 << 40)),
        (neighbours, "survey", lambda home, now, ours, heard: reserving.Snapshot(1 << 40, 1 << 40)),
        (dlm, "SETTLE_S", 0.0),
        (inbox_module, "LOOK_EVERY_MS", 50),
        (driver_module, "LOOK_EVERY_S", 0.02),
        (driver_module, "TROUBLE_S", 0.02),
    ):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setitem(driver_module.WORK, State.DEPLOYING, deployed)


def fill(home: Home) -> dict[str, Any]:
    """Ten records in the ledger, and the dataset that the prepare stage will have made of them; its manifest."""
    lines = [line(f"e{n}") for n in range(RECORDS)]
    (home.telemetry / "interactions_20261121.jsonl").write_bytes(b"".join(one + b"\n" for one in lines))
    with closing(Inbox(home)) as inbox:
        inbox.turn()
        ids = pending(inbox.index)
    made = manifest(RECORDS, train=ids[:6], holdout=ids[6:8], waiting=ids[8:9], a_twin=ids[9:])
    directory = home.datasets / "d1"
    directory.mkdir(parents=True)
    (directory / "manifest.json").write_text(json.dumps(made))
    make_base(home)
    return made


def plan(home: Home, job_id: str = "j", **stages: dict[str, Any]) -> WorkDir:
    """What the workers of a job will do; `ok` at once where nothing is said."""
    workdir = WorkDir(home.jobs / job_id)
    workdir.root.mkdir(parents=True, exist_ok=True)
    for stage in STAGES:
        said = {"do": "ok", "facts": FACTS[stage], **stages.get(stage, {})}
        scratch = workdir.root / ".plan"
        scratch.write_text(json.dumps(said))
        scratch.rename(workdir.root / f"fake-{stage}.json")
    return workdir


def starts(workdir: WorkDir) -> list[str]:
    """The stages for which a worker was started, in order."""
    path = workdir.root / "starts"
    return [text.split()[0] for text in path.read_text().splitlines()] if path.exists() else []


class StagedWorld(World):
    """A world whose ingest thread and slot are the real ones."""

    def __init__(self, home: Home, **settings: Any) -> None:
        self._thread: threading.Thread | None = None
        super().__init__(home, inbox=Inbox(home), slot=Slot(home.locks, lambda: self.clock.now), **settings)

    def _begin(self) -> None:
        super()._begin()
        self._end_thread()
        self.inbox = Inbox(self.home)
        object.__setattr__(self.driver.services, "inbox", self.inbox)
        self._thread = threading.Thread(target=self.inbox.run, daemon=True)
        self._thread.start()

    def _end_thread(self) -> None:
        if self._thread:
            self.inbox.stop()
            self._thread.join(10)

    async def close(self) -> None:
        await self.stop()
        self._end_thread()
        self.store.close()


def fates(home: Home) -> Any:
    """Both sides of the conservation law, read from the file."""
    index = Index(home.index_db, lambda *_: None)
    try:
        return index.counts()
    finally:
        index.close()
