"""How do Body and its older versions treat the shared lock? (contract/body.md 5; RELIABILITY.md 5)

Written from the measured rules, with nothing of ours: what these classes and reactord agree on is the contract.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import uuid
from pathlib import Path
from typing import Any

import psutil

MANDATORY = ("acquired_at", "expires_at", "owner", "token", "lock_name")
KEYS = (*MANDATORY, "process_start_time", "process_name", "process_cmdline", "machine_id", "backend", "fencing_token",
        "repo_source", "extensions")  # fmt: skip


def metadata(
    name: str, token: str, ttl_s: float, *, pid: int | None = None, now: float | None = None
) -> dict[str, Any]:
    """The thirteen keys as Body writes them for the process `pid`."""
    process, now = psutil.Process(pid or os.getpid()), time.time() if now is None else now
    started = process.create_time()
    values = (now, now + ttl_s, f"jarvis-{process.pid}-{started:.1f}", token, name, started, process.name(), "",
              "linux-here", "file", 0, "jarvis", 0)  # fmt: skip
    return dict(zip(KEYS, values, strict=True))


def is_alive(said: dict[str, Any], *, by_name: bool = False) -> bool:
    """Body's word on the owner: pid from the second field, start time from the third, whatever machine it runs on."""
    owner = str(said.get("owner", ""))
    if "-" not in owner:
        return True
    fields = owner.split("-")
    try:
        process = psutil.Process(int(fields[1]))
    except (ValueError, psutil.NoSuchProcess):
        return False
    started = said.get("process_start_time") or 0.0
    with contextlib.suppress(ValueError, IndexError):
        started = float(fields[2])
    if started and abs(process.create_time() - started) > 1.0:
        return False
    return not (by_name and said.get("process_name") and said["process_name"] != process.name())


class Body:
    """Body's file backend as it is today: a guard, an exclusive create, a keepalive by rename."""

    def __init__(self, directory: Path, name: str, *, guard_s: float = 10.0) -> None:
        self.name, self.guard_s, self.token = name, guard_s, ""
        self.path, self.guard = directory / f"{name}.dlm.lock", directory / f"{name}.dlm-acquire.lock"
        directory.mkdir(parents=True, exist_ok=True)

    def is_free(self, now: float) -> bool:
        """Whether it would take the lock that is there. Raises TypeError for a time it cannot compare, as Body does."""
        said = self._read()
        if said is None:
            return True
        return now >= said.get("expires_at", 0.0) or not is_alive(said)

    def would_clean(self, now: float) -> bool:
        """Whether its start-up cleanup, or the one of every 30 s, deletes the lock."""
        said = self._read()
        if said is None:
            return True
        try:
            expired = now >= said.get("expires_at", 0.0)
        except TypeError:
            return False  # logged, every time
        names_a_pid = str(said.get("owner", "")).split("-")[1:2]
        incomplete = not all(key in said for key in MANDATORY)
        return expired or incomplete or not names_a_pid or not is_alive(said, by_name=True)

    def clean_up(self) -> None:
        """What Body does before anything else when it starts."""
        if self.path.exists() and self.would_clean(time.time()):
            self.path.unlink(missing_ok=True)

    def acquire(self, ttl_s: float = 7200.0) -> bool:
        with self._guarded():
            if self.path.exists():
                if not self.is_free(time.time()):
                    return False
                self.path.unlink(missing_ok=True)
            try:
                descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                return False
            self.token = str(uuid.uuid4())
            with os.fdopen(descriptor, "w") as file:
                file.write(json.dumps(metadata(self.name, self.token, ttl_s), indent=2))
            return True

    def keep(self, ttl_s: float = 7200.0) -> bool:
        """Extend it, if the token is still its own."""
        said = self._read()
        if said is None or said.get("token") != self.token:
            return False
        said = {**said, "expires_at": time.time() + ttl_s, "extensions": said.get("extensions", 0) + 1}
        temporary = self.path.with_name(f"{self.path.name}.tmp.{os.getpid()}.1.{self.token[:8]}")
        temporary.write_text(json.dumps(said, indent=2))
        temporary.rename(self.path)
        return True

    def release(self) -> None:
        said = self._read()
        if said is not None and said.get("token") == self.token:
            self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any] | None:
        """None for what it takes for no lock: nothing there, empty, torn."""
        try:
            said = json.loads(self.path.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return said if isinstance(said, dict) else None

    @contextlib.contextmanager
    def _guarded(self) -> Any:
        """With the guard, or without it when somebody sits on it for too long."""
        descriptor, deadline = os.open(self.guard, os.O_RDWR | os.O_CREAT, 0o600), time.monotonic() + self.guard_s
        try:
            while time.monotonic() < deadline:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.005)
            yield
        finally:
            os.close(descriptor)


