"""Who takes more than their share, of time, of places or of memory, gets an end of it in words."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import tracemalloc
import zlib

import pytest
from support.attacks import HEALTH, LAST, MIB, START, is_refusal, under_attack
from support.http_daemon import house_in, served
from support.raw_http import exchange, health_beside, line_to

from reactord.http import bodies, connection, guards, large, listen


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path) as house:
        yield house


@pytest.fixture(autouse=True)
def _nothing_for_the_log(caplog):
    """Whoever can send bytes could fill our disk."""
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


# -- who takes their time ----------------------------------------------------------------------------------------------


async def test_a_head_that_comes_a_byte_at_a_time_is_not_waited_for(house, monkeypatch):
    monkeypatch.setattr(connection, "HEAD_S", 0.3)

    async def drip(port):
        async with line_to(port) as line:
            for byte in HEALTH * 100:  # this would take minutes
                await line.send(bytes([byte]))
                with contextlib.suppress(TimeoutError):
                    return await asyncio.wait_for(line.reader.read(1), 0.05)
        raise AssertionError

    async with under_attack(house) as at:
        ends = await asyncio.gather(*(drip(at.port) for _ in range(40)), return_exceptions=True)
    assert all(end == b"" or isinstance(end, ConnectionError) for end in ends)


@pytest.mark.parametrize("first", [b"", b"G", HEALTH + b"GET /hea"])
async def test_who_says_nothing_more_is_left(house, monkeypatch, first):
    monkeypatch.setattr(connection, "HEAD_S", 0.2)
    monkeypatch.setattr(connection, "IDLE_S", 0.4)
    async with under_attack(house) as at:
        said = await exchange(at.port, first)
    assert [one.status for one in said] == ([200] if len(first) > 1 else [])


async def test_the_next_head_on_an_old_connection_has_no_more_time_than_the_first(house, monkeypatch):
    monkeypatch.setattr(connection, "HEAD_S", 0.2)
    async with under_attack(house) as at, line_to(at.port) as line:
        await line.send(HEALTH)
        assert (await line.answer()).status == 200
        await line.send(b"GET /hea")  # IDLE_S is longer than this test may take
        assert await asyncio.wait_for(line.everything(), 10) == b""


async def test_a_request_that_takes_long_is_not_taken_for_a_slow_head(house, monkeypatch):
    monkeypatch.setattr(connection, "HEAD_S", 0.2)
    async with under_attack(house) as at, line_to(at.port) as line:
        await line.send(START + b"Content-Length: 17\r\n\r\n")
        for byte in b'{"job_id": "a1" }':
            await line.send(bytes([byte]))
            await asyncio.sleep(0.05)
        assert (await line.answer()).status == 200


async def test_a_body_that_comes_too_slowly_is_a_408(house, monkeypatch):
    monkeypatch.setattr(bodies, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(connection, "LINGER_S", 0.1)
    async with under_attack(house) as at:
        for length in (b"10", b"100000"):
            said = await exchange(at.port, START + b"Content-Length: " + length + b'\r\n\r\n{"a"')
            assert [is_refusal(one) for one in said] == [408]


async def test_large_bodies_are_read_a_few_at_a_time(house, monkeypatch):
    monkeypatch.setattr(large, "MAX_LARGE", 1)
    body = b'{"job_id": "%s", "config": {"x": "' + b"x" * 70_000 + b'"}}'
    async with under_attack(house) as at, line_to(at.port) as first, line_to(at.port) as second:
        one, two = body % b"a1", body % b"a2"
        await first.send(START + b"Content-Length: %d\r\n\r\n" % len(one) + one[:-1])
        async with asyncio.timeout(10):
            while house.store.job("small") is None:  # who is small need not wait
                await at.post("/api/training/start", {"job_id": "small"})
        await second.send(START + b"Content-Length: %d\r\n\r\n" % len(two) + two)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await second.answer()
        await first.send(one[-1:])
        assert (await first.answer()).status == 200
        async with asyncio.timeout(10):
            while house.store.job("a2") is None:
                await asyncio.sleep(0.01)


async def test_who_does_not_take_the_answer_is_left(house, monkeypatch):
    monkeypatch.setattr(connection, "TAKE_S", 0.3)
    crowd = connection.Crowd()
    monkeypatch.setattr("reactord.http.app.Crowd", lambda: crowd)
    document = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    count = 2000
    async with under_attack(house) as at, line_to(at.port) as line:
        line.writer.transport.pause_reading()
        await line.send(document * 50)
        async with asyncio.timeout(30):
            while not line.writer.transport.is_closing():
                await line.send(document * (count // 100))  # until they hang up
                await asyncio.sleep(0.02)
            while crowd.busy() > 1:  # the health beside may be the one
                await asyncio.sleep(0.01)


# -- who takes all the places ------------------------------------------------------------------------------------------


async def test_who_waits_longest_makes_room_for_who_comes(house, monkeypatch):
    monkeypatch.setattr(listen, "MAX_CONNECTIONS", 12)
    async with served(house) as at, contextlib.AsyncExitStack() as held:
        lines = [await held.enter_async_context(line_to(at.port)) for _ in range(12)]
        for line in lines[1:]:
            await line.send(b"GET /hea")  # none of them is a request yet
        async with asyncio.timeout(10):
            while not lines[0].reader.at_eof():
                [said] = await exchange(at.port, LAST)
                assert said.status == 200
                await asyncio.sleep(0.01)
        async with health_beside(at.port):
            await lines[-1].send(b"lth HTTP/1.1\r\nHost: localhost\r\n\r\n")


@pytest.mark.parametrize(
    ("soft", "hard", "asked", "room"),
    [(256, 10_000, 1712, 1200), (256, 1000, 1000, 488), (256, 256, 256, 64), (128, 128, 128, 32),
     (4096, 4096, None, 1200), (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, 1200),
     (256, resource.RLIM_INFINITY, 1712, 1200)],
)  # fmt: skip
def test_a_system_that_gives_few_descriptors_is_asked_for_more(monkeypatch, soft, hard, asked, room):
    limits, wanted = [(soft, hard)], []

    def setrlimit(_, limit):
        wanted.append(limit[0])
        limits[0] = limit

    monkeypatch.setattr(listen.resource, "getrlimit", lambda _: limits[0])
    monkeypatch.setattr(listen.resource, "setrlimit", setrlimit)
    assert listen._room() == room
    assert wanted == ([] if asked is None else [asked])


async def test_while_too_much_is_going_on_only_the_health_is_told(house, monkeypatch):
    crowd = connection.Crowd()
    monkeypatch.setattr("reactord.http.app.Crowd", lambda: crowd)
    async with under_attack(house) as at, contextlib.AsyncExitStack() as held:
        crowd.most = 3
        lines = [await held.enter_async_context(line_to(at.port)) for _ in range(3)]
        for line in lines:
            await line.send(START + b"Content-Length: 17\r\n\r\n{")
        async with asyncio.timeout(10):
            while (said := await at.get("/api/training/status/a1"))[0] != 503:
                await asyncio.sleep(0.01)
        assert said[1]["hint"].startswith("ask again in")
        await lines[0].send(b'"job_id": "a1" }')
        assert (await lines[0].answer()).status == 200
        assert (await at.get("/api/training/status/a1"))[0] == 200


async def test_where_every_place_is_at_work_the_next_is_turned_away(house, monkeypatch):
    crowd = connection.Crowd()
    monkeypatch.setattr("reactord.http.app.Crowd", lambda: crowd)
    async with served(house) as at, contextlib.AsyncExitStack() as held:
        lines = [await held.enter_async_context(line_to(at.port)) for _ in range(3)]
        for line in lines:
            await line.send(b"GET /api/v1/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b" 200 " in await asyncio.wait_for(line.reader.readline(), 10)
        assert crowd.busy() == 3
        crowd.fit(3)
        assert await exchange(at.port, LAST) == []
        lines[0].writer.transport.abort()
        async with asyncio.timeout(10):
            while crowd.busy() == 3:
                await asyncio.sleep(0.01)
        async with health_beside(at.port):
            pass
        assert crowd.busy() == 2


HALF = b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
HOLDS = {
    "half a body for what is always answered": b"POST /lifecycle/handshake HTTP/1.1\r\nHost: localhost\r\n" + HALF,
    "half a body for who takes it": START + b"Content-Length: 100\r\n\r\n{",
    "half a body for nobody": b"POST /health HTTP/1.1\r\nHost: localhost\r\n" + HALF,
    "half of a large body": START + b"Transfer-Encoding: chunked\r\n\r\n4\r\n{   ",
    "answers that nobody takes": b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200,
}


@pytest.mark.parametrize("hold", HOLDS)
async def test_who_keeps_us_waiting_keeps_no_place_from_who_asks_how_we_are(house, monkeypatch, hold):
    crowd = connection.Crowd()
    monkeypatch.setattr("reactord.http.app.Crowd", lambda: crowd)
    async with served(house) as at, contextlib.AsyncExitStack() as held:
        crowd.fit(8)
        lines = [await held.enter_async_context(line_to(at.port)) for _ in range(8)]
        for line in lines:
            line.writer.transport.pause_reading()
            line.writer.write(HOLDS[hold])
        async with asyncio.timeout(10):
            while crowd.busy() + sum(one.waits for one in crowd.here) < 8 and hold != "half a body for nobody":
                await asyncio.sleep(0.01)
        for _ in range(10):
            assert [one.status for one in await exchange(at.port, LAST)] == [200]
        assert len(crowd.here) <= 8


async def test_submissions_have_a_pace_and_questions_have_none(house, monkeypatch):
    monkeypatch.setattr(guards, "BURST", 3)
    monkeypatch.setattr(guards, "PER_S", 0.01)
    body = b'{"job_id": "a1"}'
    request = START + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with under_attack(house) as at:
        statuses = [[one.status for one in await exchange(at.port, request)] for _ in range(3)]
        [refused] = await exchange(at.port, request)
        assert statuses == [[200]] * 3
        assert is_refusal(refused) == 429
        assert 0 < int(refused.headers["retry-after"]) <= 100
        assert (await at.get("/api/training/status/a1"))[0] == 200


# -- what is larger than it looks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("encoding", "bits"), [(b"gzip", 31), (b"deflate", 15), (b"deflate", -15)])
async def test_a_small_body_that_unpacks_to_64_mib_is_a_413_and_takes_little_memory(house, monkeypatch, encoding, bits):
    monkeypatch.setattr(connection, "LINGER_S", 0.1)
    packer = zlib.compressobj(9, zlib.DEFLATED, bits)
    bomb = packer.compress(b'{"job_id": "a1", "x": "' + b" " * 64 * MIB) + packer.flush()
    assert len(bomb) < 70 * 1024
    head = START + b"Connection: close\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (encoding, len(bomb))
    async with under_attack(house) as at:
        tracemalloc.start()
        said = await exchange(at.port, head + bomb)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert [is_refusal(one) for one in said] == [413]
    assert peak < 48 * MIB


@pytest.mark.parametrize("piece", [b"[],", b"{},", b"0,"])
async def test_a_body_of_millions_of_nothings_is_a_413_and_takes_little_memory(house, monkeypatch, piece):
    monkeypatch.setattr(connection, "LINGER_S", 0.1)
    body = b'{"experiences": [' + piece * (15 * MIB // len(piece)) + b"0]}"
    head = START + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with under_attack(house) as at:
        tracemalloc.start()
        said = await exchange(at.port, head + body)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert [is_refusal(one) for one in said] == [413]
    assert peak < 96 * MIB  # of them as lists: 300 and more


@pytest.mark.parametrize("kind", [b"gzip, gzip", b"br", b"zstd", b"compress", b"x-gzip"])
async def test_what_is_packed_otherwise_is_a_415(house, kind):
    async with under_attack(house) as at:
        said = await exchange(
            at.port, START + b"Connection: close\r\nContent-Encoding: " + kind + b"\r\nContent-Length: 2\r\n\r\n{}"
        )
    assert [is_refusal(one) in (400, 415) for one in said] == [True]


async def test_a_body_that_announces_too_much_is_refused_before_it_comes(house, monkeypatch):
    monkeypatch.setattr(connection, "LINGER_S", 0.1)
    async with under_attack(house) as at:
        said = await exchange(at.port, START + b"Content-Length: 1099511627776\r\n\r\n{")
    assert [is_refusal(one) for one in said] == [413]


async def test_a_body_without_an_end_is_cut_at_its_bound(house, monkeypatch):
    monkeypatch.setattr(connection, "LINGER_S", 0.1)
    async with under_attack(house) as at, line_to(at.port) as line:
        await line.send(START + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"100000\r\n" + b" " * MIB + b"\r\n"
        for _ in range(20):
            await line.send(chunk)
        assert is_refusal(await line.answer()) == 413
