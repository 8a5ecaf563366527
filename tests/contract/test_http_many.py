"""Many who follow: one look for all, bounded queues, a gap that is told, and an end for everybody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import struct
import time

import pytest
from support.http_daemon import body_client, house_in, parse_sse, served
from support.raw_streams import WebSocket, plain, rest, unchunked

from reactord.http import connection, outbox, stream
from reactord.http.app import build
from reactord.http.listen import serve
from reactord.settings import Settings

JOB, EVENTS = "/api/training/stream/a1", "/api/v1/events/stream"
SSE = "Accept: text/event-stream"


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path) as house:
        house.queue("a1")
        house.fire("a1", "admit", "start")
        yield house


@contextlib.asynccontextmanager
async def listening(house):
    app = build(house)
    server = await serve(Settings(port=0), app)
    try:
        yield server, app[stream.STREAMS]
    finally:
        await server.stop()


async def eventually(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def flood(house, lines: int, *, text: str = "x" * 900, first: int = 1) -> None:
    """More progress than the buffers of a connection hold."""
    with house.work("a1").progress_path.open("ab") as file:
        for n in range(first, first + lines):
            line = {"at": 1.0, "stage": "train", "kind": "note", "text": f"{n} {text}"}
            file.write(json.dumps(line).encode() + b"\n")


async def test_a_job_is_read_and_its_updates_are_encoded_once_for_all_who_follow_it(house, monkeypatch):
    encoded = []
    real = stream.Update.line.func
    monkeypatch.setattr(stream.Update.line, "func", lambda self: encoded.append(self.number) or real(self))
    async with listening(house) as (server, streams):
        clients = [await plain(server.port, JOB, SSE) for _ in range(20)]
        await eventually(lambda: streams.open == 20)
        assert list(streams.feeds) == ["a1"]
        encoded.clear()
        house.step("a1", 1)
        house.step("a1", 2)
        house.fire("a1", "fail")
        for client in clients:
            events = parse_sse(unchunked(await rest_of(client))[0].decode())
            assert [event.id for event in events] == ["0", "1", "2", "2"]
        assert sorted(encoded) == [1, 2, 2]
        await eventually(lambda: not streams.feeds)


async def rest_of(client) -> bytes:
    """Until the answer is whole: the connection stays open."""
    loop, data = asyncio.get_running_loop(), bytearray()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    async with asyncio.timeout(20):
        while not data.endswith(b"0\r\n\r\n"):
            data += await loop.sock_recv(client, 1 << 20)
    client.close()
    return bytes(data)


async def test_a_client_that_reads_misses_nothing_of_a_burst_that_is_longer_than_its_queue(house):
    lines = 5 * outbox.MAX_WAITING
    async with listening(house) as (server, streams):
        client = await plain(server.port, JOB, SSE)
        await eventually(lambda: streams.open == 1)
        flood(house, lines, text="short")
        house.fire("a1", "fail")
        events = parse_sse(unchunked(await rest_of(client))[0].decode())
    assert {event.type for event in events} == {"status"}
    assert [int(event.id) for event in events] == [0, *range(1, lines + 1), lines]
    assert streams.gaps == 0


@pytest.mark.parametrize("sse_only", [True, False])
async def test_a_slow_client_is_told_how_much_it_missed_and_gets_it_back_by_the_id(house, sse_only):
    lines = 12_000
    headers = [SSE] if sse_only else []
    async with listening(house) as (server, streams):
        client = await plain(server.port, JOB, *headers, buffer=4096)
        await eventually(lambda: streams.open == 1)
        for first in range(1, lines + 1, 2000):  # one piece after the other: its queue runs over
            flood(house, 2000, first=first)
            await asyncio.sleep(0.15)
        house.fire("a1", "fail")
        await eventually(lambda: sum(map(len, streams.outboxes())) == outbox.MAX_WAITING)
        text = unchunked(await rest_of(client))[0].decode()
        events = parse_sse(text)
        told = [int(event.id) for event in events if event.type == "status"]
        gaps = [json.loads(event.data) for event in events if event.type == "gap"]
        assert gaps
        assert sum(gap["missed"] for gap in gaps) + len(told) == lines + 2  # the first state, the lines, the last state
        missing = set(range(1, lines + 1)) - set(told)
        assert missing == {n for gap in gaps for n in range(gap["after"] + 1, gap["upto"] + 1)}
        assert json.loads([e for e in events if e.type == "status"][-1].data)["status"] == "failed"
        assert streams.gaps == len(gaps)
        if not sse_only:
            naive_client_is_not_hurt(text, gaps)
        again = await plain(server.port, JOB, SSE, f"Last-Event-ID: {gaps[0]['after']}")
        back = parse_sse(unchunked(await rest_of(again))[0].decode())
        assert {int(event.id) for event in back} >= missing


def naive_client_is_not_hurt(text: str, gaps: list[dict]) -> None:
    """What Body's coordinator does with each bare line (contract/body.md 1.5)."""
    lines = [json.loads(line) for line in text.split("\n") if line.startswith("{")]
    assert [line["gap"] for line in lines if "gap" in line] == gaps
    for line in lines[:-1]:
        assert isinstance(line, dict)
        f"{line.get('epoch', 0)}/{line.get('total_epochs', 3)} {line.get('loss', 0.0):.4f}"
        assert line["status"] == "training"
    assert lines[-1]["status"] == "failed"


