"""What does a supervisor that manages us by a contract expect? (contract/lifecycle.md, "Managed mode")

Names and values that other repositories share byte for byte. Three things differ from the first implementation on
purpose: an empty secret proves nothing, a timestamp is plain digits, and a proof counts once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

SCHEMA_VERSION = "1.0.0"
EXIT_CLEAN = 0
EXIT_CONFIG_ERROR, EXIT_CONTRACT_MISMATCH = 100, 101
EXIT_DEPENDENCY_FAILURE = 200
#: the parent sees 44: POSIX keeps eight bits
EXIT_RUNTIME_FATAL = 300
TOLERANCE_S = 30
SUBSYSTEM = "reactor"

Readiness = Literal["ready", "not_ready", "degraded", "draining"]
_PROOF = re.compile(r"(?P<at>[0-9]{1,12}):(?P<nonce>[0-9A-Za-z_-]{1,128}):(?P<sum>[0-9a-f]{64})")


def is_root_managed() -> bool:
    """Whether a supervisor manages us; asked anew each time."""
    return os.environ.get("JARVIS_ROOT_MANAGED", "").lower() == "true"


def session_id() -> str:
    """The supervisor's session; empty without one."""
    return os.environ.get("JARVIS_ROOT_SESSION_ID", "")


def secret() -> str:
    """What proofs are made with; empty when nobody gave us one."""
    return os.environ.get("JARVIS_CONTROL_PLANE_SECRET", "")


def build_health_envelope(
    base: Mapping[str, Any], readiness: Readiness, drain_id: str | None = None, capability_hash: str | None = None
) -> dict[str, Any]:
    """The health object for a supervisor that has a session; without one, `base` as it is.

    `start_time_ns` and `exec_fingerprint` are left open: the supervisor computes both in another way than it says,
    skips what is open, and refuses what differs.
    """
    if not session_id():
        return dict(base)
    return {
        **base,
        "liveness": "up",
        "readiness": readiness,
        "session_id": session_id(),
        "pid": os.getpid(),
        "start_time_ns": None,
        "exec_fingerprint": "",
        "subsystem_role": os.environ.get("JARVIS_SUBSYSTEM_ROLE") or SUBSYSTEM,
        "schema_version": SCHEMA_VERSION,
        "capability_hash": capability_hash,
        "drain_id": drain_id,
        "observed_at_ns": time.monotonic_ns(),
        "wall_time_utc": datetime.now(UTC).isoformat(),
    }


def build_hmac_auth(session: str, key: str) -> str:
    """A proof that its maker knows the secret: `<unix_ts>:<nonce>:<hex>`."""
    at, nonce = str(int(time.time())), secrets.token_hex(16)
    return f"{at}:{nonce}:{_sum(at, nonce, session, key)}"


def verify_hmac_auth(header: str, session: str, key: str, tolerance_s: float = TOLERANCE_S) -> bool:
    """Whether a proof is of this session and secret, and not older (or younger) than the tolerance."""
    proof = _PROOF.fullmatch(header)
    if not key or proof is None or abs(time.time() - int(proof["at"])) > tolerance_s:
        return False
    return hmac.compare_digest(proof["sum"], _sum(proof["at"], proof["nonce"], session, key))


class Proofs:
    """Proofs that were used already: each counts once while it is young enough to be believed.

    What was made before our time may have been used on the reactord before us, and counts for nobody.
    """

    def __init__(self) -> None:
        self._used: dict[str, float] = {}
        self._since = int(time.time())

    def accept(self, header: str, session: str, key: str) -> bool:
        """Whether this proof is right, and new."""
        now = time.monotonic()
        self._used = {nonce: until for nonce, until in self._used.items() if until > now}
        if not verify_hmac_auth(header, session, key) or header in self._used:
            return False
        if int(header.partition(":")[0]) < self._since:
            return False
        self._used[header] = now + 2 * TOLERANCE_S
        return True


def _sum(at: str, nonce: str, session: str, key: str) -> str:
    return hmac.new(key.encode(), f"{at}:{nonce}:{session}".encode(), hashlib.sha256).hexdigest()


def compute_exec_fingerprint(binary: str, cmdline: Sequence[str]) -> str:
    """Which program this is."""
    said = json.dumps({"binary": binary, "cmdline": list(cmdline)}, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def compute_capability_hash(capabilities: Mapping[str, Any]) -> str:
    """What it can do, in 64 hexadecimal characters."""
    said = json.dumps(capabilities, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(said.encode()).hexdigest()


def capability_list_hash(capabilities: Sequence[str]) -> str:
    """The same for a list of names, as GET /capabilities writes it."""
    return f"sha256:{hashlib.sha256(','.join(sorted(capabilities)).encode()).hexdigest()[:16]}"
