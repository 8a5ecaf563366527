"""Is this machine ready? One line for each thing that must hold, and what cures it where it does not."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from reactord import access
from reactord.cli import presence, text
from reactord.cli.exits import DEGRADED, OK
from reactord.cli.text import Paint, path_text, safe, size
from reactord.cli.view import SCHEMA_VERSION, rows_of
from reactord.errors import MissingCompiler, ReactordError
from reactord.home import Home
from reactord.http import token
from reactord.http.sockets import LOOPBACK
from reactord.ipc.doors import entrances
from reactord.ledger.counts import count
from reactord.settings import Settings, load

MIN_PYTHON = (3, 11)
#: of the embedded model, measured: base 0.9 GB, a job's ladder 0.7, checkpoints 0.2, the placed copies 0.4; and air
MIN_FREE_BYTES = 3 * 10**9
MIN_MEMORY_BYTES = 4 * 10**9
#: what `pip install jarvis-reactord[train]` brings; found, never imported
TRAIN_MODULES = ("torch", "transformers", "trl", "peft", "gguf", "llama_cpp")
BASE_TIMEOUT_S = 60.0
#: asks the worker's own finder in its own process: this one never imports what the worker may import
FIND_BASE = """
import sys
from reactord.errors import ReactordError
from reactord.worker.base import find
try:
    print(find(sys.argv[1]).path)
except ReactordError as trouble:
    sys.exit(str(trouble))
"""
#: a clock before this release was written is wrong: records would be as old as 1970
RELEASED_AT = 1_763_000_000
CLOCK_SKEW_S = 120.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: whether it holds, what was found, and the cure."""

    name: str
    ok: bool
    found: str
    cure: str = ""


def command(home: Home, options: argparse.Namespace) -> int:
    """Check everything; exit 4 when something is not as it must be."""
    findings = [finding for check in CHECKS for finding in _made(check, home)]
    fine = all(finding.ok for finding in findings)
    if options.json:
        checks = [asdict(finding) for finding in findings]
        text.say(text.json_text({"schema_version": SCHEMA_VERSION, "ok": fine, "checks": checks}))
    else:
        paint = Paint.on_stream(sys.stdout)
        for finding in findings:
            mark = paint("green", "✓") if finding.ok else paint("red", "✗")
            text.say(f"{mark} {finding.name:<12} {safe(finding.found)}")
            if finding.cure:
                text.say(f"  {'':12} {paint('yellow', '→ ' + safe(finding.cure))}")
    return OK if fine else DEGRADED


def _made(check: Check, home: Home) -> list[Finding]:
    """The findings of one check; a check that cannot be made is a finding too."""
    try:
        return check(home)
    except OSError as trouble:
        where = path_text(trouble.filename or home.root)
        return [Finding(check.__name__.strip("_"), False, f"{where}: {trouble.strerror}",
                        cure=f"let yourself read it: ls -ld {where}")]  # fmt: skip


# -- this machine ----------------------------------------------------------------------------------------------------
def _python(_: Home) -> list[Finding]:
    found = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info >= MIN_PYTHON
    return [Finding("python", ok, found, "" if ok else "install Python 3.11 or newer, then: make install")]


def _kernels(_: Home) -> list[Finding]:
    """Built, of the right version, and right about two equal texts and a different one."""
    try:
        from reactord.kernels import ABI_VERSION
        from reactord.kernels.minhash import near_duplicates

        labels = near_duplicates(["one two three four", "One two  three FOUR", "five six seven eight"])
    except MissingCompiler as missing:
        return [Finding("kernels", False, "not built", str(missing))]
    ok = labels == [0, 0, 2]
    found = f"version {ABI_VERSION}, self-test {'passed' if ok else 'FAILED'}"
    return [Finding("kernels", ok, found, "" if ok else "build them again: make install")]


def _compiler(_: Home) -> list[Finding]:
    """Needed only to build the kernels: its absence is told, not held against the machine."""
    path = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    return [Finding("C compiler", True, path or "none; the kernels are built already, a rebuild would need one")]


def _train_extra(_: Home) -> list[Finding]:
    missing = [name for name in TRAIN_MODULES if importlib.util.find_spec(name) is None]
    if not missing:
        return [Finding("training", True, ", ".join(TRAIN_MODULES))]
    return [Finding("training", False, f"missing: {', '.join(missing)}", "make install")]


def _home(home: Home) -> list[Finding]:
    path = home.reactor
    if home.root.exists() and not home.root.is_dir():
        return [Finding("home", False, f"{path_text(home.root)} is no directory", "choose another one: --home DIR")]
    if not path.exists():
        return [Finding("home", True, f"{path_text(home.root)}: not made yet, `reactord run` makes it")]
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        cure = f"make it yours: chown -R $USER {path_text(home.root)}"
        return [Finding("home", False, f"{path_text(path)} is not writable", cure)]
    mode = stat.S_IMODE(path.stat().st_mode)
    private = mode & 0o077 == 0
    cure = "" if private else f"others can read what was said to the assistant: chmod 700 {path_text(path)}"
    return [Finding("home", private, f"{path_text(path)}, writable, mode {mode:04o}", cure), *_open_doors(home)]


def _open_doors(home: Home) -> list[Finding]:
    """Directories where every user may write: the daemon takes nothing in from there."""
    doors = [entrance.directory for entrance in entrances(home)]
    wrong = [place for place in doors if access.is_open(place)]
    wrong += access.exposed(home.root)
    return [
        Finding("bus", False, f"every user may write {path_text(place)}", f"close it: chmod o-w {path_text(place)}")
        for place in dict.fromkeys(wrong)
    ]