async def test_a_stream_is_resumed_across_a_restart_and_every_line_comes_once(tmp_path):
    seen = []
    with house_in(tmp_path) as house:
        house.queue("a1")
        house.fire("a1", "admit", "start")
        async with (
            served(house) as at,
            at.session.get(at.base + JOB, headers={"Accept": "text/event-stream"}) as answer,
        ):
            house.step("a1", 1)
            while len(seen) < 2:
                seen += await some_events(answer)
    house.step("a1", 2)  # the worker goes on without us
    house.step("a1", 3)
    with house_in(tmp_path) as house:
        async with served(house) as at:
            headers = {"Accept": "text/event-stream", "Last-Event-ID": seen[-1].id}
            async with at.session.get(at.base + JOB, headers=headers) as answer:
                while not seen[-1].data.count('"failed"'):
                    if seen[-1].id == "3":
                        house.fire("a1", "fail")
                    seen += await some_events(answer)
    assert [event.id for event in seen] == ["0", "1", "2", "3", "3", "3"]


async def some_events(answer):
    data = b""
    while not data.endswith(b"\n\n"):
        data += await asyncio.wait_for(answer.content.readany(), 10)
    return parse_sse(data.decode())


async def test_whoever_joins_while_lines_are_written_gets_each_of_them_once(house):
    flood(house, 600, text="past")
    async with listening(house) as (server, streams):
        clients = []
        for n in range(20):
            clients.append(await plain(server.port, JOB, SSE, "Last-Event-ID: 0"))
            flood(house, 20, text="now", first=601 + 20 * n)
            await asyncio.sleep(0)
        await eventually(lambda: sum(len(feed.members) for feed in streams.feeds.values()) == 20)
        house.fire("a1", "fail")
        for client in clients:
            events = parse_sse(unchunked(await rest_of(client))[0].decode())
            lines = [json.loads(event.data)["progress"]["text"] for event in events]
            numbers = [int(event.id) for event in events]
            assert sorted(set(numbers)) == list(range(1, 1001))
            assert len(numbers) <= 1002  # the state once where the client met us, and at its end
            assert numbers == sorted(numbers)
            assert lines[-1] == "1000 now"


async def test_clients_that_vanish_leave_nothing_behind(house):
    async with listening(house) as (server, streams):
        before = len(asyncio.all_tasks())
        sockets = [await plain(server.port, path, SSE) for path in (JOB, EVENTS) for _ in range(20)]
        talks = [await WebSocket.open(server.port, path) for path in ("/ws", "/ws/trinity") for _ in range(10)]
        await eventually(lambda: streams.open == 60)
        for one in sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it dies, and says nothing
            one.close()
        for talk in talks:
            talk.writer.transport.abort()
        await eventually(lambda: streams.open == 0)
        assert not streams.listeners
        assert not streams.feeds
        await eventually(lambda: len(asyncio.all_tasks()) <= before)  # nobody looks when nobody listens


async def test_a_half_open_connection_that_takes_nothing_is_given_up(house, monkeypatch):
    monkeypatch.setattr(stream, "WRITE_TIMEOUT_S", 0.3)
    async with listening(house) as (server, streams):
        for path in (JOB, EVENTS):
            client = await plain(server.port, path, buffer=4096)
            await eventually(lambda: streams.open == 1)
            await push_until_gone(house, streams)
            client.close()


async def push_until_gone(house, streams) -> None:
    deadline = time.monotonic() + 20
    while streams.open:
        assert time.monotonic() < deadline
        flood(house, 1000)
        with house.store.transaction():
            for _ in range(50):
                house.store.note("note.long", "a1", 1.0, text="y" * 20_000)
        await asyncio.sleep(0.05)


async def test_trouble_with_the_disk_silences_nobody_for_ever(house, monkeypatch, caplog):
    real = house.store.events
    async with served(house) as at:
        updates = body_client(at, "a1")
        await anext(updates)
        monkeypatch.setattr(house.store, "events", lambda **_: (_ for _ in ()).throw(OSError(28, "No space left")))
        await asyncio.sleep(4 * stream.LOOK_EVERY_S)
        monkeypatch.setattr(house.store, "events", real)
        house.fire("a1", "fail")
        assert [update async for update in updates][-1]["status"] == "failed"
    assert caplog.text.count("nothing can be told") == 1


def test_all_streams_together_leave_room_for_requests():
    assert connection.MAX_CONNECTIONS - connection.KEPT > stream.MAX_STREAMS


async def test_a_thousand_open_streams_end_within_two_seconds_each_in_its_own_way(house):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip("this machine allows no 4,096 files to a process")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    try:
        async with listening(house) as (server, streams):
            follow = [await plain(server.port, JOB) for _ in range(400)]
            hear = [await plain(server.port, EVENTS, SSE) for _ in range(300)]
            talks = [await WebSocket.open(server.port, "/ws/trinity") for _ in range(300)]
            await eventually(lambda: streams.open == 1000)
            house.step("a1", 1)
            await eventually(lambda: streams.feeds["a1"].now.number == 1 and not sum(map(len, streams.outboxes())))
            health = await asyncio.open_connection("127.0.0.1", server.port)
            health[1].write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b" 200 " in await asyncio.wait_for(health[0].readline(), 5)
            health[1].close()
            began = time.monotonic()
            await server.stop()
            took_s = time.monotonic() - began
            for one in (*follow, *hear):
                body, whole = unchunked(await rest(one))
                assert whole
                assert b'"step 1 of 4"' in body
                one.close()
            assert {await talk.closed() for talk in talks} == {1001}
            for talk in talks:
                await talk.leave()
            assert streams.open == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert took_s < 2.0
