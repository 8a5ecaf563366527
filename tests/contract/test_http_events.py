"""Everything that happens as server-sent events, from the journal on, and what is counted of it."""

from __future__ import annotations

import asyncio
import json

import pytest
from support.http_daemon import SseEvent, house_in, parse_sse, served

STREAM, STATUS = "/api/v1/events/stream", "/api/v1/events/status"


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path) as house:
        yield house


def note(house, topic: str, subject: str = "s", **data) -> None:
    with house.store.transaction():
        house.store.note(topic, subject, 1.5, **data)


async def heard(answer, until: str) -> list[SseEvent]:
    """Everything up to the first event of this type."""
    data = b""
    while f"event: {until}\n".encode() not in data or not data.endswith(b"\n\n"):
        data += await asyncio.wait_for(answer.content.readany(), 10)
    return parse_sse(data.decode("ascii"))


async def test_an_event_has_the_id_of_its_row_and_a_standard_parser_reads_it(house):
    async with served(house) as at, at.session.get(at.base + STREAM) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        note(house, "model.deployed", "v1.0.1", job_id="a1", text="é")
        event = (await heard(answer, "model:deployed"))[-1]
    assert event.id == "1"
    assert json.loads(event.data) == {
        "type": "model:deployed",
        "payload": {"job_id": "a1", "text": "é", "topic": "model.deployed", "subject": "v1.0.1", "at": 1.5},
        "id": 1,
    }


async def test_last_event_id_replays_across_a_restart_and_goes_on_with_what_happens(tmp_path):
    with house_in(tmp_path) as house:
        async with served(house) as at, at.session.get(at.base + STREAM) as answer:
            note(house, "note.a", "1")
            seen = await heard(answer, "note:a")
    with house_in(tmp_path) as house:
        note(house, "note.a", "2")
        note(house, "note.b", "3")
        headers = {"Last-Event-ID": seen[-1].id}
        async with served(house) as at, at.session.get(at.base + STREAM, headers=headers) as answer:
            past = await heard(answer, "note:b")
            note(house, "note.c", "4")
            now = await heard(answer, "note:c")
    events = [event for event in past + now if event.type.startswith("note")]
    assert [(event.id, json.loads(event.data)["payload"]["subject"]) for event in events] == [
        ("2", "2"), ("3", "3"), ("4", "4"),
    ]  # fmt: skip


async def test_without_an_id_only_what_happens_from_now_on_is_told(house):
    note(house, "note.a")
    async with served(house) as at, at.session.get(at.base + STREAM) as answer:
        note(house, "note.b")
        assert [event.type for event in await heard(answer, "note:b")] == ["note:b"]


@pytest.mark.parametrize("value", ["x", "-1", "9" * 30, "99999"])
async def test_an_id_that_is_none_of_ours_gets_what_happens_from_now_on(house, value):
    note(house, "note.a")
    headers = {"Last-Event-ID": value}
    async with served(house) as at, at.session.get(at.base + STREAM, headers=headers) as answer:
        await asyncio.sleep(0.2)
        note(house, "note.b")
        assert [event.type for event in await heard(answer, "note:b")] == ["note:b"]


async def test_channels_are_chosen_and_a_place_named_in_the_query(house):
    for topic in ("note.a", "other.b", "note.c"):
        note(house, topic)
    async with served(house) as at:
        query = "?channels=note:a,note:c&after=0"
        async with at.session.get(at.base + STREAM + query) as answer:
            assert [event.id for event in await heard(answer, "note:c")] == ["1", "3"]


async def test_the_progress_of_all_jobs_is_in_it_and_does_not_move_the_id(house):
    async with served(house) as at, at.session.get(at.base + STREAM + "?channels=training:*") as answer:
        house.queue("a1")
        house.fire("a1", "admit", "start")
        house.step("a1", 1)
        text = b""
        while b'"step 1 of 4"' not in text:
            text += await asyncio.wait_for(answer.content.readany(), 10)
        house.fire("a1", "fail")
        events = await heard(answer, "training:failed")
    steps = [piece for piece in text.split(b"\n\n") if piece.startswith(b"event: training:progress\n")]
    assert steps
    assert not any(b"\nid: " in step for step in steps)
    assert [event for event in events if event.type == "training:failed"][-1].id == str(house.store.last_event())


@pytest.mark.parametrize("query", ["channels=", "channels=A", "channels=a,,b", "after=-1", "after=x", "channels=a b"])
async def test_a_query_that_makes_no_sense_is_a_400(house, query):
    async with served(house) as at:
        status, refusal = await at.get(f"{STREAM}?{query}")
    assert status == 400
    assert refusal["hint"]


async def test_an_event_that_is_too_long_for_a_line_is_told_without_its_data(house):
    note(house, "note.long", text="z" * 100_000)
    async with served(house) as at, at.session.get(at.base + STREAM + "?after=0") as answer:
        [event] = await heard(answer, "note:long")
    assert len(event.data) < 1000
    assert json.loads(event.data)["payload"]["omitted_bytes"] > 100_000


async def test_the_status_counts_what_is_there(house):
    note(house, "note.a")
    note(house, "note.a")
    house.queue("a1")
    async with (
        served(house) as at,
        at.session.get(at.base + STREAM) as one,
        at.session.get(at.base + "/api/training/stream/a1") as two,
        at.session.ws_connect(at.base + "/ws/trinity") as three,
    ):
        await one.content.readany()
        await two.content.readany()
        await three.receive_json(timeout=5)
        status, said = await at.get(STATUS)
    assert status == 200
    assert said == {
        "newest": 3, "recent": {"job.queued": 1, "note.a": 2}, "streams": 3, "following": 1, "listening": 2, "jobs": 1,
        "queued": 0, "gaps": 0, "missed": 0,
    }  # fmt: skip


async def test_the_documents_show_the_streams_and_the_websockets(house):
    async with served(house) as at:
        _, document = await at.get("/openapi.json")
        async with at.session.get(at.base + "/docs") as page:
            text = await page.text()
    for path in ("/ws", "/ws/trinity"):
        answers = document["paths"][path]["get"]["responses"]
        assert "101" in answers
        assert "426" in answers
        assert "200" not in answers
        assert path in text
    stream = document["paths"][STREAM]["get"]
    assert "text/event-stream" in stream["responses"]["200"]["content"]
    assert {parameter["name"] for parameter in stream["parameters"]} == {"channels", "after"}
