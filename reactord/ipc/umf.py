"""How are we heard by who listens to the unified message fabric (UMF)?

JARVIS can read messages as files: `<base>/<stream>/<observed_at_unix_ms, 15 digits>_<message_id>.json`, renamed into
place, each one flat object of 23 keys (contract/lifecycle.md, "UMF message types" and number 3). It tells files apart by
name, refuses what is older than its `ttl_ms`, forgets who was silent for 30 s, and removes what is older than 24 h.

| Stream | Kind | What | When |
|---|---|---|---|
| lifecycle | heartbeat | how we are; the stream called heartbeat stays empty, nobody listens there for us | every 10 s, at a change |
| event | event | what the bus and the history say: training.*, model.ready, gate.evaluated | once for each event id |

`JARVIS_UMF_MODE` is disabled (nothing is written), shadow or active. What JARVIS believes is its own affair: for us shadow
and active are the same, a copy *beside* every ordinary channel, never instead of one, also where JARVIS itself then stops
its old channels (`JARVIS_UMF_LEGACY_ENABLED`).

* Unsigned: what JARVIS signs with never passes its own check, and a message without a signature does.
* Nothing is read. Nobody sends to reactor-core by this road (the transport exists in JARVIS alone, and no sender of
  commands to us); commands come by their own files, see commands.py.
* No message carries our pid: it lies there after we are gone.
* A message that cannot be written is lost, and shown as any file that cannot be published is; nothing else waits for it.
"""  # noqa: E501 - a table

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from reactord import durable

if TYPE_CHECKING:
    from reactord.ipc.presence import Presence

log = logging.getLogger("reactord.umf")

SCHEMA_VERSION = "umf.v1"
REPO, COMPONENT = "reactor-core", "reactor"
TTL_MS = 30_000
#: stale after 30 s: two may be lost
HEARTBEAT_S = 10.0
#: JARVIS keeps everything so long
KEEP_S = 86_400.0
#: a heartbeat is refused after 30 s; 8,640 a day in a directory that is listed ten times a second would cost its reader
KEEP_HEARTBEATS_S = 3_600.0
MAX_ERROR = 200
#: every message of ours, and the temporary of one that a crash left behind
_OURS = re.compile(r"\A\.?(?P<ms>\d{15})_reactord-[0-9a-f]{32}\.json(?:\.\d+\.tmp)?\Z")

Stream = Literal["lifecycle", "command", "event", "heartbeat", "telemetry"]
Kind = Literal["command", "event", "heartbeat", "ack", "nack"]

SUPERVISOR = ("jarvis", "supervisor")
EVERYBODY = ("broadcast", "*")


class Message(NamedTuple):  # the start of the daemon pays: half of a frozen dataclass
    """One message, as it goes over the wire."""

    stream: Stream
    kind: Kind
    instance_id: str
    session_id: str
    target: tuple[str, str]
    """Repository and component."""
    payload: Mapping[str, Any]
    message_id: str
    at: float
    about: str
    """What it belongs to (a job, a life of the daemon): the messages about one thing have one trace."""

    @property
    def observed_at_unix_ms(self) -> int:
        return int(self.at * 1000)

    def to_dict(self) -> dict[str, Any]:
        """The 23 keys."""
        return {
            "schema_version": SCHEMA_VERSION,
            "message_id": self.message_id,
            "idempotency_key": self.message_id,
            "stream": self.stream,
            "kind": self.kind,
            "source": {
                "repo": REPO,
                "component": COMPONENT,
                "instance_id": self.instance_id,
                "session_id": self.session_id,
            },
            "target": {"repo": self.target[0], "component": self.target[1]},
            "payload": dict(self.payload),
            "observed_at_unix_ms": self.observed_at_unix_ms,
            "routing_partition_key": f"{REPO}.{COMPONENT}",
            "routing_priority": "normal",
            "routing_ttl_ms": TTL_MS,
            "routing_deadline_unix_ms": 0,
            "causality_trace_id": _hex(self.about, 8),
            "causality_span_id": _hex(self.message_id, 4),
            "causality_parent_message_id": None,
            "causality_sequence": 0,
            "contract_capability_hash": "",
            "contract_schema_hash": "",
            "contract_compat_window": "N|N-1",
            "signature_alg": "",
            "signature_key_id": "",
            "signature_value": "",
        }

    def to_json(self) -> str:
        """Sorted keys, ASCII, one line. Raises ValueError for NaN and infinity."""
        return json.dumps(self.to_dict(), sort_keys=True, allow_nan=False)

    def file_name(self) -> str:
        return f"{self.observed_at_unix_ms:015d}_{self.message_id}.json"


