"""A stand-in for `python -m reactord.worker <stage> <job_dir>`: it does what `fake-<stage>.json` there says.

{"do": "ok" | "refuse" | "crash" | "die" | "fault" | "stop" | "hang" | "talk" | "babble" | "linger", "for_s": 0.0,
 "ignore_term": false, "child": false | true | "stubborn" | "daemon", "steps": [0.1, ...], "facts": {...}}

`talk` says something new all the time, `babble` the same; `steps` are told at once, with how long each took.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

EXIT_STOPPED = 75


def _write(path: Path, value: object) -> None:
    scratch = path.with_name(f".{path.name}.fake")
    scratch.write_text(json.dumps(value))
    scratch.rename(path)


def _tell(root: Path, **line: object) -> None:
    with (root / "progress.jsonl").open("a") as progress:
        progress.write(json.dumps(line) + "\n")


def _started() -> float:
    """When this process started, as psutil says it (whose import would take longer than all the rest here)."""
    if not Path("/proc/self/stat").exists():
        return time.time()
    ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return float(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")


def _leave(*_: object) -> None:
    Path("left-at-a-checkpoint").touch()
    sys.exit(EXIT_STOPPED)


def _work(root: Path, stage: str, plan: dict[str, Any]) -> None:
    for step, took_s in enumerate(plan.get("steps", []), 1):
        _tell(root, kind="step", stage=stage, step=step, step_s=took_s)
    end, said = time.monotonic() + plan["for_s"], 0
    while time.monotonic() < end:
        if plan["do"] in ("talk", "babble"):
            said += plan["do"] == "talk"
            _tell(root, kind="work", stage=stage, text="at it", done=said, total=1000)
        time.sleep(0.02)


def main(stage: str, root: Path) -> int:
    os.chdir(root)
    with (root / "starts").open("a") as starts:
        starts.write(f"{stage} {os.getpid()}\n")
    plan = {"do": "ok", "for_s": 0.0, "facts": {}, **json.loads((root / f"fake-{stage}.json").read_text())}
    signal.signal(signal.SIGTERM, signal.SIG_IGN if plan.get("ignore_term") else _leave)
    _write(root / "worker.json", {"pid": os.getpid(), "started": _started(), "stage": stage})
    if kind := plan.get("child"):
        command = ["sleep", "60"] if kind is True else ["sh", "-c", "trap '' TERM; sleep 60 & wait; sleep 60"]
        child = subprocess.Popen(command, start_new_session=kind == "daemon")
        (root / "child").write_text(str(child.pid))
    _work(root, stage, plan)
    match plan["do"]:
        case "crash":
            return 3
        case "fault":
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGSEGV)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            return EXIT_STOPPED
        case "hang":
            time.sleep(60)
        case "refuse":
            refusal = {"ok": False, "error": "BadRecord", "cause": "bad_data", "message": "no; send something else"}
            _write(root / f"outcome-{stage}.json", {"stage": stage, **refusal, **plan["facts"]})
            return 1
    _write(root / f"outcome-{stage}.json", {"ok": True, "stage": stage, **plan["facts"]})
    if plan["do"] == "linger":
        time.sleep(60)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
