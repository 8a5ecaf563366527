"""How does a process die at one chosen system call? strace counts them, and sends SIGKILL at the n-th of a name.

strace is attached to a stopped fork of this interpreter, not started before it: so the count begins with the work, an
attempt takes hundredths of a second, and no shim of a Python manager comes between. The call itself does not happen.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import forked

#: what changes something on a disk: a death between two of these leaves what a death at the second one leaves
CHANGING = (
    "openat", "write", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "unlink", "unlinkat", "link",
    "ftruncate", "mkdir",
)  # fmt: skip
PATIENCE_S = 10.0


@functools.cache
def missing() -> str | None:
    """Why no process can be killed at a system call here, in one line; None when it can."""
    if sys.platform != "linux":
        return "killing at a system call needs Linux and strace"
    if shutil.which("strace") is None:
        return "killing at a system call needs strace: apt install strace"
    pid = forked.start(_stopped, lambda: None)
    _wait_until(lambda: _state(pid) == "T")
    tried = subprocess.Popen(["strace", "-qq", "-o", "/dev/null", "-p", str(pid)], stderr=subprocess.PIPE)
    try:
        _wait_until(lambda: _is_traced(pid) or tried.poll() is not None)
        if _is_traced(pid):
            return None
        return "killing at a system call needs the right to trace (root, or kernel.yama.ptrace_scope=0 and no seccomp)"
    finally:
        forked.kill(pid)
        tried.communicate()


def run(work: Callable[..., Any], *arguments: Any, kill_at: tuple[str, int] | None = None, log: str = "/dev/null",
        inject: str | None = None) -> int:  # fmt: skip
    """The exit status of `work` in a fork under strace; `kill_at` is a system call and which one of them, from 1."""
    told = inject or (f"{kill_at[0]}:signal=KILL:when={kill_at[1]}" if kill_at else None)
    trace = told.split(":")[0] if told else ",".join(CHANGING)
    pid = forked.start(_stopped, work, *arguments)
    _wait_until(lambda: _state(pid) == "T")
    more = ["-e", f"inject={told}"] if told else []
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", log, "-e", f"trace={trace}", *more, "-p", str(pid)], stderr=subprocess.DEVNULL
    )
    try:
        _wait_until(lambda: _is_traced(pid) or tracer.poll() is not None)
        os.kill(pid, signal.SIGCONT)
        status = forked.wait(pid)
    except BaseException:
        forked.kill(pid)
        raise
    finally:
        tracer.wait(PATIENCE_S)
    return status


def calls(log: Path, *, changing: bool = True) -> list[tuple[str, int]]:
    """Every call of an undisturbed run by name and number; `changing`: without those that failed or only read.

    Numbers count the calls of one thread, as strace's do.
    """
    found, counts, begun = [], Counter[tuple[str, str]](), dict[str, str]()
    for line in log.read_text(errors="replace").splitlines():
        thread, _, said = line.partition(" ")
        said = said.lstrip()
        if said.endswith("<unfinished ...>"):  # another thread made a call meanwhile
            begun[thread] = said
            continue
        if said.startswith("<... "):
            said = begun.pop(thread, "") + said
        match = re.match(r"(\w+)\(.*= (-?\w+)", said)
        if match is None or match[1] not in CHANGING:
            continue
        counts[thread, match[1]] += 1
        nothing = match[2] == "-1" or (match[1] == "openat" and "O_CREAT" not in said)
        if not (changing and nothing):
            found.append((match[1], counts[thread, match[1]]))
    return list(dict.fromkeys(found))


def _stopped(work: Callable[..., Any], *arguments: Any) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    work(*arguments)


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _state(pid: int) -> str:
    return _status(pid)["State"][:1]


def _is_traced(pid: int) -> bool:
    return _status(pid)["TracerPid"] != "0"


def _wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "strace did not attach in time"
        time.sleep(0.0005)