class Sender:
    """Writes our messages below `base`. Without one (UMF is disabled) nothing is written and nothing touched."""

    def __init__(self) -> None:
        self.base: Path | None = None
        self.instance_id = self.session_id = ""
        self._beaten: tuple[str, float] | None = None  # the last state that was told, and when
        self._lost: OSError | None = None  # why a message could not be written since the last beat

    def open(self, mode: str, base: Path, environ: Mapping[str, str] | None = None) -> None:
        """Begin a life of the daemon: from now on messages are written, or (disabled) none."""
        environ = os.environ if environ is None else environ
        self._beaten = self._lost = None
        self.base = None if mode == "disabled" else base.expanduser()
        self.instance_id = f"{COMPONENT}-{uuid.uuid4().hex}"
        self.session_id = environ.get("JARVIS_ROOT_SESSION_ID") or self.instance_id
        if self.base:
            log.info("UMF messages (%s) are written to %s, beside the ordinary channels", mode, self.base)

    def beat(self, presence: Presence, now: float, *, gone: bool = False) -> OSError | None:
        """Say how we are, when that is due. Returns why a message was lost since the last beat, if one was."""
        if self.base is None:
            return None
        state = "offline" if gone else presence.status
        if self._beaten is None or self._beaten[0] != state or abs(now - self._beaten[1]) >= HEARTBEAT_S:
            message = Message(
                stream="lifecycle",
                kind="heartbeat",
                instance_id=self.instance_id,
                session_id=self.session_id,
                target=SUPERVISOR,
                payload=_health(presence, state),
                message_id=f"reactord-{uuid.uuid4().hex}",
                at=now,
                about=self.instance_id,
            )
            if self._write(self.base, message):
                self._beaten = state, now
        lost, self._lost = self._lost, None
        return lost

    def tell(self, event_id: str, topic: str, payload: Mapping[str, Any], about: str, now: float) -> None:
        """Send the copy of an event. What is told again, after a crash, lies there already and is not sent again."""
        if self.base is None:
            return
        message = Message(
            stream="event",
            kind="event",
            instance_id=self.instance_id,
            session_id=self.session_id,
            target=EVERYBODY,
            payload={"topic": topic, **payload},
            message_id=event_id,
            at=now,
            about=about,
        )
        self._write(self.base, message)

    def expire(self, now: float) -> int:
        """Remove our own messages that are too old, or that a power cut emptied; others' are never touched."""
        if self.base is None:
            return 0
        removed = 0
        for stream, keep_s in (("lifecycle", KEEP_HEARTBEATS_S), ("event", KEEP_S)):
            directory = self.base / stream
            for path in directory.iterdir() if directory.is_dir() else ():
                found = _OURS.match(path.name)
                if found and (now - int(found["ms"]) / 1000 > keep_s or _is_empty(path)):
                    durable.remove(path)
                    removed += 1
        return removed

    def _write(self, base: Path, message: Message) -> bool:
        """Whether it is there. Why it is not, the next beat tells."""
        directory, once = base / message.stream, message.kind == "event"
        try:
            if once and any(directory.glob(f"*_{message.message_id}.json")):
                return True
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.mkdir(mode=0o700, exist_ok=True)
            durable.publish(directory / message.file_name(), message.to_json().encode(), sync=once)
        except OSError as trouble:
            # not named for the file: each has another name, and the same trouble would look new each time
            where = trouble.filename or directory
            where = directory if Path(where).parent == directory else where
            self._lost = OSError(trouble.errno, trouble.strerror or str(trouble), str(where))
            return False
        return True


#: this process's one sender; `daemon.run` opens it
sender = Sender()


def _health(presence: Presence, state: str) -> dict[str, Any]:
    """What JARVIS keeps of a heartbeat. Its numbers are measured; while we start, we know of nothing that waits."""
    return {
        "state": state,
        "liveness": state != "offline",
        "readiness": state == "ready",
        # what waits to be learned: fresh experiences
        "queue_depth": int(presence.metrics.get("pending_fresh", 0)),
        # the share of the machine's memory that we and our workers take
        "resource_pressure": presence.memory_percent / 100,
        "subsystem_role": COMPONENT,
        "last_error_code": presence.errors[0][:MAX_ERROR] if presence.errors else "",
    }


def _hex(text: str, size_bytes: int) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=size_bytes).hexdigest()


def _is_empty(path: Path) -> bool:
    """Whether a message has no bytes: its reader would stumble over it at each look, for a day."""
    try:
        return path.suffix == ".json" and path.stat().st_size == 0
    except FileNotFoundError:
        return False
