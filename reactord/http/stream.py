"""Who listens, and what is told to whom? One look at the journal and at the followed jobs serves every client.

Each client has a bounded queue of its own (outbox.py). What is told is encoded once; a client that reads too slowly
loses the oldest of it, is told so, and can ask for it again by the id that the gap names.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from aiohttp import web

from reactord.errors import EnvironmentTrouble
from reactord.http.channels import COUNT, PROGRESS, Message, channel_of, names_of, told
from reactord.http.facade import Facade
from reactord.http.following import Feed, Follower, Update
from reactord.http.outbox import Gap, Outbox, Tell
from reactord.http.views import encode
from reactord.ledger.state import Event

__all__ = ["STREAMS", "Feed", "Follower", "Listener", "Streams", "Update"]

log = logging.getLogger("reactord.http")

#: one look costs 50 us, whoever listens; nobody does, nobody looks
LOOK_EVERY_S = 0.05
#: a silence that both kinds of client skip over; proxies and Body give up on longer ones
PING_EVERY_S = 10.0
#: a client that takes nothing for so long is gone
WRITE_TIMEOUT_S = 20.0
#: of all kinds together
MAX_STREAMS = 1024
#: that are told in one go; a queue holds more
EVENTS_AT_ONCE = 64


@dataclass(eq=False, slots=True)
class Listener:
    """A client of the channels."""

    channels: set[str] = field(default_factory=set)
    outbox: Outbox[Message] = field(default_factory=Outbox)


class Streams:
    """The streams that are open now, and the one task that feeds them."""

    def __init__(self, facade: Facade) -> None:
        self.open = 0
        self.newest = 0  # the newest event of the journal that was told
        self.leaving = False
        self.feeds: dict[str, Feed] = {}
        self.listeners: set[Listener] = set()
        self._facade = facade
        self._waiting: int | None = None  # experiences, as told last
        self.gaps = self.missed = 0  # that clients were told of, and how much was in them
        self._task: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Raises EnvironmentTrouble when there is no place for one more."""
        if self.leaving:
            raise EnvironmentTrouble("reactord is stopping; ask again in a moment")
        if self.open >= MAX_STREAMS:
            raise EnvironmentTrouble(f"{MAX_STREAMS} streams are open; close one, or poll /api/training/status")

    def enter(self) -> None:
        """One more."""
        if (self._task is None or self._task.done()) and not self.leaving:
            self.newest = self._facade.state.last_event()
            self._task = asyncio.create_task(self._keep_looking(), name="streams")
        self.open += 1

    def leave(self) -> None:
        """One less."""
        self.open -= 1

    def end(self) -> None:
        """Close every stream at its next breath: a client must not keep a stopping daemon waiting."""
        self.leaving = True
        if self._task is not None:
            self._task.cancel()
        for outbox in self.outboxes():
            outbox.end()

    def note(self, gap: Gap) -> None:
        """A client is told of it."""
        self.gaps += 1
        self.missed += gap.missed

    def outboxes(self) -> Iterable[Outbox[Message] | Outbox[Update]]:
        """Everybody's queue."""
        for listener in self.listeners:
            yield listener.outbox
        for feed in self.feeds.values():
            yield from feed.members

    # -- those who follow a job ----------------------------------------------------------------------------------------
    async def follow(self, job_id: str, after: int | None, tell: Tell[Update]) -> Outbox[Update] | None:
        """Join those who follow a job, once it was told what came behind `after`. None: there is no such job."""
        feed = self._feed(job_id)
        if feed is None:
            return None
        outbox = await feed.join(self._facade.state, after, tell)
        if self.leaving:
            outbox.end()
        return outbox

    def unfollow(self, job_id: str, outbox: Outbox[Update]) -> None:
        """The client went, or was told the end."""
        if feed := self.feeds.get(job_id):
            feed.members.discard(outbox)
            self._tidy()

    def _feed(self, job_id: str, *, born: bool = False) -> Feed | None:
        if job_id not in self.feeds and (job := self._facade.state.job(job_id)):
            self.feeds[job_id] = Feed(job, self._facade.home.jobs, self._progress, born=born)
        return self.feeds.get(job_id)

    def _tidy(self) -> None:
        """Follow only what somebody wants to know."""
        wanted = self._wanted(PROGRESS)
        for job_id, feed in list(self.feeds.items()):
            if not feed.members and not feed.joining and (feed.over or not wanted):
                del self.feeds[job_id]

    # -- those who listen to channels ----------------------------------------------------------------------------------
    async def listen(self, listener: Listener, channels: Iterable[str], after: int | None, tell: Tell[Message]) -> None:
        """Add channels to what a client hears; first it is told what the journal has of them behind `after`."""
        asked = frozenset(channels)
        if after is not None:
            await self._replay(asked, after, tell)
        listener.channels |= asked
        if listener not in self.listeners:
            listener.outbox.after = self.newest
            self.listeners.add(listener)
        if self.leaving:
            listener.outbox.end()
        if self._waiting is None:
            self._count()
        if self._wanted(PROGRESS):
            for job in self._facade.state.live_jobs():
                self._feed(job.id)

    def unlisten(self, listener: Listener) -> None:
        """The client went."""
        self.listeners.discard(listener)
        self._tidy()

    async def _replay(self, channels: frozenset[str], after: int, tell: Tell[Message]) -> None:
        """Until the client is where we are. Nothing is awaited behind the last look: nothing is lost or told twice."""
        while after < self.newest:
            events = self._facade.state.events(after=after, limit=EVENTS_AT_ONCE)
            events = [event for event in events if event.seq <= self.newest]
            messages = [told(event) for event in events if not names_of(channel_of(event.topic)).isdisjoint(channels)]
            after = events[-1].seq if events else self.newest
            if messages:
                await tell(messages)
            await asyncio.sleep(0)

    def _wanted(self, channel: str) -> bool:
        names = names_of(channel)
        return any(not names.isdisjoint(listener.channels) for listener in self.listeners)

    def _publish(self, message: Message) -> None:
        names = names_of(message.channel)
        for listener in self.listeners:
            if not names.isdisjoint(listener.channels):
                listener.outbox.put(message)

    def _progress(self, update: Update) -> None:
        if self.listeners:
            self._publish(Message(self.newest, PROGRESS, update.line, kept=False))

    # -- the one who looks ---------------------------------------------------------------------------------------------
    async def _keep_looking(self) -> None:
        shown, pinged = "", time.monotonic()
        while self.open:
            try:
                await self._look()
                shown = ""
            except Exception as trouble:  # the boundary of a task: the streams must not fall silent for ever
                words = str(trouble) or type(trouble).__name__
                if words != shown:
                    log.exception("nothing can be told to those who listen; it goes on by itself")
                shown = words
            if time.monotonic() - pinged >= PING_EVERY_S:
                pinged = time.monotonic()
                for outbox in self.outboxes():
                    outbox.wake()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self) -> None:
        """Tell everybody what is new."""
        state = self._facade.state
        moved: set[str] = set()
        while events := state.events(after=self.newest, limit=EVENTS_AT_ONCE):
            for event in events:
                self.newest = event.seq
                moved.add(event.subject)
                if self.listeners:
                    self._publish(told(event))
                    self._meet(event)
            await asyncio.sleep(0)
        for job_id, feed in list(self.feeds.items()):
            await feed.look(state, changed=job_id in moved)
        self._tidy()
        self._count()

    def _meet(self, event: Event) -> None:
        """A job that is born is followed from its first line on, for those who listen to all."""
        if event.topic == "job.queued" and event.subject not in self.feeds and self._wanted(PROGRESS):
            self._feed(event.subject, born=True)

    def _count(self) -> None:
        waiting = self._facade.pulse().pending_experiences if self._wanted(COUNT) else None
        if None not in (waiting, self._waiting) and waiting != self._waiting:
            self._publish(Message(self.newest, COUNT, encode({"pending": waiting}), kept=False))
        self._waiting = waiting


STREAMS: web.AppKey[Streams] = web.AppKey("streams", Streams)
