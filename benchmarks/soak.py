"""Does the ingest stay small? Its memory through a backlog of 200,000 files and a million records.

First 200,000 drop files of one record lie at the door before it starts, then packets of ten records come in portions
until a million records are in. The files are written by another process; this one is the ingest as the daemon runs it.
Prints one JSON object: the resident memory before, its peak, how much it grew in the last fifth (SQLite's cache is full
by then), and records/s by the number of records that the index has already. Takes a minute or two.

    python benchmarks/soak.py [records] [backlog]
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import psutil
from support.disk import workplace

from reactord.home import Home
from reactord.ipc.inbox import Inbox
from reactord.ledger.counts import count

PORTION_FILES, RECORDS_A_FILE, RECORD_BYTES = 10_000, 10, 600
SETTLED = 0.8


def write(directory: Path, files: int, records: int, first: int) -> None:
    """Have another process write `files` packets."""
    code = (
        "import sys; from pathlib import Path; from ingest import fill\n"
        f"fill(Path(sys.argv[1]), {files}, {records}, {RECORD_BYTES}, {first})"
    )
    subprocess.run([sys.executable, "-c", code, str(directory)], cwd=Path(__file__).parent, check=True)


def main(records: int = 1_000_000, backlog: int = 200_000) -> None:
    process = psutil.Process()
    with workplace() as (place, disk):
        home = Home(place / "home")
        home.create()
        before = process.memory_info().rss
        inbox = Inbox(home)
        sizes, rates, inside = [], [], 0
        while inside < records:
            files, each = (PORTION_FILES, RECORDS_A_FILE) if inside else (backlog, 1)
            write(home.events, files, each, inside)
            portion = files * each
            began = time.perf_counter()
            inbox.turn()
            rates.append((inside, round(portion / (time.perf_counter() - began))))
            inside += portion
            sizes.append((inside, process.memory_info().rss))
            print(f"{inside} records, {sizes[-1][1] >> 20} MiB, {rates[-1][1]} records/s", file=sys.stderr, flush=True)
        inbox.close()
        assert count(home).received == inside
        settled_at, settled = next(size for size in sizes if size[0] >= SETTLED * records)
        found = {
            "disk": disk,
            "rss_before_mb": before >> 20,
            "rss_after_backlog_mb": sizes[0][1] >> 20,
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            "growth_mb_per_million": round((sizes[-1][1] - settled) / (inside - settled_at) * 1e6 / 2**20, 2),
            "records_per_s": {f"from_{number}": rate for number, rate in rates},
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
