"""A standard client of server-sent events, httpx-sse: it follows a job, and comes back to where it was."""

from __future__ import annotations

import json

import httpx
import pytest
from httpx_sse import aconnect_sse
from support.http_daemon import house_in, served

STREAM = "/api/training/stream/a1"


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path) as house:
        house.queue("a1")
        house.fire("a1", "admit", "start")
        for step in (1, 2, 3):
            house.step("a1", step)
        yield house


async def _events(at, path, **headers):
    """Until the stream ends, which is when the job has."""
    url = at.base + path
    async with httpx.AsyncClient(timeout=20) as client, aconnect_sse(client, "GET", url, headers=headers) as to:
        assert to.response.headers["content-type"].startswith("text/event-stream")
        return [event async for event in to.aiter_sse()]


async def test_it_follows_a_job_to_its_end(house):
    house.fire("a1", "fail")
    async with served(house) as at:
        found = await _events(at, STREAM)
    assert {event.event for event in found} == {"status"}
    assert json.loads(found[-1].data)["status"] == "failed"
    assert found[-1].id == "3"


async def test_it_comes_back_to_where_it_was_after_the_server_was_started_again(house):
    house.fire("a1", "fail")
    async with served(house) as at:
        first = await _events(at, STREAM, **{"Last-Event-ID": "0"})
    async with served(house) as at:
        again = await _events(at, STREAM, **{"Last-Event-ID": "1"})
    lines = [event for event in first if json.loads(event.data)["status"] == "training"]
    assert [event.id for event in lines] == ["1", "2", "3"]
    assert [event.data for event in again] == [event.data for event in first[1:]]


async def test_the_events_of_a_channel_arrive_with_their_ids(house):
    async with (
        served(house) as at,
        httpx.AsyncClient(timeout=20) as client,
        aconnect_sse(client, "GET", f"{at.base}/api/v1/events/stream?channels=job:*,training:failed") as to,
    ):
        heard = to.aiter_sse()
        house.fire("a1", "fail")
        event = await anext(heard)
    assert event.event == "training:failed"
    assert int(event.id) == house.store.last_event()
