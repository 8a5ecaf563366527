"""Who writes down what peers tell of our work? It becomes an event within a second, also while a job runs for hours.

First the event, then the ingest thread forgets the news: a crash between the two has it told again, and then its id
says that the event is there already.
"""

from __future__ import annotations

import asyncio
import logging

from reactord.jobs.stages import Services, will_pass

log = logging.getLogger("reactord.jobs")

LOOK_EVERY_S = 1.0
#: the ingest thread answers within a look; longer means that it is stuck on a disk
FORGET_TIMEOUT_S = 60.0


async def tell_on(services: Services) -> None:
    """Until cancelled. A disk that refuses is asked again; nothing is lost meanwhile."""
    shown = None
    while True:
        try:
            await _tell_on(services)
            shown = None
        except Exception as trouble:
            if not will_pass(trouble):
                raise
            words = str(trouble) or type(trouble).__name__
            if words != shown:
                log.warning("news cannot be written down: %s. It waits, and goes on by itself.", words)
            shown = words
        await asyncio.sleep(LOOK_EVERY_S)


async def _tell_on(services: Services) -> None:
    news, store = services.inbox.intake.notices, services.store
    if not news:
        return
    now = services.clock()
    with store.transaction():
        for new in news:
            if not store.has_event(new.subject, new.event_id):
                store.note(new.topic, new.subject, now, event_id=new.event_id, facts=new.facts)
    async with asyncio.timeout(FORGET_TIMEOUT_S):
        await asyncio.wrap_future(services.inbox.told(news))
