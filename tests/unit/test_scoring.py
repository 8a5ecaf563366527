"""Is the score fed with what is new, once, beside everything else?"""

from __future__ import annotations

import asyncio

import pytest
from support.ledgers import Ledger, chunk, line

from reactord.ipc.inbox import Intake
from reactord.jobs import scoring as module
from reactord.jobs.scoring import Scoring, known_tasks
from reactord.ledger import reading
from reactord.ledger.state import Job


def told(n, **more):
    return line(f"e{n}", user_input=f"Which colour has thing {n} of {n * 7}?", assistant_output=f"colour {n}", **more)


class Desk:
    """A ledger, what the ingest says of it, and the score of it."""

    def __init__(self, home):
        self.ledger, self.intake, self.length = Ledger(home), Intake(ready=True), 0
        self.scoring = Scoring(home, self.intake)

    def receive(self, *lines):
        self.ledger.add(chunk(lines, start=self.length))
        self.length += sum(len(one) + 1 for one in lines)
        self.intake.fresh, self.intake.last_seq = self.ledger.index.fresh(self.intake.fresh_after)

    def job_looked(self, upto):
        self.intake.fresh_after = upto
        self.intake.fresh, self.intake.last_seq = self.ledger.index.fresh(upto)

    async def settled(self):
        for _ in range(1000):
            score = self.scoring.look([], 1e9)
            if score and score.complete and self.scoring._portion is None:
                return score
            await asyncio.sleep(0.002)
        raise AssertionError("the score is never complete")


@pytest.fixture
def desk(home):
    return Desk(home)


@pytest.fixture
def read(monkeypatch):
    """Places of the records that were read, in order."""
    seen, real = [], reading.pending

    def pending(*arguments, **more):
        for record in real(*arguments, **more):
            seen.append(record.seq)
            yield record

    monkeypatch.setattr(reading, "pending", pending)
    return seen


async def test_what_is_new_is_scored_in_portions_and_read_once(desk, read, monkeypatch):
    monkeypatch.setattr(module, "PORTION", 10)
    desk.receive(*(told(n) for n in range(25)))
    assert desk.scoring.look([], 1e9) is None  # the first portion is being read

    score = await desk.settled()
    assert (score.total, score.counts) == (27.0, {"novel_task_type": 1, "plain": 24})

    desk.receive(told(99, outcome="failure"))
    assert (await desk.settled()).total == 30.0
    assert read == list(range(1, 27))


async def test_a_score_that_is_not_complete_says_so(desk, monkeypatch):
    monkeypatch.setattr(module, "PORTION", 10)
    desk.receive(*(told(n) for n in range(25)))
    seen = set()
    for _ in range(1000):
        if score := desk.scoring.look([], 1e9):
            seen.add((score.upto, score.complete))
            if score.complete:
                break
        await asyncio.sleep(0.001)

    assert seen == {(10, False), (20, False), (25, True)}


async def test_once_the_score_is_enough_nothing_more_is_read(desk, read, monkeypatch):
    monkeypatch.setattr(module, "PORTION", 10)
    desk.receive(*(told(n) for n in range(25)))
    for _ in range(100):
        score = desk.scoring.look([], 15.0)
        await asyncio.sleep(0.002)

    assert (score.total, score.complete) == (22.0, False)
    assert len(read) == 20


async def test_nobody_asks_for_a_score_of_which_nothing_is_enough(desk, read):
    desk.receive(told(1))

    assert desk.scoring.look([], 0.0) is None
    assert desk.scoring._portion is None


async def test_what_a_job_has_looked_at_counts_no_more(desk, read):
    desk.receive(*(told(n) for n in range(20)))
    await desk.settled()
    desk.job_looked(15)
    assert desk.scoring.look([], 1e9) is None

    score = await desk.settled()

    assert sum(score.counts.values()) == 5
    assert read == [*range(1, 21), *range(16, 21)]


async def test_after_a_restart_the_score_is_the_same(desk, home):
    desk.receive(*(told(n, outcome="failure" if n % 3 else "success") for n in range(30)))
    before = await desk.settled()

    desk.scoring = Scoring(home, desk.intake)

    assert await desk.settled() == before


async def test_nothing_new_costs_nothing(desk, read):
    desk.receive(told(1))
    desk.job_looked(1)

    assert desk.scoring.look([], 1e9) is None
    assert desk.scoring._portion is None
    assert read == []


async def test_a_journal_that_cannot_be_read_is_tried_again(desk, home, caplog):
    desk.receive(told(1))
    aside = home.journal.rename(home.journal.with_name("aside"))
    desk.scoring.look([], 1e9)
    await asyncio.wait([desk.scoring._portion])
    assert desk.scoring.look([], 1e9) is None
    assert "cannot score what is new" in caplog.text
    await asyncio.wait([desk.scoring._portion])
    aside.rename(home.journal)

    assert (await desk.settled()).counts == {"novel_task_type": 1}


async def test_a_bug_in_the_score_ends_the_score_and_nothing_else(desk, monkeypatch, caplog):
    monkeypatch.setattr(module, "_portion", lambda *_: 1 / 0)
    desk.receive(told(1))
    desk.scoring.look([], 1e9)
    await asyncio.wait([desk.scoring._portion])

    assert desk.scoring.look([], 1e9) is None
    assert desk.scoring._portion is None
    assert caplog.text.count("a bug while scoring") == 1


def test_the_kinds_of_tasks_that_datasets_held_are_known():
    facts = [{"counts": {"by_task_type": {"fact": 3}}}, {"counts": {"by_task_type": {"code": 1, "fact": 2}}}, {},
             {"counts": None}]  # fmt: skip
    jobs = [Job(id=str(i), state="completed", cause="", attempt=0, fence=0, created_at=0, updated_at=0, request={},
                facts=known) for i, known in enumerate(facts)]  # fmt: skip

    assert known_tasks(jobs) == {"fact", "code"}
