"""What must they know who come from elsewhere? 64 hexadecimal digits, in a file that only our user may read."""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

from reactord import durable
from reactord.errors import BadConfig

BYTES = 32
_SHAPE = re.compile(r"[0-9a-f]{64}")
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def made(path: Path) -> str:
    """The token; made where there is none yet. Raises BadConfig when others could know it, and OSError."""
    if (known := read(path)) is not None:
        return known
    token = secrets.token_hex(BYTES)
    durable.publish(path, f"{token}\n".encode(), mode=0o600)
    return token


def read(path: Path) -> str | None:
    """The token; None: there is no file. Raises BadConfig when others could know it, and OSError."""
    try:
        descriptor = os.open(path, _OPEN)
    except FileNotFoundError:
        return None
    except OSError as trouble:
        raise BadConfig(f"{path} cannot be read ({trouble.strerror}); remove it, and a new token is made") from None
    try:
        known = os.fstat(descriptor)
        if not stat.S_ISREG(known.st_mode) or known.st_uid != os.geteuid():
            raise BadConfig(f"{path} is no plain file of yours; remove it, and a new token is made at the next start")
        if known.st_mode & 0o077:
            raise BadConfig(f"others may read the token in {path}; remove it, and a new one is made at the next start")
        token = os.read(descriptor, 1024).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)
    if not _SHAPE.fullmatch(token):
        raise BadConfig(f"{path} holds no token; remove it, and a new one is made at the next start")
    return token
