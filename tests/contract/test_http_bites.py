"""Nobody has more than a bite of the loop at a time: what comes at once is read, unpacked and answered in turn."""

from __future__ import annotations

import asyncio
import zlib

import pytest
from aiohttp.compression_utils import ZLibDecompressor
from aiohttp.streams import StreamReader
from support.attacks import LAST, MIB
from support.http_daemon import house_in, served
from support.raw_http import exchange

from reactord.http import connection, listen, table
from reactord.http.app import build
from reactord.http.listen import serve
from reactord.settings import Settings


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path) as house:
        yield house


def packed(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(b'{"job_id": "a1", "x": "'), *(packer.compress(b" " * MIB) for _ in range(megabytes))]
    return b"".join([*parts, packer.compress(b'"}'), packer.flush()])


def post(path: bytes, body: bytes, *headers: bytes) -> bytes:
    lines = [b"POST %s HTTP/1.1" % path, b"Host: localhost", b"Content-Type: application/json", b"Connection: close"]
    return b"\r\n".join([*lines, *headers, b"Content-Length: %d" % len(body), b"", body])


async def test_no_client_hands_in_more_than_a_bite_at_a_time(house, monkeypatch):
    bites = []
    real = connection.Connection.data_received

    def data_received(self, data):
        bites.append(len(data))
        real(self, data)

    monkeypatch.setattr(connection.Connection, "data_received", data_received)
    async with served(house) as at:
        await exchange(at.port, post(b"/api/training/start", b'{"job_id": "a1", "x": "%s"}' % (b"x" * 2 * MIB)))
    assert house.store.job("a1") is not None
    assert max(bites) <= connection.AHEAD_BYTES


async def test_what_was_packed_is_unpacked_a_bite_in_each_turn_of_the_loop(house, monkeypatch):
    turn, bites = 0, []
    real = StreamReader.readany

    async def readany(self):
        data = await real(self)
        if len(data) > 10_000:
            bites.append((id(self), turn))
        return data

    def count():
        nonlocal turn
        turn += 1
        loop.call_soon(count)

    monkeypatch.setattr(StreamReader, "readany", readany)
    raw = packed(15)
    assert len(raw) < 20_000  # all of it comes at once
    async with served(house) as at:
        loop = asyncio.get_running_loop()
        loop.call_soon(count)
        said = await exchange(at.port, post(b"/api/training/start", raw, b"Content-Encoding: gzip"))
    assert [one.status for one in said] == [200]
    assert len(bites) > 10
    assert len(set(bites)) == len(bites)


@pytest.mark.parametrize(
    ("path", "status"), [(b"/nothing", 404), (b"/health", 405), (b"/api/training/cancel/a1", 404), (b"/jobs", 413)]
)
async def test_a_bomb_that_is_refused_is_not_unpacked_to_its_end(house, monkeypatch, path, status):
    unpacked = []
    real = ZLibDecompressor.decompress_sync

    def decompress_sync(self, *args, **kwargs):
        unpacked.append(len(data := real(self, *args, **kwargs)))
        return data

    monkeypatch.setattr(ZLibDecompressor, "decompress_sync", decompress_sync)
    async with served(house) as at:
        said = await exchange(at.port, post(path, packed(200), b"Content-Encoding: gzip"))
    assert [one.status for one in said] == [status]
    assert sum(unpacked) < 40 * MIB


@pytest.mark.parametrize(
    "path", ["/api/training/start", "/api/training/schedule", "/api/v1/training/trigger", "/api/v1/train", "/jobs"]
)
async def test_a_config_of_more_names_than_any_client_has_is_refused(house, path):
    async with served(house) as at:
        status, reply = await at.post(path, {"config": {f"name {n}": n for n in range(1001)}})
    assert (status, "`config`" in reply["error"]) == (400, True)


async def test_the_documents_are_written_once(house, monkeypatch):
    written = []
    real = table.page
    monkeypatch.setattr(table, "page", lambda document: written.append(document) or real(document))
    table._page.cache_clear()
    async with served(house) as at:
        for _ in range(3):
            async with at.session.get(at.base + "/docs") as answer:
                assert "<h1>reactord" in await answer.text()
    assert len(written) == 1


async def test_where_places_are_few_not_many_are_let_in_before_one_can_be_turned_away(house, monkeypatch):
    monkeypatch.setattr(listen, "_room", lambda: 32)
    listening = await serve(Settings(port=0), build(house))
    try:
        assert {server._backlog for server in listening._servers} == {8}
        assert [one.status for one in await exchange(listening.port, LAST)] == [200]
    finally:
        await listening.stop()
