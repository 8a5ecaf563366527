"""What is told again is never old: the next question after a change gets the new answer."""

from __future__ import annotations

import pytest
from support.http_daemon import house_in, served

from reactord.http import answers, views

STATUS = "/api/training/status/a1"


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path) as house:
        house.queue("a1")
        yield house


@pytest.fixture
def encoded(monkeypatch):
    """How often something had to be encoded."""
    found, real = [], views.encode
    monkeypatch.setattr(answers.views, "encode", lambda document: found.append(document) or real(document))
    return found


async def test_a_status_is_worked_out_once_and_anew_after_every_change(house, encoded):
    async with served(house) as at:
        for _ in range(3):
            assert (await at.get(STATUS))[1]["state"] == "queued"
        assert len(encoded) == 1
        house.fire("a1", "admit", "start")
        assert (await at.get(STATUS))[1]["state"] == "training"
        for step in (1, 2):
            house.step("a1", step)
            assert (await at.get(STATUS))[1]["progress"]["step"] == step
        house.fire("a1", "fail", cause="no memory")
        assert (await at.get(STATUS))[1]["error"] == "no memory"
        assert len(encoded) == 5
        for unknown in ("a1x", "%00", "..%2Fa1", "%2Fetc%2Fpasswd"):
            assert (await at.get(f"/api/training/status/{unknown}"))[0] == 404


async def test_the_health_shows_every_change_at_once(house, encoded):
    async with served(house) as at:
        assert (await at.get("/health"))[1]["queued_jobs"] == 1
        house.queue("a2")
        assert (await at.get("/health"))[1]["queued_jobs"] == 2
        house.troubles = ("the disk is full",)
        assert (await at.get("/health"))[1]["degraded"] is True
        house.phase = "stopping"
        assert (await at.get("/health"))[1]["phase"] == "stopping"


async def test_the_uptime_goes_on_although_nothing_changes(house, encoded):
    now = house.started_at
    house.clock = lambda: now
    async with served(house) as at:
        assert (await at.get("/health"))[1]["uptime_seconds"] == 0
        now += answers.HEALTH_FOR_S / 2
        await at.get("/health")
        assert len(encoded) == 1
        now += 10
        assert (await at.get("/health"))[1]["uptime_seconds"] == pytest.approx(10.05)


async def test_not_more_than_a_few_answers_are_kept(house, monkeypatch, encoded):
    monkeypatch.setattr(answers, "MAX_KEPT", 2)
    for job in ("a2", "a3"):
        house.queue(job)
    async with served(house) as at:
        for job in ("a1", "a2", "a3", "a1", "a3"):
            assert (await at.get(f"/api/training/status/{job}"))[1]["job_id"] == job
    assert [document["job_id"] for document in encoded] == ["a1", "a2", "a3", "a1"]
