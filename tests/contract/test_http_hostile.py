"""What comes that is no honest request is refused in words, and keeps nobody waiting."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import random
import re

import psutil
import pytest
from support.attacks import HEALTH, LAST, MIB, START, is_refusal, under_attack
from support.http_daemon import house_in
from support.raw_http import exchange, line_to

from reactord.http import guards
from reactord.http.table import ROUTES


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path) as house:
        yield house


@pytest.fixture(autouse=True)
def _nothing_for_the_log(caplog):
    """Whoever can send bytes could fill our disk."""
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


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
    if any(route.method == "GET" and route.media == "application/json" and not route.upgrades for route in here):
        allowed.add("HEAD")
    async with under_attack(house) as at:
        for method in METHODS:
            head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            async with line_to(at.port) as line:
                await line.send(head.encode())
                raw = await (line.reader.readline() if method in allowed else line.everything())  # a stream never ends
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
