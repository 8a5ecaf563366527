"""What does a command say, and how do we take ours out of a place that others use too? (contract/body.md 3.7)

`trinity/commands/` holds two families:

| Where | Form | What we do |
|---|---|---|
| `command_queue.json` | the commands of everybody in one object, rewritten whole under an flock | take out the entries whose target is `reactor_core`, leave the rest as it is |
| `<ms>_<uuid>.json` | one command a file, not always written atomically | target `reactor_core`: claim by rename; target null: read once, leave it for the others; every other target: not touched |

What a place holds is decided here; what is done about it is decided in `commands.py`.
"""  # noqa: E501 - a table

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from reactord import durable
from reactord.errors import BadRecord
from reactord.formats.command import ID, MAX_WORD, TARGET
from reactord.formats.records import load_object
from reactord.ipc.dlm import flocked
from reactord.ipc.dropfile import Instance

ME = TARGET
QUEUE_NAME = "command_queue.json"
MAX_COMMAND_BYTES = 1024 * 1024
#: parsed JSON takes up to 29 times its size in memory: the queue of everybody is bounded too
MAX_QUEUE_BYTES = 4 * 1024 * 1024
#: of a file that is too large so much of either end is kept to be looked at
KEPT_BYTES = 32 * 1024
#: what cannot be read yet is somebody's unfinished write for this long
SETTLE_S = 2.0
#: writers hold the queue's lock for milliseconds; whoever keeps it longer is met again at the next look
WAIT_S = 0.2
#: an unchanged queue is read again after so long: a hint may be missed, a scan is not
LOOK_AGAIN_S = 5.0
#: what Body assumes when a command does not say how long it is good for
DEFAULT_TTL_S = 30.0

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_RANKS = {"critical": 0.0, "urgent": 0.0, "high": 1.0, "normal": 2.0, "low": 3.0, "background": 4.0}
#: the queue's priorities are 0 to 3, a file's 1 to 10 with 5 in the middle; both start with the most urgent
FILE_RANK = 0.4
_TARGET = re.compile(rb'"target"\s*:\s*(?:null|"([^"]{0,64})")')
#: no epoch time in seconds is that large: it is in milliseconds
_MILLISECONDS = 1e11

Family = Literal["queue", "file"]
Target = Literal["ours", "everybody", "others"]


@dataclass(frozen=True, slots=True)
class Command:
    """One command, in the words that both families share."""

    identity: str
    family: Family
    action: str
    payload: dict[str, Any]
    source: str | None
    rank: float  # the smaller one goes first
    sent_at: float
    ttl_s: float
    wants_answer: bool

    def expired(self, now: float) -> bool:
        """Whether its sender no longer waits for it."""
        return now - self.sent_at > self.ttl_s


def target_of(body: dict[str, Any]) -> Target:
    """Whom a command is for; Body reads an empty target as null."""
    target = body.get("target")
    if target == ME:
        return "ours"
    return "others" if target else "everybody"


def identity_in(body: dict[str, Any]) -> str | None:
    """The command's id if it can name a file."""
    identity = body.get("command_id") or body.get("id")
    return identity if isinstance(identity, str) and ID.fullmatch(identity) else None


def parse(body: dict[str, Any], family: Family, now: float) -> Command:
    """Understand a command that arrived at `now`. Raises BadRecord."""
    identity = identity_in(body)
    if identity is None:
        raise BadRecord("no usable id; send one of letters, digits and _.- of at most 100 characters")
    action = body.get("action") or body.get("intent")
    if not isinstance(action, str) or not 0 < len(action.strip()) <= MAX_WORD:
        raise BadRecord(f"no action or intent; name what is to be done in at most {MAX_WORD} characters")
    payload = body.get("payload")
    if payload is not None and not isinstance(payload, dict):
        raise BadRecord("the payload is no JSON object; send an object, or none")
    source = body.get("source")
    return Command(
        identity=identity,
        family=family,
        action=action.strip().lower(),
        payload=payload or {},
        source=source[:MAX_WORD] if isinstance(source, str) else None,
        rank=_rank(body.get("priority"), family),
        sent_at=_sent_at(body.get("timestamp"), now),
        ttl_s=_seconds(body, "ttl_seconds", "timeout_seconds"),
        wants_answer=family == "queue" or body.get("requires_ack") is True,
    )


