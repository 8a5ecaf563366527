"""What can be listened to? Channels: everything in the journal of events, and what passes without being kept there.

    training:progress     the status object of every live job, at every line and change; kept in the job's own file
    training:complete     a job ended with a better model
    training:failed       a job ended without one: failed, cancelled, rejected, rolled_back, skipped
    experience:count      how many experiences wait; told when that changes
    job:*, run:*, model:*, dataset:*, ...   every other event by its topic: `model.deployed` is `model:deployed`

A client names channels, families (`model:*`) or everything (`*`).
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

from reactord.http.views import encode
from reactord.jobs.states import LIVE, State
from reactord.ledger.state import Event

PROGRESS, COMPLETE, FAILED, COUNT = "training:progress", "training:complete", "training:failed", "experience:count"
EVERYTHING = "*"
#: what a name looks like
PATTERN = r"^(\*|[a-z0-9_-]{1,40}(:[a-z0-9_.-]{1,40})*(:\*)?)$"
MAX_CHANNELS = 64
#: data of an event that is longer stays in the journal: `reactord events` shows it
MAX_DATA_BYTES = 32 * 1024
_ENDS = {f"job.{state}": COMPLETE if state == State.COMPLETED else FAILED for state in State if state not in LIVE}


class Message:
    """One thing that is told to everybody who listens to its channel; encoded once.

    `number` is the place in the journal: its own, or that of the newest event before it.
    """

    def __init__(self, number: int, channel: str, payload: bytes, *, kept: bool) -> None:
        self.number, self.channel = number, channel
        self._payload, self._kept = payload, kept

    @cached_property
    def text(self) -> bytes:
        """As one line of JSON: what a WebSocket gets."""
        return b'{"type":"%s","payload":%s,"id":%d}' % (self.channel.encode(), self._payload, self.number)

    @cached_property
    def event(self) -> bytes:
        """As a server-sent event; only what the journal keeps has an id."""
        place = b"id: %d\n" % self.number if self._kept else b""
        return b"event: %s\n%sdata: %s\n\n" % (self.channel.encode(), place, self.text)


def told(event: Event) -> Message:
    """An event of the journal, as it is told."""
    data = event.data
    about: dict[str, Any] = {"topic": event.topic, "subject": event.subject, "at": event.at}
    if event.topic.startswith(("job.", "run.")):
        about["job_id"] = event.subject
    payload = encode({**data, **about})
    if len(payload) > MAX_DATA_BYTES:
        payload = encode({**about, "omitted_bytes": len(payload)})
    return Message(event.seq, channel_of(event.topic), payload, kept=True)


def channel_of(topic: str) -> str:
    """Where an event of this topic is told."""
    return _ENDS.get(topic) or topic.replace(".", ":", 1)


@lru_cache(maxsize=512)
def names_of(channel: str) -> frozenset[str]:
    """Everything by which a client may have asked for this channel."""
    parts = channel.split(":")
    families = (":".join([*parts[:n], EVERYTHING]) for n in range(1, len(parts)))
    return frozenset((EVERYTHING, channel, *families))
