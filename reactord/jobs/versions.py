"""Which version comes next, and how is it written for Prime?

Ours are semantic: v1.0.0, then v1.1.0, v1.2.0 for every run. Prime's readers want `v{M}.{m}-{letters}-{YYYY-MM-DD}`
(contract/prime.md section 7, row 5). That shape has no patch number, so a version with one is refused: two versions of
ours never become one of Prime's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from reactord.errors import BadRequest

_OURS = re.compile(r"\Av(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\Z")
_PRIMES = re.compile(r"\Av(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})-[a-z]+-\d{4}-\d{2}-\d{2}\Z")
_KIND = re.compile(r"\A[a-z]+\Z")


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A semantic version; orders as numbers, not as text."""

    major: int
    minor: int
    patch: int = 0

    def __str__(self) -> str:
        return f"v{self.major}.{self.minor}.{self.patch}"


def parse(text: str) -> Version:
    """Read `v1.2.0`, or Prime's `v1.2-auto-2026-11-21`. Raises BadRequest for anything else."""
    found = _OURS.match(text) or _PRIMES.match(text)
    if found is None:
        raise BadRequest(f"{text!r} is no version: write it like v1.2.0")
    return Version(*map(int, found.groups()))


def next_version(existing: Iterable[str]) -> str:
    """The version after the highest of `existing`: one minor step, v1.0.0 when there is none.

    Raises BadRequest for a version that cannot be read, since skipping it could give it out again.
    """
    known = [parse(text) for text in existing]
    if not known:
        return str(Version(1, 0))
    highest = max(known)
    return str(Version(highest.major, highest.minor + 1))


def for_prime(version: str, created_at: float, kind: str = "auto") -> str:
    """Prime's form of `version`: `v1.2-auto-2026-11-21`, with the UTC day of `created_at` (epoch seconds).

    `kind` is one lower-case word (`auto`, `rollback`). Raises BadRequest for a version with a patch number.
    """
    parsed = parse(version)
    if parsed.patch or not _OURS.match(version):
        raise BadRequest(
            f"{version} cannot be told to Prime without losing its patch number: use the next minor version"
        )
    if not _KIND.match(kind):
        raise BadRequest(f"{kind!r} must be one word of small letters")
    return f"v{parsed.major}.{parsed.minor}-{kind}-{datetime.fromtimestamp(created_at, tz=UTC):%Y-%m-%d}"