def _number(value: object) -> float | None:
    return None if isinstance(value, bool) or not isinstance(value, int | float) else float(value)


def _rank(priority: object, family: Family) -> float:
    """Where the command stands among the others; what says nothing understandable is normal."""
    number = _number(priority)
    if number is None:
        return _RANKS.get(str(priority).lower(), _RANKS["normal"])
    return number if family == "queue" else number * FILE_RANK


def _sent_at(timestamp: object, now: float) -> float:
    if timestamp is None:
        return now
    at = _number(timestamp)
    if at is None:
        raise BadRecord("the timestamp is no number; send epoch seconds")
    return at / 1000 if at > _MILLISECONDS else at


def _seconds(body: dict[str, Any], *keys: str) -> float:
    said = next((body[key] for key in keys if body.get(key) is not None), DEFAULT_TTL_S)
    number = _number(said)
    if number is None:
        raise BadRecord(f"{' or '.join(keys)} is no number; send seconds")
    return number


# -- reading safely --------------------------------------------------------------------------------------------------
class LeftAlone(Exception):
    """What lies there is no plain file that we can read: nothing about it is ours to change."""


@dataclass(frozen=True, slots=True)
class Read:
    """The bytes of a plain file, and why they must not be obeyed if so."""

    instance: Instance
    raw: bytes
    unsafe: str | None = None

    @property
    def truncated(self) -> bool:
        """Whether only the two ends were read."""
        return len(self.raw) < self.instance.size


def read_plain(path: Path, limit: int) -> Read | None:
    """Read a plain file without following a link or waiting for a pipe; None when it is gone. Raises LeftAlone.

    Of a file larger than `limit` only the two ends are read.
    """
    try:
        if not stat.S_ISREG(path.lstat().st_mode):  # opening a pipe would already be noticed at its other end
            raise LeftAlone("not a regular file")
        descriptor = os.open(path, _OPEN)
    except FileNotFoundError:
        return None
    except OSError as trouble:
        if trouble.errno in (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO):
            raise LeftAlone(trouble.strerror) from None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise LeftAlone("not a regular file")
        unsafe = None
        if status.st_uid != os.geteuid():
            unsafe = "not owned by the user who runs reactord; send it as this user"
        elif status.st_size > limit:
            unsafe = f"larger than {limit} bytes; send a reference to a file instead of its content"
        with open(descriptor, "rb", closefd=False) as file:
            raw = file.read(KEPT_BYTES if status.st_size > limit else limit)
            if status.st_size > limit:
                file.seek(-KEPT_BYTES, os.SEEK_END)
                raw += file.read(KEPT_BYTES)
    finally:
        os.close(descriptor)
    return Read(Instance.of(status), raw, unsafe)


class Settling:
    """Which unreadable files have been as they are for `SETTLE_S`? Their own times are not believed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._since: dict[str, tuple[Instance, float]] = {}

    def settled(self, name: str, instance: Instance) -> bool:
        now = self.clock()
        known, since = self._since.get(name, (None, now))
        if known != instance or now < since:  # it grew, or the clock was set back
            since = now
        self._since[name] = (instance, since)
        return now - since >= SETTLE_S

    def keep(self, names: set[str]) -> None:
        """Forget what is not there any more."""
        self._since = {name: seen for name, seen in self._since.items() if name in names}


# -- one command a file ----------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Found:
    """What a file is: whom it is for, its object (None: it cannot be read), and why it is not obeyed if so."""

    read: Read
    target: Target
    body: dict[str, Any] | None
    refused: str | None = None


def judge(read: Read) -> Found:
    """Decide what bytes are. What cannot be read, but shows somebody else's name, is still somebody else's."""
    if read.truncated:
        return Found(read, _glimpse(read.raw), None, read.unsafe)
    try:
        body = load_object(read.raw)
    except BadRecord as bad:
        target: Target = "others" if _glimpse(read.raw) == "others" else "ours"
        return Found(read, target, None, read.unsafe or str(bad))
    return Found(read, target_of(body), body, read.unsafe)


def _glimpse(raw: bytes) -> Target:
    """Whom unreadable bytes seem to be for; what names nobody is nobody else's."""
    named = {match[1] for match in _TARGET.finditer(raw)}
    if not named or ME.encode() in named:
        return "ours"
    return "everybody" if named == {None} else "others"


