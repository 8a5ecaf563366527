"""What is taken in together, with one fdatasync for all of it?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from reactord.formats import Said
from reactord.formats.records import content_identity
from reactord.ledger.journal import Entry

BATCH_FILES = 200
BATCH_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class Batch:
    """Arrivals that go to the journal together."""

    entries: list[Entry] = field(default_factory=list)
    claimed: list[tuple[str, str | None]] = field(default_factory=list)  # (its name there, reason it is refused for)
    size_bytes: int = 0

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.size_bytes += len(entry.raw)
        if claim := entry.meta.get("claim"):
            self.claimed.append((claim, entry.meta.get("refused")))

    @property
    def full(self) -> bool:
        return len(self.entries) >= BATCH_FILES or self.size_bytes >= BATCH_BYTES


def document(  # noqa: PLR0913 - everything that is known of a whole file
    format_name: str,
    name: str,
    raw: bytes,
    said: Sequence[Said] | None = None,
    *,
    at: float,
    refused: str | None = None,
    **more: Any,  # noqa: ANN401 - JSON values
) -> Entry:
    """The journal entry of a whole document; `name` is printable, `more` says which file of ours or of whom it was."""
    meta = {"format": format_name, "name": name, "at": at, "where": name, **more}
    if refused:
        meta |= {"refused": refused, "identity": content_identity("refused", name, raw)}
    return Entry(meta, raw, said)


_UNPRINTABLE = re.compile(r"[^ -~]")


def printable(name: str) -> str:
    """A file name as ASCII that JSON, logs and other file systems can carry."""
    return (
        name if name.isascii() and name.isprintable() else _UNPRINTABLE.sub(lambda bad: f"\\u{ord(bad[0]):04x}", name)
    )


def known_as(name: str) -> str:
    """What a file is called in the journal: all that we keep of its name, and what its records may depend on."""
    return printable(name)[-120:]


def claim_name(format_name: str, known: str, number: int, at_ns: int) -> str:
    """What a claimed file is called until the ledger has it; `number` counts the claims of this process."""
    return f"{at_ns:020d}-{number:06d}~{format_name}~{known}"


def form_and_name(claim: str) -> tuple[str, str]:
    """(format, what the sender called it as far as our name for it tells): all that the records may depend on."""
    _, form, name = claim.split("~", 2)
    return form, name
