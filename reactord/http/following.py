"""How is a job followed? Once, for all who follow it (contract/body.md 1.5).

A stream is progress.jsonl, read as it grows, between the job's changes of state. SSE ids are its line numbers, so
`Last-Event-ID` replays what a client missed, also across a restart of the daemon.

Body's own client reads bare JSON lines and is blind to SSE; a standard SSE parser ignores a line that starts with `{`.
So every update is sent twice, once for each, unless the client asks for `text/event-stream` alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from reactord.http import views
from reactord.http.outbox import Gap, Outbox, Tell
from reactord.jobs.states import LIVE
from reactord.ledger.state import Job, State
from reactord.workdir import WorkDir, parse_progress

READ_BYTES = 256 * 1024
#: so many lines of a job are remembered: who comes back after a moment costs no reading
RECENT = 256
#: lines that are told in one go; a queue holds more
BREATH = 32
#: of the past, at once for one client: a status object is ten times as long as its line
REPLAY_BYTES = 64 * 1024


class Follower:
    """Reads the lines of progress.jsonl that are new, and numbers them from 1."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.line = self.offset = 0

    def read(self, upto: int | None = None) -> list[tuple[int, dict[str, Any]]]:
        """New whole lines (up to that place in the file) with their numbers.

        A line that a crash tore has a number, too, and is left out.
        """
        try:
            end = self.path.stat().st_size if upto is None else upto
            if end <= self.offset:
                return []
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(min(READ_BYTES, end - self.offset))
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        found = []
        for raw in whole.split(b"\n")[:-1]:
            self.line += 1
            if (value := parse_progress(raw)) is not None:
                found.append((self.line, value))
        return found


class Update:
    """What a job says at a line of progress; encoded once for all clients, and only if there are any."""

    def __init__(self, job: Job, seen: views.Seen) -> None:
        self.number = seen.line
        self._job, self._seen = job, seen

    @cached_property
    def status(self) -> views.Status:
        """As contract/body.md 1.4 has it."""
        return views.status(self._job, self._seen)

    @cached_property
    def line(self) -> bytes:
        """The object as one line of JSON, without its end."""
        return views.encode(self.status)

    @cached_property
    def event(self) -> bytes:
        """For those who accept text/event-stream."""
        return b"event: status\nid: %d\ndata: %s\n\n" % (self.number, self.line)

    @cached_property
    def both(self) -> bytes:
        """For Body's client and for every SSE parser."""
        return self.line + b"\n" + self.event


class Unknown(Update):
    """A job that is not there: the first line is the last."""

    def __init__(self, job_id: str) -> None:
        self.number = 0
        self.status = views.unknown(job_id)


def missed(gap: Gap, then: Update, *, sse_only: bool) -> bytes:
    """What a client is told before the first update behind a gap.

    The bare line is a whole status object, and never a last one: Body's client reads numbers from it.
    """
    about = {"missed": gap.missed, "after": gap.after, "upto": gap.upto}
    event = b"event: gap\ndata: %s\n\n" % views.encode(about)
    if sse_only:
        return event
    return views.encode({**then.status, "status": "training", "error": None, "gap": about}) + b"\n" + event


class Feed:
    """One job, and everybody who follows it."""

    def __init__(self, job: Job, root: Path, publish: Callable[[Update], None], *, born: bool) -> None:
        self.members: set[Outbox[Update]] = set()
        self.over = False
        self.joining = 0  # those who will be members in a moment
        self._publish = publish  # to those who listen to the progress of all jobs
        self._job = self._shown = job  # as it is, and as it was told last
        self._met = born  # what was there before us is nobody's news
        self._told = not born
        self._follower = Follower(WorkDir(root / job.id).progress_path)
        self._seen = views.Seen()
        self._now: Update | None = None  # what a new member is told
        self._recent: deque[Update] = deque(maxlen=RECENT)  # lines that need not be read again
        self._turn = asyncio.Lock()

    async def look(self, state: State, *, changed: bool) -> None:
        """Tell what is new. `changed`: the job may have moved."""
        async with self._turn:
            job = (changed and state.job(self._job.id)) or self._job  # before the lines: none may come behind its end
            while lines := self._follower.read():
                for number, line in lines:
                    self._seen = views.fold(self._seen, line, number)
                    self._tell(update := Update(views.as_it_was(job, self._seen), self._seen))
                    self._recent.append(update)
                    if number % BREATH == 0:  # whoever reads takes it; a long file holds up nobody
                        await asyncio.sleep(0)
            self._job = job
            if not self._told or (self._shown.state, self._shown.updated_at) != (job.state, job.updated_at):
                self._shown, self._told = job, True
                self._tell(Update(job, self._seen))
            self._met = True
            self.over = job.state not in LIVE
            if self.over:
                for member in self.members:
                    member.end()

    def _tell(self, update: Update) -> None:
        self._now = None
        if self._met:
            for member in self.members:
                member.put(update)
            self._publish(update)

    @property
    def now(self) -> Update:
        """The job as it was told last."""
        if self._now is None:
            self._now = Update(self._shown, self._seen)
        return self._now

    async def join(self, state: State, after: int | None, tell: Tell[Update]) -> Outbox[Update]:
        """A new member, who has been told the lines behind `after` (None: none of them) and is told the state next."""
        self.joining += 1
        try:
            await self.look(state, changed=True)
            if after is not None and after < self._seen.line:
                await self._replay(state, after, tell)
        finally:
            self.joining -= 1
        outbox: Outbox[Update] = Outbox(self._seen.line)
        outbox.put(self.now)
        if self.over:
            outbox.end()
        self.members.add(outbox)
        return outbox

    async def _replay(self, state: State, after: int, tell: Tell[Update]) -> None:
        """Until the client is where we are; a slow one is waited for, so nothing is lost on the way."""
        reader, seen = Follower(self._follower.path), views.Seen()
        while after < self._seen.line:
            if self._recent[0].number <= after + 1:
                past = [update for update in self._recent if update.number > after]
                after = past[-1].number
            else:
                begun, past = reader.offset, []
                for number, line in reader.read(min(begun + REPLAY_BYTES, self._follower.offset)):
                    seen = views.fold(seen, line, number)
                    if number > after:
                        past.append(Update(views.as_it_was(self._job, seen), seen))
                if reader.offset == begun:  # the file went away
                    return
                after = max(after, reader.line)
            await tell(past)
            await asyncio.sleep(0)
            await self.look(state, changed=False)
