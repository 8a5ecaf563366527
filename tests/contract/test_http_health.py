"""contract/body.md 1.2, 6.3, 6.6."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from support.http_daemon import house_in, served

HEALTH_PATHS = ("/health", "/api/health")


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path) as house:
        yield house


@pytest.mark.parametrize("path", HEALTH_PATHS)
async def test_health_is_what_the_supervisor_waits_for(house, path):
    async with served(house) as at, at.session.get(at.base + path) as response:
        raw = await response.read()
        assert response.status == 200
        assert response.content_type == "application/json"
        assert int(response.headers["Content-Length"]) == len(raw)
        assert "Transfer-Encoding" not in response.headers
        health = json.loads(raw)
    assert (health["status"], health["phase"], health["service"]) == ("healthy", "ready", "reactor_core")
    assert health["training_ready"] is True
    assert health["trinity_connected"] is True
    assert health["version"] == "1.2.3"
    assert health["api_version"] == health["protocol_version"] == "1.0.0"
    assert health["contract_version"] == 1
    assert health["uptime_seconds"] >= 0
    assert health["startup_progress"] == 100
    assert "training" in health["capabilities"]
    assert "pid" not in health


async def test_the_loading_server_gets_everything_in_its_one_read(house):
    """It opens a raw socket, sends a bare `Host: localhost`, and reads at most 4096 bytes once."""
    house.troubles = ("No space left on device: " + "x" * 4000,)
    async with served(house) as at:
        reader, writer = await asyncio.open_connection("127.0.0.1", at.port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        await writer.drain()
        answer = (await asyncio.wait_for(reader.read(4096), 5)).decode()
        writer.close()
        await writer.wait_closed()
    assert "HTTP/1.1 200" in answer
    health = json.loads(answer[answer.find("\r\n\r\n") + 4 :])
    assert health["training_ready"] is True
    assert health["degraded"] is True
    assert "No space left" in health["trouble"]


async def test_while_starting_only_the_health_is_answered(house):
    house.phase = "starting"
    async with served(house) as at:
        for path in HEALTH_PATHS:
            status, health = await at.get(path)
            assert (status, health["status"], health["phase"]) == (200, "starting", "starting")
            assert health["training_ready"] is False
        async with at.session.get(at.base + "/api/training/status/a1") as response:
            assert response.status == 503
            assert int(response.headers["Retry-After"]) > 0
            assert "starting" in (await response.json())["error"]
        assert (await at.post("/api/training/start", {"job_id": "a1"}))[0] == 503
        assert (await at.get("/api/training/stream/a1"))[0] == 503
        assert (await at.get("/health/ready")) == (503, {"ready": False})
        assert (await at.get("/no/such/path"))[0] == 404
        house.phase = "ready"
        assert (await at.get("/health/ready")) == (200, {"ready": True})
        assert (await at.post("/api/training/start", {"job_id": "a1"}))[0] == 200


async def test_health_is_answered_on_ipv6_too(house):
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no ::1")
    async with served(house) as at:
        reader, writer = await asyncio.open_connection("::1", at.port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: [::1]:%d\r\nConnection: close\r\n\r\n" % at.port)
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()
