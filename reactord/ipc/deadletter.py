"""Where do commands go that could not be carried out, and how does a person bring one back?

`trinity/dlq/reactor/` (0700) holds pairs `<id>.json`, the command's bytes, and `<id>.json.reason.json`. An id is the
time in milliseconds and a hash of the bytes. It never holds more than `MAX_LETTERS`, `MAX_BYTES` and `MAX_AGE_S`: the
oldest are dropped first, and `dropped.json` counts each. The daemon and the command line work on it under one flock.

A letter goes back to the bus under a new command id, or it would be taken for one that was done before. That id is
written down before the command is published, and the letter is removed after: a replay that was cut off and is repeated
publishes the same id, and is done once.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from reactord import durable
from reactord.errors import BadRecord, BadRequest, EnvironmentTrouble
from reactord.formats.records import content_identity, load_object
from reactord.home import Home
from reactord.ipc.command_queue import FILE_RANK, ME, Command, Family, parse
from reactord.ipc.dlm import flocked
from reactord.ipc.presence import encode

MAX_LETTERS = 1000
MAX_BYTES = 64 * 1024 * 1024
MAX_AGE_S = 30 * 24 * 3600.0
#: what holds the lock reads and writes small files
WAIT_S = 5.0
#: a replayed command waits so long for a daemon that is down
REPLAY_TTL_S = 7 * 24 * 3600.0

_LETTER = re.compile(r"\A(?P<ms>\d{13})-(?P<hash>[0-9a-f]{12})\.json\Z", re.ASCII)
_ID = re.compile(r"\A\d{13}-[0-9a-f]{12}\Z", re.ASCII)
_REPLAYED = re.compile(r"-r[0-9a-f]{8}\Z")


@dataclass(frozen=True, slots=True)
class Why:
    """What is known about a command that ended here. `came_from` is a file name as it can be printed."""

    reason: str
    came_from: str
    first_seen: float
    attempts: int = 0
    last_error: str | None = None
    family: str = "file"
    command_id: str | None = None
    action: str | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter: its id, when it ended here, the size of its bytes, and what its reason file says."""

    identity: str
    at: float
    size_bytes: int
    why: dict[str, Any]


