"""A model in service and a candidate that has passed the gate, in a home of their own."""

from __future__ import annotations

import hashlib
import json

from support.job_world import World, make_base, make_dataset

from reactord.home import Home
from reactord.jobs import deploying
from reactord.jobs.stages import Services
from reactord.jobspec import JobSpec
from reactord.ledger.state import Job, Model
from reactord.workdir import WorkDir

MODEL_ID, VERSION = "jarvis-openhermes-tiny", "v1.1.0"
STEM = f"{MODEL_ID}-v1.1-auto-1970-01-12"
BEFORE = "jarvis-openhermes-tiny-v1.0-auto-1970-01-11.gguf"
CONTENT = b"GGUF" + bytes(range(256)) * 5
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FACTS = {
    "model_id": MODEL_ID, "version": VERSION, "dataset": "d1", "base_name": "tiny", "chosen": "Q8_0.gguf",
    "sha256": SHA256, "size_bytes": len(CONTENT), "counts": {"pairs": 2}, "training": {"steps": 24, "loss": 0.5},
    "candidate": {"accuracy": 0.9, "note": "text"}, "base": {"accuracy": 0.8},
}  # fmt: skip


class Deployment:
    """A home with a model in service (v1.0.0) and a job whose candidate has passed the gate."""

    def __init__(self, home: Home, state: str = "deploying", **facts) -> None:
        self.home, self.world = home, World(home)
        self.prime, self.drop = home.root / "models", home.reactor / "output"
        self.kept = home.models / MODEL_ID / VERSION
        self.work_dir = WorkDir(home.jobs / "j")
        self._old_model()
        self._job(state, {**FACTS, **facts})

    def _old_model(self) -> None:
        self.prime.mkdir()
        (self.prime / BEFORE).write_bytes(CONTENT[::-1])
        (self.prime / "current.gguf").symlink_to(BEFORE)
        self.world.store.put_model(
            Model(version="v1.0.0", model_id=MODEL_ID, job_id="i", created_at=1.0, fate="deployed", facts={})
        )

    def _job(self, state: str, facts: dict) -> None:
        make_dataset(self.home)
        make_base(self.home, "tiny")
        self.work_dir.create(
            JobSpec(
                job_id="j", base="tiny", home=self.home.root, upto=0, as_of=1.0, model_id=MODEL_ID, version=VERSION,
                incumbent_gguf=self.prime / BEFORE, fence=1,
            )
        )  # fmt: skip
        for name, content in (("Q8_0.gguf", CONTENT), ("f16.gguf", b"large"), ("adapter.gguf", b"small")):
            (self.work_dir.artifacts / name).write_bytes(content)
        self.work_dir.judgement_path.write_text("{}")
        now = self.world.clock()
        self.world.store.insert_job(
            Job(
                id="j", state=state, cause="", attempt=0, fence=1, created_at=now, updated_at=now,
                request={"born_of": "cli"}, facts=facts,
            )
        )  # fmt: skip

    @property
    def services(self) -> Services:
        return self.world.driver.services

    async def work(self):
        return await deploying.work(self.services, self.world.job())

    def prime_is_heard(self) -> None:
        alive = {"timestamp": self.world.clock(), "port": 1, "status": "ready"}
        self.home.prime_component.write_text(json.dumps(alive))

    def current(self) -> str:
        return str((self.prime / "current.gguf").readlink())

    def fates(self) -> dict[str, str]:
        return {model.version: model.fate for model in self.world.store.models()}

    def lineage(self) -> list[dict]:
        return [json.loads(line) for line in self.home.lineage.read_text().splitlines()]

    def announced(self) -> list[dict]:
        found = (json.loads(path.read_bytes()) for path in self.home.model_events.glob("*.json"))
        return [event for event in found if event["event_type"] == "MODEL_READY"]

    def on_the_bus(self) -> list[dict]:
        return [json.loads(line) for line in self.home.bus_lines.read_text().splitlines()]

    def left(self) -> dict:
        """All that a deployment leaves, without what its announcements may repeat under one identity."""
        return {
            "kept": {path.name: path.read_bytes() for path in self.kept.iterdir()},
            "beside": [path.name for path in self.kept.parent.iterdir()],
            "prime": sorted(path.name for path in self.prime.iterdir()),
            "placed": (self.prime / f"{STEM}.gguf").read_bytes(),
            "current": self.current(),
            "drop": {path.relative_to(self.drop).as_posix(): path.read_bytes() for path in self.drop.rglob("*.*")},
            "fates": self.fates(),
            "lineage": self.lineage(),
            "history": [event.topic for event in self.world.store.history(VERSION)],
            "previous": self.world.job().facts["previous"],
            "announced": {event["event_id"] for event in self.announced()},
            "bus": {line["event_id"] for line in self.on_the_bus()},
            "job": sorted(path.name for path in self.work_dir.root.iterdir()),
        }
