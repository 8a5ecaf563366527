"""Is news of our own work told on, once, whatever ends in between?"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sqlite3
import threading

import pytest
from support.job_world import World
from support.ledgers import Ledger, chunk, dump, line

from reactord.ipc import inbox as inbox_module
from reactord.ipc.inbox import Inbox
from reactord.jobs import driver as driver_module
from reactord.jobs import news as telling
from reactord.jobs.states import State
from reactord.ledger import news
from reactord.ledger.journal import Entry


def _report(home, name="m", place="deploy_1.json"):
    path = home.root / "reactor" / "feedback" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"model_name": name, "health_verified": True}))


def _entry(name):
    meta = {"format": "deployment", "name": name, "at": 5.0, "where": name}
    return Entry(meta, json.dumps({"model_name": name}).encode())


def _waiting(inbox):
    return [new.subject for new in inbox.intake.notices]


def _ends(*_):
    raise SystemExit


# -- they wait in the index --------------------------------------------------------------------------------------------
def test_news_that_nobody_told_on_waits_for_the_next_life(home):
    with contextlib.closing(Inbox(home)) as inbox:
        _report(home)
        inbox.turn()
        (first,) = inbox.intake.notices
    with contextlib.closing(Inbox(home)) as inbox:
        inbox.turn()
        assert inbox.intake.notices == (first,)
        inbox.told([first])
        inbox.turn()
        assert not inbox.intake.notices
    with contextlib.closing(Inbox(home)) as inbox:
        inbox.turn()
        assert not inbox.intake.notices


def test_news_keeps_its_id_when_the_journal_is_read_again(home):
    ledger = Ledger(home)
    for name in ("a", "b"):
        ledger.add(chunk([line(name)], name=f"interactions_{name}.jsonl"), _entry(name))
    again = ledger.rebuilt([])

    assert [new.subject for new in ledger.index.untold()] == ["a", "b"]
    assert again.untold() == ledger.index.untold()
    assert len({new.event_id for new in again.untold()}) == 2
    again.close()
    ledger.close()


def test_news_is_entered_with_its_bytes_or_neither_is(home, monkeypatch):
    ledger = Ledger(home)
    before = dump(ledger.index)
    with monkeypatch.context() as refusing:
        refusing.setattr(news, "enter", _refuse)
        with pytest.raises(sqlite3.OperationalError):
            ledger.add(chunk([line("a")]), _entry("b"))
    assert dump(ledger.index) == before
    ledger.close()


def test_a_crash_in_the_middle_of_a_rebuild_does_not_tell_old_news_either(home, monkeypatch):
    with contextlib.closing(Inbox(home)) as inbox:
        for n in range(3):
            _report(home, name=f"old{n}", place=f"deploy_{n}.json")
            inbox.turn()
    for path in home.ledger.glob("index.db*"):
        path.unlink()
    with contextlib.closing(Inbox(home)) as inbox:
        monkeypatch.setattr(inbox.journal, "open", _ends)
        monkeypatch.setattr(inbox, "_refresh", _ends)
        with pytest.raises(SystemExit):
            inbox.open()  # some of it is entered, so the next start finds an index that is not new
    _report(home, name="new", place="deploy_9.json")
    with contextlib.closing(Inbox(home)) as inbox:
        inbox.turn()
        assert _waiting(inbox) == ["new"]


def test_news_of_the_very_first_batch_survives_a_crash_before_the_index_has_it(home, monkeypatch):
    with contextlib.closing(Inbox(home)) as inbox:
        inbox.open()
        _report(home)
        monkeypatch.setattr(inbox.journal, "append", _appended_then_ends(inbox.journal.append))
        with pytest.raises(SystemExit):
            inbox.turn()

    with contextlib.closing(Inbox(home)) as again:
        again.turn()
        assert _waiting(again) == ["m"]


def _appended_then_ends(real):
    def append(entries):
        real(entries)
        raise SystemExit

    return append


def test_only_the_newest_wait_and_that_some_went_is_said(home, monkeypatch, caplog):
    monkeypatch.setattr(news, "MAX_WAITING", 3)
    monkeypatch.setattr(news, "AT_ONCE", 2)
    ledger = Ledger(home)
    with caplog.at_level(logging.WARNING):
        ledger.add(*map(_entry, "ab"))
        assert not caplog.records
        ledger.add(*map(_entry, "cde"))

    assert "2 news of our own work go untold" in caplog.text
    first = ledger.index.untold()
    assert [new.subject for new in first] == ["c", "d"], "so many at once"
    ledger.index.forget_news(first)
    assert [new.subject for new in ledger.index.untold()] == ["e"]
    ledger.close()


# -- and are told ------------------------------------------------------------------------------------------------------
class _Living(World):
    """A world with the real ingest thread."""

    def __init__(self, home):
        super().__init__(home, inbox=Inbox(home))
        self.ingest = threading.Thread(target=self.inbox.run, daemon=True)
        self.ingest.start()
        self.news = asyncio.create_task(telling.tell_on(self.driver.services))

    def events(self):
        return [event for event in self.store.events() if event.topic == "prime.deployment"]

    async def close(self):
        self.news.cancel()
        await asyncio.gather(self.news, return_exceptions=True)
        await self.stop()
        self.inbox.stop()
        await asyncio.to_thread(self.ingest.join, 10)
        self.store.close()


@pytest.fixture
async def world(home, monkeypatch):
    for module in (telling, driver_module):
        monkeypatch.setattr(module, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(inbox_module, "LOOK_EVERY_MS", 20)
    made = _Living(home)
    yield made
    await made.close()


async def test_news_becomes_an_event_while_a_job_runs(world, home, monkeypatch):
    async def hours(services, job):
        await asyncio.Event().wait()

    monkeypatch.setitem(driver_module.WORK, State.RESERVING, hours)
    world.start()
    world.ask()
    await world.until(lambda: world.driver.running)

    _report(home)
    await world.until(lambda: world.events() and not world.inbox.intake.notices)

    (event,) = world.events()
    assert (event.subject, event.data["facts"]["health_verified"]) == ("m", True)
    assert world.driver.running


async def test_news_that_cannot_be_forgotten_yet_is_told_once(world, home, monkeypatch):
    real, asked = world.inbox.told, []

    def told(waiting):
        asked.append(waiting)
        return world.inbox.call(_refuse) if len(asked) < 4 else real(waiting)

    monkeypatch.setattr(world.inbox, "told", told)
    _report(home)
    await world.until(lambda: len(asked) >= 4 and not world.inbox.intake.notices)

    assert len(world.events()) == 1
    assert len({new.event_id for waiting in asked for new in waiting}) == 1


def _refuse(*_):
    raise sqlite3.OperationalError("database or disk is full")


async def test_two_equal_reports_are_two_events(world, home):
    for place in ("deploy_1.json", "deploy_2.json"):
        _report(home, place=place)
    await world.until(lambda: len(world.events()) == 2 and not world.inbox.intake.notices)

    assert len({event.data["event_id"] for event in world.events()}) == 2


async def test_a_mistake_of_ours_is_loud(world, home, monkeypatch):
    def mistake(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(world.store, "has_event", mistake)
    _report(home)
    await world.until(world.news.done)

    assert isinstance(world.news.exception(), ZeroDivisionError)