def _disk(home: Home) -> list[Finding]:
    place = next(path for path in (home.root, *home.root.parents) if path.exists())
    free = shutil.disk_usage(place).free
    ok = free >= MIN_FREE_BYTES
    cure = "" if ok else f"free some space, or choose another disk with --home: a run needs {size(MIN_FREE_BYTES)}"
    return [Finding("disk", ok, f"{size(free)} free at {path_text(place)}", cure)]


def _memory(_: Home) -> list[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    ok = memory.available >= MIN_MEMORY_BYTES
    cure = "" if ok else "jobs wait until memory is free; the embedded model wants 4 GB: close something"
    return [Finding("memory", ok, f"{size(memory.available)} available of {size(memory.total)}", cure)]


# -- the settings, and what they name ----------------------------------------------------------------------------------
def _with_settings(home: Home) -> list[Finding]:
    try:
        settings = load(home)
    except ReactordError as trouble:
        return [Finding("settings", False, "cannot be used", str(trouble))]
    found = path_text(home.config) if home.config.exists() else "the defaults, and the environment"
    return [Finding("settings", True, found), *_base(settings), *_daemon(home, settings), *_reach(home, settings)]


def _base(settings: Settings) -> list[Finding]:
    """The base model is there and is what it should be (its checksum)."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", FIND_BASE, settings.base_model],
            capture_output=True, text=True, timeout=BASE_TIMEOUT_S, check=False, errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [Finding("base model", False, settings.base_model, f"not read in {BASE_TIMEOUT_S:.0f} s; try again")]
    if done.returncode == 0:
        return [Finding("base model", True, f"{settings.base_model}: {done.stdout.strip()}")]
    words = done.stderr.strip().splitlines()
    return [Finding("base model", False, settings.base_model, words[-1] if words else "make install")]


def _daemon(home: Home, settings: Settings) -> list[Finding]:
    daemon = presence.look(home)
    if daemon.running:
        found = f"running, process {daemon.pid}, {safe(daemon.state)}"
        troubles = "; ".join(daemon.errors)
        return [
            Finding("daemon", not daemon.errors, found, f"{troubles}; see: reactord logs" if troubles else ""),
            Finding("port", True, f"{daemon.port}, ours"),
        ]
    free = _is_free(settings.port)
    cure = (
        "" if free else f"see who has it: ss -ltnp 'sport = :{settings.port}'; or choose another: reactord run --port N"
    )
    return [
        Finding("daemon", True, "not running; start it: reactord run"),
        Finding("port", free, f"{settings.port} is {'free' if free else 'taken by another program'}", cure),
    ]


def _reach(home: Home, settings: Settings) -> list[Finding]:
    """Who else may ask: other machines, with the token, and who knows us by older ports."""
    found = []
    if settings.host not in LOOPBACK:
        try:
            known = token.read(home.http_token) is not None
        except ReactordError as trouble:
            return [Finding("reach", False, f"{settings.host}, and others may know its token", str(trouble))]
        where = f"the token in {path_text(home.http_token)}"
        words = f"{settings.host}, for whoever sends {where}" + ("" if known else ", made at the next start")
        found.append(Finding("reach", True, f"{words}; it is not encrypted on its way"))
    if settings.aliases and not presence.is_alive(home):
        taken = [port for port in settings.aliases if not _is_free(port)]
        words = ", ".join(f"{port} {'taken' if port in taken else 'free'}" for port in settings.aliases)
        cure = f"free {', '.join(map(str, taken))}, or take it out of REACTOR_ALIAS_PORTS" if taken else ""
        found.append(Finding("alias ports", not taken, words, cure))
    return found


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the daemon does: old connections do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


# -- the house ---------------------------------------------------------------------------------------------------------
def _ledger(home: Home) -> list[Finding]:
    """Both databases can be read, and every record is accounted for."""
    try:
        counts = count(home)
    except sqlite3.Error as trouble:
        cure = "the daemon makes the index anew from the journal when it starts: reactord run"
        return [Finding("ledger", False, f"index.db: {trouble}", cure)]
    try:
        with rows_of(home) as rows:
            checked = str(rows.db.execute("PRAGMA quick_check(1)").fetchone()[0]) if rows else "ok"
    except sqlite3.Error as trouble:
        checked = str(trouble)
    if checked != "ok":
        return [Finding("ledger", False, f"state.db: {checked}", f"restore {path_text(home.state_db)} from a backup")]
    cure = "" if counts.balanced else "please report the output of: reactord ledger --json"
    found = f"{counts.received} received, {'balanced' if counts.balanced else 'DOES NOT BALANCE'}"
    return [Finding("ledger", counts.balanced, found, cure)]


def _prime(home: Home) -> list[Finding]:
    """Prime need not be there: then the next one to start loads what was deployed."""
    from reactord.prime.snapshot import look

    now = time.time()
    prime = look(home, now)
    if prime.heard_at is None:
        return [Finding("Prime", True, "never heard here; the next one to start loads current.gguf")]
    ago = text.duration(now - prime.heard_at)
    return [Finding("Prime", True, f"{prime.status or 'silent'}, last heard {ago} ago")]


def _clock(home: Home) -> list[Finding]:
    """Not before this release, and not behind what the daemon wrote."""
    now, heard_at = time.time(), presence.look(home).heard_at
    ok = now > RELEASED_AT and (heard_at is None or heard_at < now + CLOCK_SKEW_S)
    return [Finding("clock", ok, text.clock(now), "" if ok else "set it: timedatectl set-ntp true")]


Check = Callable[[Home], list[Finding]]
CHECKS: tuple[Check, ...] = (
    _python, _kernels, _compiler, _train_extra, _home, _disk, _memory, _with_settings, _ledger, _prime, _clock,
)  # fmt: skip
