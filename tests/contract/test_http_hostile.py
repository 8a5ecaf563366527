"""What comes that is no honest request is refused in words, costs little, and keeps nobody waiting."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import random
import re
import resource
import tracemalloc
import zlib

import psutil
import pytest
from support.http_daemon import house_in, served
from support.raw_http import exchange, health_beside, line_to

from reactord.http import bodies, connection, guards, listen
from reactord.http.table import ROUTES

START = b"POST /api/training/start HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
MIB = 1024 * 1024


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path) as house:
        yield house


@pytest.fixture(autouse=True)
def _nothing_for_the_log(caplog):
    """Whoever can send bytes could fill our disk."""
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


@contextlib.asynccontextmanager
async def under_attack(house):
    """A server whose health is asked all the while."""
    async with served(house) as at, health_beside(at.port):
        yield at


def is_refusal(said):
    document = said.document
    assert set(document) == {"error", "details", "hint"}
    assert document["error"].endswith(document["hint"])
    return said.status


# -- what is no HTTP ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 32,  # a TLS hello
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00" * 64,
        b"GET\r\n\r\n",
        b"FOO /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET /health\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /hea lth HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: local\x00host\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.com\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nNo colon\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-\xff: 1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n: 1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Large: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X-Name: 1\r\n" * 200 + b"\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X" * 9000 + b": 1\r\n\r\n",
        b"GET /health?" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        # request smuggling: two readers must never see two different requests
        START + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HEALTH,
        START + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}" + HEALTH,
        START + b"Content-Length: 2, 2\r\n\r\n{}",
        START + b"Content-Length: -2\r\n\r\n{}",
        START + b"Content-Length: +2\r\n\r\n{}",
        START + b"Content-Length: 0x2\r\n\r\n{}",
        START + b"Content-Length: 2 2\r\n\r\n{}",
        START + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
        START + b"Transfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: chunked, identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        START + b"Transfer-Encoding : chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        START + b" Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_a_400_in_words_and_the_end(house, request_bytes):
    async with under_attack(house) as at:
        said = await exchange(at.port, request_bytes)
    assert [is_refusal(one) for one in said] == [400]
    assert house.store.live_jobs() == []


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\n{}\r\n0\r\n\r\n", b"-1\r\n{}\r\n", b"2 ;x\r\n{}\r\n0\r\n\r\n", b"ffffffffffffffffff\r\n{}",
        b"2\r\n{}XX0\r\n\r\n",
    ],
)  # fmt: skip
async def test_chunks_that_are_none_start_nothing(house, chunks):
    async with under_attack(house) as at:
        said = await exchange(at.port, START + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert all(is_refusal(one) == 400 for one in said)
    assert house.store.live_jobs() == []


async def test_nothing_is_done_of_a_breath_that_ends_in_garbage(house):
    start = START + b"Content-Length: 16\r\n\r\n" + b'{"job_id": "a1"}'
    async with under_attack(house) as at:
        said = await exchange(at.port, start + HEALTH + b"\x00garbage\r\n\r\n" + HEALTH)
    assert [is_refusal(one) for one in said] == [400]
    assert house.store.live_jobs() == []


async def test_garbage_behind_an_answer_is_the_end(house):
    async with under_attack(house) as at, line_to(at.port) as line:
        await line.send(HEALTH)
        assert (await line.answer()).status == 200
        await line.send(b"\x00garbage\r\n\r\n" + HEALTH)
        assert is_refusal(await line.answer()) == 400
        assert await line.everything() == b""


async def test_a_request_of_the_oldest_kind_has_no_host_and_is_misdirected(house):
    async with under_attack(house) as at:
        said = await exchange(at.port, b"GET /health\r\n\r\n")
    assert [is_refusal(one) for one in said] == [421]


async def test_many_requests_in_one_breath_are_answered_in_turn(house):
    async with under_attack(house) as at:
        said = await exchange(at.port, HEALTH * 500 + LAST)
    assert [one.status for one in said] == [200] * 501


async def test_ten_thousand_pieces_of_garbage_leave_nothing_behind(house):
    dice = random.Random(7)
    shapes = [
        HEALTH,
        LAST,
        START + b"Content-Length: 2\r\n\r\n{}",
        START + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    ]

    def garbage():
        raw = bytearray(dice.choice([*shapes, dice.randbytes(dice.randrange(1, 200))]))
        for _ in range(dice.randrange(1, 8)):
            raw[dice.randrange(len(raw))] = dice.randrange(256)
        return bytes(raw)

    async def send(port, count):
        for _ in range(count):
            async with line_to(port) as line:
                await line.send(garbage())
                line.writer.write_eof()  # an honest half of it would be waited for
                await line.everything()

    async with under_attack(house) as at:
        await asyncio.gather(*(send(at.port, 125) for _ in range(16)))
        gc.collect()
        before = psutil.Process().memory_info().rss
        await asyncio.gather(*(send(at.port, 500) for _ in range(16)))
        gc.collect()
        assert psutil.Process().memory_info().rss - before < 8 * MIB


# -- whose it is -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://evil.com/health", 421), ("http://127.0.0.1:1/health", 421), ("HTTP://evil.com", 421),
        ("http://user@localhost:{port}/health", 421), ("http://localhost:{port}@evil.com/health", 421),
        ("http://localhost:{port}/health", 200), ("http://127.0.0.1:{port}/health", 200), ("*", 400), ("", 400),
    ],
)  # fmt: skip
async def test_a_target_that_names_a_host_must_name_ours(house, target, status):
    async with under_attack(house) as at:
        target = target.format(port=at.port)
        head = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        said = await exchange(at.port, head)
    assert [one.status for one in said] == [status]


@pytest.mark.parametrize(
    "header",
    [
        "Origin: http://evil.com", "Origin: null", "Origin: http://localhost", "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/health", "/ws", "/api/training/stream/a1", "/docs"])
async def test_a_web_page_may_not_even_look_or_open_a_socket(house, header, path):
    head = (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    async with under_attack(house) as at, line_to(at.port) as line:
        await line.send(head.encode())
        assert is_refusal(await line.answer()) == 403


@pytest.mark.parametrize("site", ["none", "same-origin", "cross-site"])
async def test_a_link_that_somebody_clicked_is_followed(house, site):
    head = f"GET /docs HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: {site}\r\nSec-Fetch-Dest: document\r\n"
    async with under_attack(house) as at:
        said = await exchange(at.port, head.encode() + b"Connection: close\r\n\r\n")
    assert [one.status for one in said] == [200]


# -- where it goes -----------------------------------------------------------------------------------------------------

NAMES = [
    "..%2f..%2fetc%2fpasswd", "%2e%2e", "..%5c..%5cboot.ini", "a%00b", "a%0d%0aX:%201", "a%20b", "%ff%fe", "a" * 129,
    "-rf", ".hidden", "a%2Fb", "%E2%80%AE", "'%20OR%201=1--", "$(id)", "%25%32%65",
]  # fmt: skip


@pytest.mark.parametrize("path", [route.path for route in ROUTES if "{" in route.path])
async def test_a_name_that_is_none_of_ours_is_not_looked_for(house, path, monkeypatch):
    def looked(*_):
        raise AssertionError(path)

    monkeypatch.setattr(house.store, "job", looked)
    before, _, behind = path.partition("{")
    method = next(route.method for route in ROUTES if route.path == path)
    async with under_attack(house) as at:
        for name in NAMES:
            target = before + name + behind.partition("}")[2]
            head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            said = await exchange(at.port, head.encode())
            assert [is_refusal(one) for one in said] == [404], target


@pytest.mark.parametrize(
    "path", ["/../health", "//health", "/health/", "/health/..", "/%2e%2e/health", "/static/../health"]
)
async def test_there_is_one_way_to_write_a_path(house, path):
    async with under_attack(house) as at:
        said = await exchange(at.port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert [is_refusal(one) for one in said] == [404]


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES}))
async def test_every_method_on_every_path_is_answered_in_our_words(house, path):
    target = path.replace("{", "").replace("}", "")
    here = [route for route in ROUTES if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route.path), target)]
    allowed = {route.method for route in here}
    if any(route.method == "GET" and route.media == "application/json" for route in here):
        allowed.add("HEAD")
    async with under_attack(house) as at:
        for method in METHODS:
            head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            async with line_to(at.port) as line:
                await line.send(head.encode())
                raw = await line.everything()
            status = int(raw[9:12])
            if method in allowed:
                assert status != 405
                continue
            assert status == 405, (method, path)
            if method != "HEAD":
                assert b"\r\nAllow: " in raw
                assert set(json.loads(raw.partition(b"\r\n\r\n")[2])) == {"error", "details", "hint"}


@pytest.mark.parametrize("path", [route.path for route in ROUTES if route.takes])
async def test_bodies_that_are_no_object_are_refused_everywhere(house, path, monkeypatch):
    monkeypatch.setattr(guards, "BURST", 10**6)
    deep = b'{"config":' * 1000 + b"1" + b"}" * 1000
    raws = [b"[]", b'"x"', b"1", b"null", b"{", b"\xff\xfe", b"{} {}", b'{"a":}', b"[" * 100_000, deep, b"nan"]
    target = path.replace("{", "").replace("}", "")
    async with under_attack(house) as at:
        for raw in raws:
            head = f"POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
            said = await exchange(at.port, head.encode() + raw)
            assert [is_refusal(one) in (400, 404, 422) for one in said] == [True], raw[:20]


async def test_an_expectation_that_nobody_knows_is_refused_in_words(house):
    async with under_attack(house) as at:
        for path in (b"/health", b"/no/such"):
            head = b"GET %s HTTP/1.1\r\nHost: localhost\r\nExpect: wonders\r\nConnection: close\r\n\r\n" % path
            assert [is_refusal(one) for one in await exchange(at.port, head)] == [417]


async def test_a_client_that_waits_for_leave_to_send_gets_it(house):
    async with under_attack(house) as at, line_to(at.port) as line:
        await line.send(START + b"Expect: 100-continue\r\nContent-Length: 16\r\n\r\n")
        assert (await line.answer()).status == 100
        await line.send(b'{"job_id": "a1"}')
        assert (await line.answer()).status == 200


async def test_a_query_of_a_thousand_parts_is_read_like_any(house):
    query = "&".join(f"q{i}=%00" for i in range(600))
    async with under_attack(house) as at:
        said = await exchange(
            at.port, f"GET /health?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
    assert [one.status for one in said] == [200]


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
    monkeypatch.setattr("reactord.http.app.MAX_LARGE", 1)
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
    [(256, 10_000, 1456, 1200), (256, 1000, 1000, 744), (256, 256, 256, 64), (4096, 4096, None, 3840),
     (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, 1200), (256, resource.RLIM_INFINITY, 1456, 1200)],
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
    monkeypatch.setattr(connection, "MAX_BUSY", 3)
    async with under_attack(house) as at, contextlib.AsyncExitStack() as held:
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
            await line.send(START + b"Content-Length: 17\r\n\r\n{")
        async with asyncio.timeout(10):
            while crowd.busy() < 3:
                await asyncio.sleep(0.01)
        monkeypatch.setattr(listen, "MAX_CONNECTIONS", 3)
        assert await exchange(at.port, LAST) == []
        await lines[0].send(b'"job_id": "a1" }')
        assert (await lines[0].answer()).status == 200
        async with health_beside(at.port):
            pass
    assert crowd.busy() == 0


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
