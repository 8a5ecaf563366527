"""What does a job directory contain? The protocol between the daemon and the worker.

    spec.json              what to do; written by the daemon. Once a dataset is chosen only two things may change: the
                           batch gets smaller after a run that was too large; the model to be better than, a newer one
    dataset                link to datasets/<sha256>
    worker.json            who works here: pid, process start, boot id, stage - enough to adopt or bury a worker
    progress.jsonl         append-only, one object a line: at, stage, kind (note, work, step, checkpoint), data
    checkpoints/step-*/    complete when COMPLETE.json exists and verifies
    artifacts/             trained/, *.gguf while in the making
    outcome-<stage>.json   written once, atomically: success with facts, or an error class and the next thing to do
    judgement.json         the gate's evidence and verdict
    grant.json             what memory the daemon granted the worker; the worker limits itself by it
    pressure               how short of memory the machine is, while it is; read by the trainer between steps
    ranks/                 where processes that train together find each other, while they do

The directory is everything a worker needs and everything it leaves, so it runs the same way in another process, under
torchrun, or on another machine after a copy.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson

from reactord import durable

if TYPE_CHECKING:
    from reactord.jobspec import JobSpec

Stage = Literal["prepare", "train", "export", "judge"]
STAGES: tuple[Stage, ...] = ("prepare", "train", "export", "judge")
#: exit status of a worker that was asked to stop: EX_TEMPFAIL, "run me again"
EXIT_STOPPED = 75
MAX_PROGRESS_LINE_BYTES = 32 * 1024
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class WorkDir:
    """The paths of one job directory, and the few writes both sides do to it."""

    root: Path

    @property
    def spec_path(self) -> Path:
        return self.root / "spec.json"

    @property
    def dataset(self) -> Path:
        return self.root / "dataset"

    @property
    def worker_path(self) -> Path:
        return self.root / "worker.json"

    @property
    def progress_path(self) -> Path:
        return self.root / "progress.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def judgement_path(self) -> Path:
        return self.root / "judgement.json"

    @property
    def grant_path(self) -> Path:
        return self.root / "grant.json"

    @property
    def pressure_path(self) -> Path:
        return self.root / "pressure"

    @property
    def worker_log(self) -> Path:
        return self.root / "worker.log"

    def outcome_path(self, stage: Stage) -> Path:
        return self.root / f"outcome-{stage}.json"

    def create(self, spec: JobSpec) -> None:
        """Lay out the directory and write its spec; whatever else is there stays."""
        for path in (self.root, self.checkpoints, self.artifacts):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        durable.publish(self.spec_path, spec.model_dump_json(indent=2).encode())

    def spec(self) -> JobSpec:
        from reactord.jobspec import JobSpec  # noqa: PLC0415 - pydantic is 70 ms that a look at the progress never needs

        return JobSpec.model_validate_json(self.spec_path.read_bytes())

    def progress(self, stage: Stage, kind: str, **data: Any) -> None:  # noqa: ANN401 - JSON values
        """Append one line. Not fsynced: losing the last line in a power cut costs a picture, not a result."""
        line = orjson.dumps({"at": time.time(), "stage": stage, "kind": kind, **data})
        if len(line) > MAX_PROGRESS_LINE_BYTES:
            raise ValueError(f"a progress line of {len(line)} bytes: put large results into the outcome instead")
        durable.append(self.progress_path, line + b"\n", sync=False)

    def recent_progress(self, size_bytes: int = 64 * 1024) -> list[dict[str, Any]]:
        """The last whole lines of progress.jsonl, oldest first; what is torn at either end is left out."""
        try:
            with self.progress_path.open("rb") as file:
                start = max(0, file.seek(0, 2) - size_bytes)
                file.seek(start)
                lines = file.read().split(b"\n")[1 if start else 0 : -1]
        except FileNotFoundError:
            return []
        return [value for line in lines if (value := parse_progress(line)) is not None]

    def outcome(self, stage: Stage) -> dict[str, Any] | None:
        """The outcome of a stage, or None while there is none."""
        try:
            value: dict[str, Any] = orjson.loads(self.outcome_path(stage).read_bytes())
        except FileNotFoundError:
            return None
        return value

    def write_outcome(self, stage: Stage, facts: dict[str, Any]) -> None:
        """Write the outcome once; a second writer (a worker that should be dead) changes nothing."""
        data = orjson.dumps({"stage": stage, "at": time.time(), **facts}, option=orjson.OPT_INDENT_2)
        if not self.outcome_path(stage).exists():
            durable.publish(self.outcome_path(stage), data)

    def set_outcome_aside(self, stage: Stage, fence: int) -> None:
        """Make room for another try; what the last one said is kept beside it."""
        path = self.outcome_path(stage)
        if path.exists():
            durable.move(path, path.with_name(f"outcome-{stage}.run-{fence}.json"))


def boot_id() -> str:
    """Which boot of the machine this is; empty where the system does not say."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def parse_progress(line: bytes) -> dict[str, Any] | None:
    """A line of progress; None for one that a crash tore, or that was appended to a torn one."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
