"""contract/body.md 1.5: one stream for Body's naive client and for every standard SSE parser."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from support.http_daemon import body_client, house_in, parse_sse, served

from reactord.http import stream
from reactord.http.app import build
from reactord.http.listen import serve
from reactord.settings import Settings

TRAINED = {"version": "v1.0.1", "training": {"loss": 0.1}, "candidate": {"preference_accuracy": 0.95}}


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path) as house:
        house.queue("a1")
        yield house


def complete(house) -> None:
    house.fire("a1", "export", "deploy", "complete", **TRAINED)


async def eventually(condition) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def whole(at, **headers: str) -> str:
    async with at.session.get(f"{at.base}/api/training/stream/a1", headers=headers) as response:
        assert response.status == 200
        return (await response.read()).decode("ascii")


async def test_bodys_client_follows_a_job_from_the_queue_to_its_end(house):
    updates: list[dict[str, Any]] = []
    async with served(house) as at:

        async def follow():
            async for update in body_client(at, "a1"):
                updates.append(update)
                # what the coordinator does with it (ATC:1374-1407); a null or a string would fail the job
                f"{update.get('epoch', 0)}/{update.get('total_epochs', 3)} {update.get('loss', 0.0):.4f}"

        following = asyncio.create_task(follow())
        await eventually(lambda: updates)
        house.fire("a1", "admit", "start")
        await eventually(lambda: updates[-1]["state"] == "training")
        for number in (1, 2, 3, 4):
            house.step("a1", number)
        await eventually(lambda: updates[-1]["progress"].get("step") == 4)
        complete(house)
        await asyncio.wait_for(following, 5)
    assert [u["state"] for u in updates] == ["queued", "training", *["training"] * 4, "completed"]
    assert {u["status"] for u in updates[:-1]} == {"training"}
    last = updates[-1]
    assert (last["status"], last["model_version"], last["error"]) == ("completed", "v1.0.1", None)
    assert last["metrics"]["preference_accuracy"] == 0.95
    assert all(isinstance(number, int | float) for number in last["metrics"].values())


async def test_a_standard_sse_parser_reads_the_same_updates_from_the_same_bytes(house):
    house.fire("a1", "admit", "start")
    house.step("a1", 1)
    complete(house)
    async with served(house) as at:
        text = await whole(at)
    lines = [json.loads(line) for line in text.split("\n") if line.startswith("{")]
    events = parse_sse(text)
    assert [json.loads(event.data) for event in events] == lines
    assert {event.type for event in events} == {"status"}


async def test_a_client_that_asks_for_sse_gets_nothing_else(house):
    house.fire("a1", "fail", cause="no memory")
    async with served(house) as at:
        text = await whole(at, Accept="text/event-stream")
    assert text.startswith("event: status\nid: 0\ndata: {")
    assert text.endswith("}\n\n")
    assert json.loads(parse_sse(text)[-1].data)["error"] == "no memory"


async def test_every_line_is_short_ascii_and_nothing_but_objects(house):
    house.fire("a1", "admit", "start")
    house.work("a1").progress("train", "note", text="😀" * 7_000)
    house.fire("a1", "fail", cause="é😀" * 50_000)
    async with served(house) as at:
        text = await whole(at)
    for line in text.split("\n"):
        assert len(line) < 64 * 1024
        if not line.startswith(("event: ", "id: ", "data: {", "{", ":")):
            assert line == ""


@pytest.mark.parametrize(("trigger", "error"), [("cancel", "cancelled"), ("fail", "why")])
async def test_the_stream_ends_with_failed_and_never_with_cancelled(house, trigger, error):
    async with served(house) as at:
        updates = []
        async for update in body_client(at, "a1"):
            updates.append(update)
            if len(updates) == 1:
                house.fire("a1", trigger, cause="why")
    assert (updates[-1]["status"], updates[-1]["error"]) == ("failed", error)


async def test_a_rejected_candidate_ends_the_stream_as_failed_with_the_reasons(house):
    house.fire("a1", "admit", "start", "export", "reject", cause="the candidate is not better: too short")
    async with served(house) as at:
        [update] = [update async for update in body_client(at, "a1")]
    assert (update["status"], update["error"]) == ("failed", "rejected: the candidate is not better: too short")
    assert update["model_version"] is None


async def test_an_unknown_job_is_one_failed_line_with_status_200(house):
    async with served(house) as at:
        updates = [update async for update in body_client(at, "nobody")]
        async with at.session.get(f"{at.base}/api/training/stream/nobody") as response:
            assert response.status == 200
    assert [(u["status"], u["error"], u["job_id"]) for u in updates] == [("failed", "job not found", "nobody")]


async def test_a_late_client_gets_the_current_state_at_once_and_not_the_past(house):
    house.fire("a1", "admit", "start")
    for number in range(1, 4):
        house.step("a1", number)
    async with served(house) as at:
        async for update in body_client(at, "a1"):
            assert update["progress"]["step"] == 3
            break


async def test_last_event_id_replays_what_was_missed_also_of_a_finished_job_and_after_a_restart(tmp_path):
    with house_in(tmp_path) as house:
        house.queue("a1")
        house.fire("a1", "admit", "start")
        for number in range(1, 5):
            house.step("a1", number)
        complete(house)
    with house_in(tmp_path) as house:
        async with served(house) as at:
            events = parse_sse(await whole(at, Accept="text/event-stream", **{"Last-Event-ID": "2"}))
            everything = parse_sse(await whole(at, Accept="text/event-stream", **{"Last-Event-ID": "0"}))
    steps = [(event.id, json.loads(event.data)["progress"]["step"]) for event in events]
    assert steps == [("3", 3), ("4", 4), ("4", 4)]
    assert [json.loads(event.data)["status"] for event in events] == ["training", "training", "completed"]
    assert len(everything) == 5


@pytest.mark.parametrize("value", ["x", "-1", "1e9", "9" * 30, "99"])
async def test_a_last_event_id_that_makes_no_sense_gets_the_current_state(house, value):
    house.fire("a1", "fail")
    async with served(house) as at:
        assert len(parse_sse(await whole(at, **{"Last-Event-ID": value}))) == 1


async def test_a_line_that_is_still_being_written_is_waited_for_and_a_torn_one_keeps_its_number(house):
    house.fire("a1", "admit", "start")
    path = house.work("a1").progress_path
    follower = stream.Follower(path)
    assert follower.read() == []
    path.write_bytes(b'{"kind":"note"}\n{"kind":"no')
    assert follower.read() == [(1, {"kind": "note"})]
    assert follower.read() == []
    with path.open("ab") as file:
        file.write(b'{"kind":"torn"}\n{"kind":"after"}\n')
    assert follower.read() == [(3, {"kind": "after"})]


async def test_silence_is_filled_with_comments_that_neither_client_sees(house, monkeypatch):
    monkeypatch.setattr(stream, "PING_EVERY_S", 0.05)
    monkeypatch.setattr(stream, "LOOK_EVERY_S", 0.02)
    async with served(house) as at, at.session.get(f"{at.base}/api/training/stream/a1") as response:
        seen = b""
        while seen.count(b": ping\n\n") < 2:
            seen += await asyncio.wait_for(response.content.readany(), 5)
    assert len(parse_sse(seen.decode())) == 1


def test_the_real_silence_is_short_enough_for_body():
    assert stream.PING_EVERY_S + stream.LOOK_EVERY_S <= 15


async def test_a_client_that_leaves_frees_its_stream(house):
    app = build(house)
    listening = await serve(Settings(port=0), app)
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
    writer.write(b"GET /api/training/stream/a1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b"event: status"), 5)
    assert app[stream.STREAMS].open == 1
    writer.close()
    await writer.wait_closed()
    await eventually(lambda: app[stream.STREAMS].open == 0)
    await listening.stop()


async def test_a_client_that_takes_nothing_is_dropped(house, monkeypatch):
    monkeypatch.setattr(stream, "WRITE_TIMEOUT_S", 0.2)
    house.fire("a1", "admit", "start")
    app = build(house)
    listening = await serve(Settings(port=0), app)
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.port, limit=1024)
    writer.write(b"GET /api/training/stream/a1 HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 0\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b"event: status"), 5)
    _flood(house)
    await eventually(lambda: app[stream.STREAMS].open == 0)
    writer.close()
    await listening.stop()


async def test_the_number_of_streams_is_capped_and_health_still_answers(house, monkeypatch):
    monkeypatch.setattr(stream, "MAX_STREAMS", 1)
    async with served(house) as at, at.session.get(f"{at.base}/api/training/stream/a1") as first:
        await first.content.readline()
        async with at.session.get(f"{at.base}/api/training/stream/a1") as second:
            assert second.status == 503
            assert (await second.json())["error"]
        assert (await at.get("/health"))[0] == 200


@pytest.mark.parametrize("reads", [True, False], ids=["reading client", "client that takes nothing"])
async def test_an_open_stream_does_not_delay_the_shutdown(house, reads):
    """aiohttp's own default made SIGTERM take 70 s with one stream open."""
    house.fire("a1", "admit", "start")
    app = build(house)
    listening = await serve(Settings(port=0), app)
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.port, limit=1024)
    writer.write(b"GET /api/training/stream/a1 HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 0\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b"event: status"), 5)
    if not reads:
        _flood(house)
        await asyncio.sleep(0.5)
    start = time.monotonic()
    await listening.stop()
    took_s = time.monotonic() - start
    if reads:
        assert (await reader.read()).endswith(b"0\r\n\r\n")  # a whole answer, not a broken one
    writer.close()
    assert took_s < (1.0 if reads else 2.0)
    assert app[stream.STREAMS].open == 0


def _flood(house) -> None:
    """More progress than the buffers of a connection hold."""
    line = json.dumps({"at": 1.0, "stage": "train", "kind": "note", "text": "x" * 900}).encode() + b"\n"
    with house.work("a1").progress_path.open("ab") as file:
        file.write(line * 10_000)
