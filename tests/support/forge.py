"""How does a test run and kill the real train stage many times without paying for torch's imports each time?

`python -m tests.support.forge` imports everything once, then forks a worker for each line it is told:

    {"root": "/job", "kill_after_s": 0.7, "kill_when": null, "unchecked": []}  ->  {"status": -9, "took_s": 0.7}

The parent never runs a parallel operation, so its children start as a fresh process would. `unchecked` leaves out
the looks for a cold optimiser ("cold" before, "require" after it is loaded), to show what would happen without them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Forge:
    """The test's side."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.support.forge"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def train(
        self, root: Path, *, kill_after_s: float = 300.0, kill_when: Path | None = None, unchecked: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Run the train stage in this job directory; kill it after so long, or when that path is there."""
        when = str(kill_when) if kill_when else None
        request = {"root": str(root), "kill_after_s": kill_after_s, "kill_when": when, "unchecked": list(unchecked)}
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


def _child(request: dict[str, Any]) -> None:
    from reactord.worker import __main__ as worker
    from reactord.worker import warm

    os.setsid()
    for look in request["unchecked"]:
        setattr(warm, look, lambda *_: None)
    os._exit(worker.main(["train", request["root"]]))


def _life(request: dict[str, Any]) -> dict[str, Any]:
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _child(request)
    end, when = began + request["kill_after_s"], request["kill_when"]
    while (done := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > end or (when and Path(when).exists()):
            os.kill(pid, signal.SIGKILL)
            done = os.waitpid(pid, 0)
            break
        time.sleep(0.002)
    return {"status": os.waitstatus_to_exitcode(done[1]), "took_s": time.monotonic() - began}


def main() -> None:
    from reactord.worker.__main__ import set_environment

    set_environment(1, Path("/nonexistent"))
    import torch

    torch.set_num_threads(1)
    from peft.helpers import disable_input_dtype_casting  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
    from trl import DPOTrainer  # noqa: F401

    import reactord.worker.callbacks
    import reactord.worker.train  # noqa: F401 - what a worker imports

    for line in sys.stdin:
        print(json.dumps(_life(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
