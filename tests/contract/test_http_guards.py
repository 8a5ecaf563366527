"""Who may ask, and what every refusal looks like (RELIABILITY.md 7)."""

from __future__ import annotations

import asyncio
import json
import logging
import socket

import pytest
from support.http_daemon import house_in, served

from reactord.http import guards, sockets
from reactord.http.app import build
from reactord.http.listen import serve
from reactord.http.sockets import PortInUse
from reactord.settings import Settings

START = "/api/training/start"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path) as house:
        yield house


@pytest.mark.parametrize(
    "host",
    [
        "evil.com", "evil.com:{port}", "127.0.0.1.evil.com:{port}", "127.0.0.1:1", "localhost:{port}0",
        "localhost.:{port}",
        "127.0.0.2:{port}", "0.0.0.0:{port}", "[::2]:{port}", "localhost:{port}@evil.com", "localhost:", "",
    ],
)  # fmt: skip
async def test_a_host_that_is_not_ours_is_misdirected(house, host):
    async with served(house) as at:
        status, reply = await at.get("/health", headers={"Host": host.format(port=at.port)})
    assert status == 421
    assert reply["error"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}", "localhost"]
)
async def test_our_own_names_are_answered(house, host):
    async with served(house) as at:
        status, _ = await at.get("/health", headers={"Host": host.format(port=at.port)})
    assert status == 200


async def test_a_request_without_a_host_is_misdirected(house):
    async with served(house) as at:
        reader, writer = await asyncio.open_connection("127.0.0.1", at.port)
        writer.write(b"GET /health HTTP/1.0\r\n\r\n")
        assert b" 421 " in await asyncio.wait_for(reader.readline(), 5)
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("origin", ["http://evil.com", "null", "http://127.0.0.1:8090", ""])
async def test_a_web_page_may_start_and_cancel_nothing(house, origin):
    house.queue("a1")
    async with served(house) as at:
        for path in (START, "/api/training/cancel/a1"):
            status, _ = await at.post(path, data=b"{}", headers={**JSON, "Origin": origin})
            assert status == 403
    assert house.store.job("a1").state == "queued"


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
async def test_a_body_that_is_not_declared_as_json_is_a_415(house, kind):
    async with served(house) as at:
        status, reply = await at.post(START, data=b"{}", headers={"Content-Type": kind})
    assert status == 415
    assert "application/json" in reply["error"]


async def test_an_unknown_content_encoding_is_a_415(house):
    async with served(house) as at:
        status, _ = await at.post(START, data=b"{}", headers={**JSON, "Content-Encoding": "compress"})
    assert status == 415


async def test_a_bearer_token_is_accepted_and_not_asked_for(house):
    async with served(house) as at:
        for headers in ({}, {"Authorization": "Bearer whatever"}):
            status, _ = await at.post(START, data=b'{"job_id": "a1"}', headers=JSON | headers)
            assert status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/api/training", 404),
        ("GET", START, 405),
        ("POST", "/health", 405),
        ("DELETE", "/api/training/status/a1", 405),
        ("HEAD", "/health", 200),
    ],
)
async def test_wrong_paths_and_methods_are_json_too(house, method, path, status):
    async with served(house) as at, at.session.request(method, at.base + path) as response:
        assert response.status == status
        assert response.content_type == "application/json"
        if status == 405:
            assert response.headers["Allow"]
        if method != "HEAD":
            assert (await response.json())["error"]


async def test_a_bug_is_a_500_without_a_word_of_it_and_is_logged(house, monkeypatch, caplog):
    def bug(_):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(house.store, "job", bug)
    with caplog.at_level(logging.ERROR, logger="reactord.http"):
        async with served(house) as at:
            status, reply = await at.get("/api/training/status/a1")
    assert status == 500
    assert "secret" not in json.dumps(reply)
    assert "secret detail" in caplog.text


# -- the sockets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_a_port_in_use_is_said_in_words_with_who_and_what_next(house, family):
    with socket.socket(family) as other:
        try:
            other.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        except OSError:
            pytest.skip("this machine has no ::1")
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUse) as refused:
            await serve(Settings(port=port), build(house))
    words = str(refused.value)
    assert f":{port} is taken by process" in words
    assert "reactord run --port" in words


async def test_a_port_that_was_just_left_can_be_taken_again(house):
    async with served(house) as at:
        await at.get("/health")
        port = at.port
    listening = await serve(Settings(port=port), build(house))
    assert listening.port == port
    await listening.stop()


async def test_without_ipv6_one_address_is_enough(house, monkeypatch):
    real = sockets.listen_at

    def without(address, port):
        if address == "::1":
            raise OSError(99, "Cannot assign requested address")
        return real(address, port)

    monkeypatch.setattr(sockets, "listen_at", without)
    async with served(house) as at:
        assert (await at.get("/health"))[0] == 200


# -- the pace ----------------------------------------------------------------------------------------------------------


def test_a_burst_is_taken_at_once_and_then_so_many_a_second(monkeypatch):
    monkeypatch.setattr(guards, "BURST", 3)
    monkeypatch.setattr(guards, "PER_S", 0.5)
    now = 100.0
    limits = guards.Limits(lambda: now)
    assert [limits.wait_s() for _ in range(5)] == [0, 0, 0, 2, 2]
    now += 1.9
    assert limits.wait_s() == 1
    now += 0.2
    assert [limits.wait_s() for _ in range(2)] == [0, 2]
    now += 1000
    assert [limits.wait_s() for _ in range(4)] == [0, 0, 0, 2]


def test_a_clock_that_stands_still_lets_nobody_in(monkeypatch):
    monkeypatch.setattr(guards, "BURST", 1)
    limits = guards.Limits(lambda: 1.0)
    assert limits.wait_s() == 0
    assert all(limits.wait_s() > 0 for _ in range(1000))