class OldBody:
    """The first version: no guard, no pid; looks, overwrites by rename, waits 10 ms, looks again."""

    VERIFY_S = 0.01
    #: between its calls, each of which waits for a thread of a pool
    HOP_S = 0.002

    def __init__(self, directory: Path, name: str) -> None:
        self.path, self.name, self.token = directory / f"{name}.dlm.lock", name, ""
        directory.mkdir(parents=True, exist_ok=True)

    def is_free(self, now: float) -> bool:
        said = self._read()
        return said is None or now >= said["expires_at"]

    def acquire(self, ttl_s: float = 7200.0) -> bool:
        if self.path.exists() and not self.is_free(time.time()):
            return False
        time.sleep(self.HOP_S)
        self.token = str(uuid.uuid4())
        said = metadata(self.name, self.token, ttl_s)
        temporary = self.path.with_name(f"{self.path.name}.tmp")
        temporary.write_text(json.dumps({key: said[key] for key in MANDATORY}, indent=2))
        temporary.rename(self.path)
        time.sleep(self.VERIFY_S)
        found = self._read()
        return found is not None and found["token"] == self.token

    def release(self) -> None:
        said = self._read()
        if said is not None and said["token"] == self.token:
            self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any] | None:
        """None for what it takes for no lock, and that is everything but exactly its five keys."""
        try:
            said = json.loads(self.path.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return said if isinstance(said, dict) and sorted(said) == sorted(MANDATORY) else None


class RedisBody:
    """Body on Redis: the key alone decides, and the file is not looked at (contract/body.md 5.2)."""

    def __init__(self, client: Any, name: str) -> None:
        self.client, self.name, self.token = client, name, ""
        self.key, self.fencing = f"jarvis:lock:trinity:{name}", f"jarvis:lock:trinity:fencing:{name}"

    def acquire(self, ttl_s: float = 7200.0) -> bool:
        self.token = str(uuid.uuid4())
        fence = self.client.incr(self.fencing)
        said = {**metadata(self.name, self.token, ttl_s), "backend": "redis", "fencing_token": fence}
        return self._set(said, ttl_s) or (self.is_free(time.time()) and self._take_over(said, ttl_s))

    def is_free(self, now: float) -> bool:
        """Whether it would delete what is there: another shape, an expiry that has passed, an owner it calls dead.

        What is given back in this very moment is not there, and is asked for again later.
        """
        value = self.client.get(self.key)
        if value is None:
            return False
        try:
            said = json.loads(value)
        except ValueError:
            return True
        if not isinstance(said, dict) or not set(MANDATORY) <= set(said) <= set(KEYS):
            return True
        return now >= said["expires_at"] or not is_alive(said, by_name=True)

    def keep(self, ttl_s: float = 7200.0) -> bool:
        """It extends the key and never the value."""
        return self._is_mine() and bool(self.client.expire(self.key, int(ttl_s)))

    def release(self) -> None:
        if self._is_mine():
            self.client.delete(self.key)

    def _take_over(self, said: dict[str, Any], ttl_s: float) -> bool:
        return bool(self.client.delete(self.key)) and self._set(said, ttl_s)

    def _set(self, said: dict[str, Any], ttl_s: float) -> bool:
        return bool(self.client.set(self.key, json.dumps(said), nx=True, ex=int(ttl_s)))

    def _is_mine(self) -> bool:
        value = self.client.get(self.key)
        return value is not None and json.loads(value).get("token") == self.token