class CommandFiles:
    """The files of one command each. `seen` are those that were read and left for the others."""

    def __init__(self, directory: Path, clock: Callable[[], float]) -> None:
        self.directory = directory
        self.seen: set[str] = set()
        self._settling = Settling(clock)

    def unread(self) -> list[str]:
        """Names that have not been dealt with, oldest first (a name begins with its time)."""
        present = {name for name in os.listdir(self.directory) if _admits(name)}  # noqa: PTH208 - names, not paths
        self.seen &= present
        self._settling.keep(present)
        return sorted(present - self.seen)

    def look(self, name: str) -> Found | None:
        """Read one file; None when it is gone or may still be growing. Raises LeftAlone."""
        read = read_plain(self.directory / name, MAX_COMMAND_BYTES)
        if read is None:
            return None
        found = judge(read)
        if found.body is None and not read.truncated and not self._settling.settled(name, read.instance):
            return None
        return found


def _admits(name: str) -> bool:
    return name.endswith(".json") and not name.startswith(".") and name != QUEUE_NAME


# -- everybody's commands in one file --------------------------------------------------------------------------------
class SharedQueue:
    """The queue file. `accept` makes one entry of ours durable and says whether it did; `refuse` gets what is broken.

    An entry is removed only after it was accepted, so a crash in between offers it a second time.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float],
        accept: Callable[[dict[str, Any]], bool],
        refuse: Callable[[Read, str], None],
    ) -> None:
        self.path, self.clock, self.accept, self.refuse = path, clock, accept, refuse
        self._settling = Settling(clock)
        self._nothing_in: Instance | None = None
        self._looked_at = 0.0

    def look(self) -> bool:
        """Take out what is ours. False when somebody keeps the lock. Raises LeftAlone."""
        if self._is_known():
            return True
        with flocked(self.path.with_name(f"{self.path.name}.lock"), WAIT_S) as held:
            if held:
                self._take()
        return held

    def _is_known(self) -> bool:
        try:
            instance = Instance.of(self.path.lstat())
        except FileNotFoundError:
            return True
        return instance == self._nothing_in and abs(self.clock() - self._looked_at) < LOOK_AGAIN_S

    def _take(self) -> None:
        """Read, accept, write back without; the lock is held."""
        self._nothing_in, self._looked_at = None, self.clock()
        read = read_plain(self.path, MAX_QUEUE_BYTES)
        if read is None:
            return
        if read.unsafe:  # it belongs to everybody: we neither obey it nor take it away from them
            raise LeftAlone(read.unsafe)
        document = _queue_in(read.raw)
        if document is None:
            self._take_broken(read)
            return
        entries = document["commands"]
        ours = [entry for entry in entries if isinstance(entry, dict) and entry.get("target") == ME]
        taken = {id(entry) for entry in ours if self.accept(entry)}
        if taken:
            document["commands"] = [entry for entry in entries if id(entry) not in taken]
            # json and not orjson: a NaN or a surrogate of somebody else goes back as it came
            durable.publish(self.path, json.dumps(document, indent=2).encode())
        if len(taken) == len(ours):
            self._nothing_in = Instance.of(self.path.lstat())

    def _take_broken(self, read: Read) -> None:
        """Its next writer would throw broken bytes away; we keep them, and it starts anew."""
        if self._settling.settled(self.path.name, read.instance):
            self.refuse(read, 'the command queue is not {"commands": [...]}; it was set aside and starts anew')
            durable.remove(self.path)


def _queue_in(raw: bytes) -> dict[str, Any] | None:
    """The queue's object; None when the bytes are none."""
    if not raw.strip():
        return {"commands": []}  # created, and not written yet: Body reads it as empty too
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not isinstance(document.setdefault("commands", []), list):
        return None
    return document