class DeadLetters:
    """The directory. Everything that changes it raises EnvironmentTrouble when somebody keeps its lock."""

    def __init__(self, home: Home, clock: Callable[[], float]) -> None:
        self.directory, self.clock = home.dead_letters, clock
        self._commands = home.commands

    # -- the daemon ----------------------------------------------------------------------------------------------------
    def put(self, raw: bytes, why: Why) -> str:
        """Keep a command with its reason; the same one again is the same letter. Returns the letter's id."""
        digest = content_identity(why.came_from, raw)[:12]
        with self._locked():
            letters = self._letters()
            known = next((name for name in letters if name.endswith(f"-{digest}.json")), None)
            name = known or f"{int(self.clock() * 1000):013d}-{digest}.json"
            said = asdict(why) | {"from": why.came_from, "at": self.clock(), "size_bytes": len(raw)}
            del said["came_from"]
            reason = encode(said)
            if known is None:
                self._make_room(letters, len(raw) + len(reason))
            durable.publish(self._reason(name), reason)  # first: a letter that is there has its reason
            durable.publish(self.directory / name, raw)
        return name.removesuffix(".json")

    def tidy(self) -> None:
        """Drop what is too old, and what a kill in the middle of a change left behind."""
        if not self.directory.is_dir():
            return
        with self._locked():
            letters = self._letters()
            self._make_room(letters, 0)
            for name in os.listdir(self.directory):  # noqa: PTH208 - names, not paths
                orphan = (
                    name.endswith(".reason.json") and not (self.directory / name.removesuffix(".reason.json")).exists()
                )
                if orphan or name.endswith(durable.TEMPORARY):
                    durable.remove(self.directory / name)

    # -- a person ------------------------------------------------------------------------------------------------------
    def all(self) -> list[Letter]:
        """Every letter, newest first."""
        found = [self._letter(name) for name in sorted(self._letters(), reverse=True)]
        return [letter for letter in found if letter is not None]

    def dropped(self) -> dict[str, Any]:
        """How many letters were dropped since ever, and why."""
        try:
            said = orjson.loads((self.directory / "dropped.json").read_bytes())
        except (OSError, ValueError):
            said = None
        return said if isinstance(said, dict) and isinstance(said.get("reasons"), dict) else {"total": 0, "reasons": {}}

    def show(self, identity: str) -> tuple[Letter, bytes]:
        """One letter and its bytes. Raises BadRequest when there is none."""
        letter = self._letter(f"{identity}.json") if _ID.match(identity) else None
        if letter is not None:
            with contextlib.suppress(FileNotFoundError):
                return letter, (self.directory / f"{identity}.json").read_bytes()
        raise BadRequest(f"there is no dead letter {identity!a}; see: reactord dlq list")

    def drop(self, identity: str) -> None:
        """Remove one. Raises BadRequest when there is none."""
        with self._locked():
            letter, _ = self.show(identity)
            self._drop([f"{letter.identity}.json"], "by hand")

    def drop_all(self) -> int:
        """Remove every letter; returns how many there were."""
        if not self.directory.is_dir():
            return 0
        with self._locked():
            names = sorted(self._letters())
            self._drop(names, "by hand")
        return len(names)

    def replay(self, identity: str) -> str:
        """Put one back on the bus and remove it here; returns the command's new id. Raises BadRequest."""
        with self._locked():
            letter, raw = self.show(identity)
            command, asks_ack = self._replayable(letter, raw)
            why = letter.why
            if not isinstance(why.get("replayed_as"), str) or not isinstance(why.get("replayed_at"), int | float):
                base = _REPLAYED.sub("", command.identity)[:90]
                why = why | {"replayed_as": f"{base}-r{uuid.uuid4().hex[:8]}", "replayed_at": self.clock()}
                durable.publish(self._reason(f"{identity}.json"), encode(why))
            document = {
                "id": why["replayed_as"],
                "timestamp": why["replayed_at"],
                "source": command.source,
                "intent": command.action,
                "payload": command.payload,
                "metadata": {"replay_of": command.identity, "dead_letter": identity},
                "target": ME,
                "priority": round(command.rank / FILE_RANK),
                "requires_ack": asks_ack,
                "response_to": None,
                "ttl_seconds": REPLAY_TTL_S,
            }
            self._commands.mkdir(parents=True, exist_ok=True)
            name = f"{int(why['replayed_at'] * 1000)}_{why['replayed_as']}.json"
            durable.publish(self._commands / name, encode(document))
            self._remove(f"{identity}.json")
        return str(why["replayed_as"])

    def _replayable(self, letter: Letter, raw: bytes) -> tuple[Command, bool]:
        """The command in the bytes, and whether it asks for an ACK. Raises BadRequest when there is none."""
        then = f"Look at it with `reactord dlq show {letter.identity}`, then remove it with `reactord dlq drop`"
        if letter.why.get("truncated"):
            raise BadRequest(f"only the ends of {letter.identity} were kept, it cannot be replayed. {then}")
        try:
            body = load_object(raw)
            family: Family = "queue" if letter.why.get("family") == "queue" else "file"
            return parse(body, family, letter.at), body.get("requires_ack") is True
        except BadRecord as bad:
            raise BadRequest(f"{letter.identity} is no command ({bad}), it cannot be replayed. {then}") from None

    # -- inside --------------------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.directory.stat().st_mode & 0o077:  # somebody else made it
            self.directory.chmod(0o700)
        with flocked(self.directory / ".lock", WAIT_S) as held:
            if not held:
                raise EnvironmentTrouble(f"{self.directory} is in use by another process; try again in a moment")
            yield

    def _letters(self) -> dict[str, int]:
        """Every letter's file name and how many bytes it takes with its reason."""
        found = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self.directory) as entries:
            sizes = {entry.name: entry.stat(follow_symlinks=False).st_size for entry in entries}
            found = {
                name: size + sizes.get(f"{name}.reason.json", 0) for name, size in sizes.items() if _LETTER.match(name)
            }
        return found

    def _letter(self, name: str) -> Letter | None:
        try:
            size = (self.directory / name).stat().st_size
        except FileNotFoundError:
            return None
        try:
            why = load_object(self._reason(name).read_bytes())
        except (OSError, BadRecord):
            why = {"reason": "its reason file cannot be read"}
        return Letter(name.removesuffix(".json"), int(name[:13]) / 1000, size, why)

    def _reason(self, name: str) -> Path:
        return self.directory / f"{name}.reason.json"

    def _make_room(self, letters: dict[str, int], size_bytes: int) -> None:
        """Drop the oldest until one more of `size_bytes` fits (0: until the bounds hold)."""
        oldest_ms, coming = (self.clock() - MAX_AGE_S) * 1000, bool(size_bytes)
        total, count = sum(letters.values()) + size_bytes, len(letters) + coming
        too_old, too_many = [], []
        for name in sorted(letters):
            if int(name[:13]) < oldest_ms:
                too_old.append(name)
            elif count > MAX_LETTERS or total > MAX_BYTES:
                too_many.append(name)
            else:
                break
            total, count = total - letters[name], count - 1
        self._drop(too_old, "too old")
        self._drop(too_many, "no room")

    def _drop(self, names: list[str], reason: str) -> None:
        """Count, then remove: what a kill interrupts is counted, and removed the next time."""
        if not names:
            return
        known = self.dropped()
        reasons = Counter({key: n for key, n in known["reasons"].items() if isinstance(n, int)})
        reasons[reason] += len(names)
        said = {"total": reasons.total(), "reasons": reasons, "last_at": self.clock()}
        durable.publish(self.directory / "dropped.json", encode(said))
        for name in names:
            self._remove(name)

    def _remove(self, name: str) -> None:
        durable.remove(self.directory / name)
        durable.remove(self._reason(name))
