"""What does a look cost? Everything heavy stays out, and `status` fits into a blink."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli_house import House

#: what only the worker, the daemon or its sidecar may load
HEAVY = {
    "torch", "transformers", "trl", "peft", "datasets", "llama_cpp", "gguf", "numpy", "pydantic", "asyncio", "aiohttp",
    "transitions", "watchfiles", "cffi", "psutil", "http.client", "reactord.settings", "reactord.worker",
}  # fmt: skip
ML = {"torch", "transformers", "trl", "peft", "datasets", "llama_cpp", "gguf", "numpy"}
PRINT_MODULES = (
    "import sys; from reactord.cli import main; main(sys.argv[1:]); print('\\n'.join(sys.modules), file=sys.stderr)"
)
CHEAP = (["version"], ["status"], ["status", "--json"], ["jobs"], ["jobs", "job-1"], ["jobs", "--json"], ["events"],
         ["logs"], ["models"], ["ledger"], ["ledger", "--json"])  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    house = House(tmp_path_factory.mktemp("home"))
    house.trained()
    house.model("v1.0.0", "deployed", "job-1")
    house.interactions(700)
    house.job("job-2", ("admit", "its turn"), ("start", "granted"))
    for step in range(1, 25):
        house.step("job-2", step)
    house.state()
    house.close()
    return str(house.home.root)


def modules(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", PRINT_MODULES, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", CHEAP, ids=" ".join)
def test_a_cheap_verb_loads_nothing_heavy(arguments, root):
    assert not modules(*arguments, "--home", root) & HEAVY


@pytest.mark.parametrize("arguments", [["train"], ["cancel", "job-2"]], ids=" ".join)
def test_asking_the_daemon_loads_an_http_client_and_nothing_more(arguments, root):
    assert modules(*arguments, "--home", root) & HEAVY <= {"http.client"}


def test_no_verb_ever_loads_machine_learning(root):
    for verb in ("doctor",):
        assert not modules(verb, "--home", root) & ML
    every = (
        "import reactord.cli.run, reactord.cli.doctor, reactord.cli.train, reactord.demo.run, sys; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", every], capture_output=True, text=True, timeout=60, check=True)
    assert not set(done.stdout.split()) & ML


def cpu_s(*arguments):
    """User and system time of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, timeout=60, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_status_costs_little_more_than_the_libraries_it_needs(root):
    """100 ms on a quiet machine, where these imports alone take 40: a ratio does not depend on who else is working."""
    compiled = [sys.executable, "-m", "compileall", "-q", "reactord"]  # as `make install` leaves it
    subprocess.run(compiled, check=True, cwd=Path(__file__).parents[2])
    asked = ("-m", "reactord.cli", "status", "--json", "--home", root)
    pairs = [(cpu_s(*asked), cpu_s("-c", "import argparse, orjson, pathlib, sqlite3")) for _ in range(5)]
    status, needed = min(s for s, _ in pairs), min(b for _, b in pairs)
    print(f"status --json {status * 1000:.0f} ms, its libraries {needed * 1000:.0f} ms of CPU")
    assert status <= 3 * needed
