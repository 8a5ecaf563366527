"""What do the others ask of us by a command, and what do we answer?

    look -> remember -> take off the bus -> count an attempt -> do it -> remember the answer -> publish the answer

Each arrow is durable before the next begins. A kill at any arrow leads to the same place: what was
begun is begun again under the same id, and every effect can be asked for twice without happening twice; what was done
is answered again with the same words.

An executor that fails because of the machine is asked again about 1, 4, 16 and 60 seconds after it was asked (more or
less a half, but never sooner than 1 nor later than 60), then the command becomes a dead letter. A command that nobody
can read becomes one at once. The time limit of a command is judged until its first attempt: what was begun is finished,
or becomes a dead letter.

Not answered: commands to everybody that we do not know; they may be meant for somebody else.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from reactord import access, durable
from reactord.errors import BadInput, BadRecord, EnvironmentTrouble
from reactord.formats.records import load_object
from reactord.home import Home
from reactord.ipc import command_queue, leftovers
from reactord.ipc.command_actions import ACTIONS, Action, Executor, answer_to_file, answer_to_queue
from reactord.ipc.command_memory import Memory, Waiting
from reactord.ipc.command_queue import ME, Command, CommandFiles, Found, LeftAlone, Read, SharedQueue
from reactord.ipc.deadletter import DeadLetters, Why
from reactord.ipc.presence import encode
from reactord.ledger.sqlite import is_damage

log = logging.getLogger("reactord.commands")

LOOK_EVERY_S = 1.0
#: a disk that refuses is asked again after so long, and so is a file that cannot be taken
TROUBLE_S = 1.0
#: so much is done in one turn
FILES_PER_TURN = 64
WORK_PER_TURN = 16
ANSWERS_PER_TURN = 64
#: so many may wait to be done; more stay on the bus
MAX_WAITING = 256
TIDY_EVERY_S = 60.0

MAX_ATTEMPTS = 5
BACKOFF_S = (1.0, 4.0, 16.0, 60.0, 60.0)
MIN_BACKOFF_S, MAX_BACKOFF_S = 1.0, 60.0


def backoff_s(attempt: int) -> float:
    """How long to wait after the attempt of this number (1 is the first): spread, so that retries do not meet."""
    spread = random.uniform(0.5, 1.5)  # noqa: S311 - nothing secret
    return min(max(BACKOFF_S[min(attempt, len(BACKOFF_S)) - 1] * spread, MIN_BACKOFF_S), MAX_BACKOFF_S)


class Commands:
    """The commands that are for us. One thread calls `turn`; `trouble` and `counts` may be read by others."""

    def __init__(self, home: Home, executor: Executor, clock: Callable[[], float]) -> None:
        self.executor, self.clock = executor, clock
        self.directory, self.responses, self.ours = home.commands, home.responses, home.taken_commands
        self.claimed = self.ours / "claimed"
        self.trouble: str | None = None  # why commands are not taken or done now, in words
        self.counts: Counter[str] = Counter()
        self.letters = DeadLetters(home, clock)
        self._files = CommandFiles(self.directory, clock)
        self._queue = SharedQueue(
            self.directory / command_queue.QUEUE_NAME, clock, self._accept_entry, self._bury_queue
        )
        self._opened: Memory | None = None
        self._tidied_at: float | None = None
        self._unreadable: str | None = None

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @property
    def _memory(self) -> Memory:
        if self._opened is None:
            self.ours.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.claimed.mkdir(exist_ok=True, mode=0o700)
            self._opened = Memory(self.ours / "commands.db")
        return self._opened

    def turn(self) -> float:
        """Look once at both families, do what is due, answer. Returns the seconds until the next look."""
        try:
            more = self._turn()
        except (OSError, sqlite3.Error, EnvironmentTrouble) as trouble:
            if is_damage(trouble):
                self.close()  # opening it again sets it aside
            self._show(f"cannot take commands: {trouble}")
            return TROUBLE_S
        self._show(self._unreadable)
        if self._unreadable:
            return TROUBLE_S
        return 0.0 if more else LOOK_EVERY_S

    def _turn(self) -> bool:
        for directory in (self.directory, self.responses):
            directory.mkdir(parents=True, exist_ok=True)
        access.refuse_open(self.directory)
        self._unreadable = None
        self._finish_claimed()
        self._look_at_queue()
        more = self._look_at_files()
        more |= self._work()
        self._answer()
        self._tidy()
        return more

    def _show(self, words: str | None) -> None:
        if words and words != self.trouble:
            log.error("%s", words)
        self.trouble = words

    # -- the queue of everybody ----------------------------------------------------------------------------------------
    def _look_at_queue(self) -> None:
        try:
            if not self._queue.look():
                self.counts["busy"] += 1
        except (LeftAlone, OSError) as why:  # the files of one command each come in all the same
            self._unreadable = f"{self._queue.path} is not read: {why}"

    def _accept_entry(self, entry: dict[str, Any]) -> bool:
        """Make one entry durable; False when there is no room for it now."""
        if self._memory.waiting() >= MAX_WAITING:
            return False
        raw, name = json.dumps(entry).encode(), command_queue.QUEUE_NAME
        try:
            if len(raw) > command_queue.MAX_COMMAND_BYTES:
                raise BadRecord(f"larger than {command_queue.MAX_COMMAND_BYTES} bytes; send a reference to a file")
            self._take(command_queue.parse(load_object(raw), "queue", self.clock()), raw, name)
        except BadRecord as bad:
            self._refuse_entry(entry, raw, str(bad))
        return True

    def _refuse_entry(self, entry: dict[str, Any], raw: bytes, reason: str) -> None:
        identity, now = command_queue.identity_in(entry), self.clock()
        kept = raw if len(raw) <= command_queue.MAX_COMMAND_BYTES else raw[: command_queue.KEPT_BYTES]
        why = Why(reason, command_queue.QUEUE_NAME, now, family="queue", command_id=identity,
                  truncated=len(kept) < len(raw))  # fmt: skip
        self._bury(kept, why)
        if identity is not None:
            answer = answer_to_queue(identity, now, error=reason)
            self._memory.take_refused(identity, "queue", command_queue.QUEUE_NAME, answer, now)

    def _bury_queue(self, read: Read, reason: str) -> None:
        self._bury(read.raw, Why(reason, command_queue.QUEUE_NAME, self.clock(), family="queue"))

    # -- one command a file --------------------------------------------------------------------------------------------
    def _look_at_files(self) -> bool:
        """Deal with some files. True when there are more, and room for them."""
        done = 0  # what cannot be dealt with yet is not counted: it would take the place of the others for ever
        for name in self._files.unread():
            if self._memory.waiting() >= MAX_WAITING:
                return False
            if done >= FILES_PER_TURN:
                return True
            with self._one_file():
                done += self._look_at(name)
        return False

    @contextlib.contextmanager
    def _one_file(self) -> Iterator[None]:
        """A file that cannot be read or claimed is shown as a trouble, and keeps no other one waiting."""
        try:
            yield
        except OSError as trouble:
            self._unreadable = f"a command is not taken yet, it is tried again: {trouble}"

    def _look_at(self, name: str) -> bool:
        """Deal with one file. False when it is gone, or may still be growing."""
        try:
            found = self._files.look(name)
        except LeftAlone as why:
            self._leave(name, str(why))
            return True
        if found is None:
            return False
        if found.target == "ours":
            claim = self.claimed / name
            try:
                durable.claim(self.directory / name, claim)
            except FileNotFoundError:
                return False
            self._finish(claim)
            return True
        if found.target == "everybody":
            self._take_broadcast(found, name)
        self._files.seen.add(name)
        return True

    def _leave(self, name: str, why: str) -> None:
        self._files.seen.add(name)
        self.counts["left_alone"] += 1
        log.warning("the command file %s is left alone: %s", _printable(name), why)

    def _take_broadcast(self, found: Found, name: str) -> None:
        """Take note of a command to everybody, if we know it; the file stays for the others."""
        if found.refused or found.body is None:
            self._leave(name, str(found.refused))
            return
        try:
            command = command_queue.parse(found.body, "file", self.clock())
        except BadRecord:
            return
        ours = command.source == ME  # our own announcement, read back
        if ours or command.action not in ACTIONS or command.expired(self.clock()):
            return
        if self._memory.came_from(command.identity) != _printable(name):  # else we took it before a restart
            self._take(command, found.read.raw, name)

    def _finish_claimed(self) -> None:
        """Go on with files that a kill left between the claim and the memory."""
        _ = self._memory
        for claim in sorted(self.claimed.iterdir()):
            with self._one_file():
                self._finish(claim)

    def _finish(self, claim: Path) -> None:
        """Remember a claimed command, or bury it; then its file can go."""
        try:
            read = command_queue.read_plain(claim, command_queue.MAX_COMMAND_BYTES)
        except LeftAlone as why:
            self._put_back(claim, str(why))
            return
        if read is None:
            return
        found = command_queue.judge(read)
        if found.target != "ours":
            self._put_back(claim, "it changed while it was claimed, and is not for us")
            return
        try:
            if found.refused is not None or found.body is None:
                raise BadRecord(str(found.refused))
            self._take(command_queue.parse(found.body, "file", self.clock()), read.raw, claim.name)
        except BadRecord as bad:
            identity = command_queue.identity_in(found.body or {})
            name, now = _printable(claim.name), self.clock()
            self._bury(read.raw, Why(str(bad), name, now, command_id=identity, truncated=read.truncated))
        durable.remove(claim)

    def _put_back(self, claim: Path, why: str) -> None:
        durable.claim(claim, self.directory / claim.name)
        self._leave(claim.name, why)

    # -- doing ---------------------------------------------------------------------------------------------------------
    def _take(self, command: Command, raw: bytes, name: str) -> None:
        new = self._memory.take(command, raw, _printable(name), self.clock())
        self.counts["taken" if new else "duplicates"] += 1

    def _work(self) -> bool:
        """Do what is due. True when there is more."""
        due = self._memory.due(self.clock(), WORK_PER_TURN)
        for waiting in due:
            self._do(waiting)
        return len(due) == WORK_PER_TURN

    def _do(self, waiting: Waiting) -> None:
        command = command_queue.parse(load_object(waiting.raw), waiting.family, waiting.first_seen)
        if waiting.attempts >= MAX_ATTEMPTS:  # the last attempt ended us, and not itself
            self._give_up(command, waiting, waiting.last_error or "the daemon ended during every attempt")
        elif waiting.attempts == 0 and command.expired(self.clock()):
            self.counts["expired"] += 1
            self._end(command, error=f"expired: it was good for {command.ttl_s:g} s; send it again")
        elif (act := ACTIONS.get(command.action)) is None:
            self.counts["refused"] += 1
            known = sorted(ACTIONS)
            error = f"unknown action {command.action!a}; known are {', '.join(known)}"
            self._end(command, error=error, result={"known_actions": known})
        else:
            self._attempt(command, waiting, act)

    def _attempt(self, command: Command, waiting: Waiting, act: Action) -> None:
        attempt = waiting.attempts + 1
        self._memory.begin(command.identity, self.clock() + backoff_s(attempt))
        try:
            result = json.loads(encode(dict(act(self.executor, command))))
        except BadInput as refused:
            self.counts["refused"] += 1
            log.warning("command %s (%s) is refused: %s", command.identity, command.action, refused)
            self._end(command, error=str(refused))
        except (OSError, sqlite3.OperationalError, EnvironmentTrouble) as trouble:
            words = str(trouble) or type(trouble).__name__
            self._memory.failed(command.identity, words)
            self.counts["failed_attempts"] += 1
            log.warning("command %s (%s), attempt %d: %s", command.identity, command.action, attempt, words)
            if attempt >= MAX_ATTEMPTS:
                self._give_up(command, waiting, words)
        except Exception as bug:  # the task boundary: one poisonous command must not end the daemon again and again
            log.exception("command %s: a bug while doing %s", command.identity, command.action)
            self._give_up(command, waiting, f"{type(bug).__name__}: {bug}. This is a bug; see `reactord logs`")
        else:
            self.counts["done"] += 1
            self._end(command, result=result)

    def _give_up(self, command: Command, waiting: Waiting, error: str) -> None:
        tried = min(waiting.attempts + 1, MAX_ATTEMPTS)
        why = Why(
            f"{command.action} failed {tried} times" if tried > 1 else f"{command.action} failed",
            waiting.came_from, waiting.first_seen, tried, error, waiting.family, command.identity, command.action,
        )  # fmt: skip
        self._bury(waiting.raw, why)
        self._end(command, error=f"{error} (attempt {tried}); kept for a person: reactord dlq list")

    def _bury(self, raw: bytes, why: Why) -> None:
        letter = self.letters.put(raw, why)
        self.counts["dead_letters"] += 1
        log.error(
            "a command from %s is a dead letter: %s. See: reactord dlq show %s", why.came_from, why.reason, letter
        )

    def _end(self, command: Command, *, error: str | None = None, result: object = None) -> None:
        now = self.clock()
        if command.family == "queue":
            answer = answer_to_queue(command.identity, now, error=error, result=result)
        else:
            answer = answer_to_file(command, now, error=error, result=result)
        self._memory.finish(command.identity, answer, now)

    # -- answering -----------------------------------------------------------------------------------------------------
    def _answer(self) -> None:
        """Publish what is not; one place that cannot be written keeps no other answer back."""
        published, failure = [], None
        for identity, answer in self._memory.unanswered(ANSWERS_PER_TURN):
            try:
                durable.publish(self._response(identity), answer)
            except OSError as trouble:
                failure = trouble
            else:
                published.append(identity)
        if published:
            self._memory.answered(published, self.clock())
        if failure is not None:
            raise failure

    def _response(self, identity: str) -> Path:
        return self.responses / f"{identity}.json"

    def _tidy(self) -> None:
        """At the start and once a minute: forget what is old, with the answers that nobody fetched."""
        now = self.clock()
        if self._tidied_at is not None and abs(now - self._tidied_at) < TIDY_EVERY_S:
            return
        old = self._memory.old(now)
        for identity, answered in old:
            if answered:
                durable.remove(self._response(identity))
        self._memory.forget([identity for identity, _ in old])
        self.letters.tidy()
        for directory in (self.directory, self.responses):
            leftovers.sweep(directory, now)
        self._tidied_at = now


def _printable(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")
