"""How does what came over HTTP become durable before it is answered? Records go by the door that files take (ipc/)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from reactord.errors import EnvironmentTrouble
from reactord.http.facade import Facade

#: the ingest thread answers within a look; longer means that it is stuck on a disk
TIMEOUT_S = 30.0


async def offer(facade: Facade, format_name: str, documents: Iterable[tuple[str, bytes]]) -> int:
    """Hand in documents, (name, bytes) each; returns how many records were new, once all are durable.

    Raises BadRecord when one is not what its format promises, EnvironmentTrouble when the ledger cannot write.
    """
    with written_down():
        waiting = [asyncio.wrap_future(facade.offer(format_name, name, raw)) for name, raw in documents]
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return sum(await asyncio.gather(*waiting))
        except TimeoutError:
            raise EnvironmentTrouble(f"the ledger did not answer in {TIMEOUT_S:.0f} s; send it again later") from None


@contextmanager
def written_down() -> Iterator[None]:
    """Around what must be on the disk before it is answered: a disk that is full is no bug, and passes (503)."""
    try:
        yield
    except (OSError, sqlite3.Error) as trouble:
        raise EnvironmentTrouble(f"the ledger cannot write ({trouble}); make room and send it again") from None
