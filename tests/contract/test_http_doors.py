"""Through which doors may who come? The loopback, a socket file, aliases, and another address with a token."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import stat

import aiohttp
import pytest
from support.http_daemon import Served, house_in

from reactord.errors import BadConfig, EnvironmentTrouble
from reactord.home import Home
from reactord.http import listen, sockets, token
from reactord.http.app import build
from reactord.http.listen import serve
from reactord.settings import Settings, load

#: a loopback address that is not one of ours: what comes there is foreign
ELSEWHERE = "127.0.0.2"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path) as house:
        yield house


@contextlib.asynccontextmanager
async def listening(house, **settings):
    found = await serve(Settings(**{"port": 0} | settings), build(house))
    try:
        yield found
    finally:
        await found.stop()


@contextlib.asynccontextmanager
async def asking(house, port, address="127.0.0.1"):
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        at = Served(house, port, session)
        at.base = f"http://{address}:{port}"
        yield at


@contextlib.asynccontextmanager
async def from_elsewhere(house):
    with contextlib.closing(socket.socket()) as probe:
        try:
            probe.bind((ELSEWHERE, 0))
        except OSError:
            pytest.skip(f"this machine has no {ELSEWHERE}")
    async with listening(house, host=ELSEWHERE) as found, asking(house, found.port, ELSEWHERE) as at:
        assert found.troubles() == []
        yield at, {"Authorization": f"Bearer {house.home.http_token.read_text().strip()}"}


# -- another address ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Bearer " + "0" * 64},
        {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer é"}, {"X-Token": "a"},
    ],
)  # fmt: skip
async def test_from_elsewhere_nothing_is_answered_without_the_token(house, wrong):
    async with from_elsewhere(house) as (at, _):
        for method, path in (
            ("GET", "/health"),
            ("GET", "/docs"),
            ("POST", "/api/training/start"),
            ("PUT", "/no/such"),
        ):
            async with at.session.request(method, at.base + path, headers=wrong) as response:
                assert response.status == 401
                assert response.headers["WWW-Authenticate"] == "Bearer"
                assert (await response.json())["hint"].startswith("send `Authorization: Bearer`")


async def test_half_a_token_or_more_than_one_is_none(house):
    async with from_elsewhere(house) as (at, right):
        whole = right["Authorization"]
        for wrong in (whole[:-1], whole + "0", whole.upper(), f"{whole} {whole[7:]}", whole[7:]):
            assert (await at.get("/health", headers={"Authorization": wrong}))[0] == 401


async def test_with_the_token_everything_is_answered_by_whatever_name(house):
    async with from_elsewhere(house) as (at, right):
        assert (await at.get("/health", headers=right))[1]["status"] == "healthy"
        assert (await at.get("/health", headers=right | {"Host": "reactor.lan"}))[0] == 200
        status, _ = await at.post("/api/training/start", data=b'{"job_id": "a1"}', headers=JSON | right)
        assert status == 200
        assert (await at.get("/no/such", headers=right))[0] == 404


async def test_a_web_page_may_not_use_the_token_either(house):
    async with from_elsewhere(house) as (at, right):
        assert (await at.get("/health", headers=right | {"Origin": "http://evil.com"}))[0] == 403


async def test_the_loopback_stays_as_it_is_beside_another_address(house):
    async with from_elsewhere(house) as (at, _), asking(house, at.port) as here:
        assert (await here.get("/health"))[0] == 200
        assert (await here.get("/health", headers={"Host": f"{ELSEWHERE}:{at.port}"}))[0] == 421


async def test_the_token_is_made_once_and_only_we_may_read_it(house):
    async with from_elsewhere(house) as (_, right):
        assert stat.S_IMODE(house.home.http_token.stat().st_mode) == 0o600
        assert re.fullmatch(r"Bearer [0-9a-f]{64}", right["Authorization"])
    async with from_elsewhere(house) as (at, again):
        assert again == right
        assert (await at.get("/health", headers=again))[0] == 200


async def test_without_another_address_there_is_no_token(house):
    async with listening(house):
        assert not house.home.http_token.exists()


def _loose(path):
    path.chmod(0o640)


def _linked(path):
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def _short(path):
    path.write_text("secret\n")


def _gone(path):
    path.unlink()
    path.mkdir()


def _piped(path):
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize("harm", [_loose, _linked, _short, _gone, _piped])
async def test_a_token_that_others_could_know_ends_the_start_in_words(house, harm):
    token.made(house.home.http_token)
    harm(house.home.http_token)
    with pytest.raises(BadConfig, match=r"http\.token.*remove it, and a new (one|token) is made") as refused:
        await serve(Settings(port=0, host=ELSEWHERE), build(house))
    assert str(refused.value).count("\n") == 0


def test_a_token_of_another_user_is_none(house, monkeypatch):
    token.made(house.home.http_token)
    monkeypatch.setattr(token.os, "geteuid", lambda: 12345)
    with pytest.raises(BadConfig, match="no plain file of yours"):
        token.read(house.home.http_token)


async def test_an_address_that_is_not_there_today_is_a_trouble_and_no_end(house):
    async with listening(house, host="192.0.2.1") as found, asking(house, found.port) as at:
        [trouble] = found.troubles()
        assert trouble.startswith(f"cannot listen on 192.0.2.1, port {found.port}: Cannot assign requested address; ")
        assert (await at.get("/health"))[0] == 200


@pytest.mark.parametrize(
    ("sockname", "door"),
    [
        (("127.0.0.1", 8090), "loopback"), (("::1", 8090, 0, 0), "loopback"), ("/run/reactord.sock", "file"),
        (("127.0.0.2", 8090), "foreign"), (("192.168.1.5", 8090), "foreign"), (("0.0.0.0", 8090), "foreign"),
        (("::ffff:127.0.0.1", 8090, 0, 0), "foreign"), ("", "foreign"), (None, "foreign"),
    ],
)  # fmt: skip
def test_what_is_not_surely_ours_is_foreign(sockname, door):
    assert sockets.door_of(sockname) == door


@pytest.mark.parametrize(
    ("host", "bound"),
    [("127.0.0.1", ["127.0.0.1", "::1"]), ("0.0.0.0", ["0.0.0.0", "::1"]), ("::", ["127.0.0.1", "::"]),
     ("192.0.2.1", ["127.0.0.1", "::1"])],
)  # fmt: skip
def test_every_address_takes_the_place_of_its_loopback(host, bound, monkeypatch):
    asked = []

    def listen_at(address, _port):  # nothing is bound to every address in a test
        asked.append(address)
        found = socket.socket()
        found.bind(("127.0.0.1", 0))
        return found

    monkeypatch.setattr(sockets, "listen_at", listen_at)
    for found in sockets.loopback(0, host):
        found.close()
    assert asked == bound


@pytest.mark.parametrize(
    ("name", "value"),
    [("REACTOR_HOST", "example.com"), ("REACTOR_HOST", "10.0.0.256"), ("REACTOR_HOST", "0"),
     ("REACTOR_ALIAS_PORTS", "http"), ("REACTOR_ALIAS_PORTS", "0"), ("REACTOR_ALIAS_PORTS", "65536"),
     ("REACTOR_ALIAS_PORTS", "-1"), ("REACTOR_ALIAS_PORTS", ",".join(str(p) for p in range(9000, 9009)))],
)  # fmt: skip
def test_what_is_no_address_and_no_port_is_refused_at_the_start(tmp_path, name, value):
    with pytest.raises(BadConfig, match=name):
        load(Home(tmp_path), {name: value})


def test_ports_may_be_written_with_spaces_and_twice(tmp_path):
    assert load(Home(tmp_path), {"REACTOR_ALIAS_PORTS": " 8003, 8080,8003,"}).aliases == (8003, 8080)
    assert load(Home(tmp_path), {}).aliases == ()


# -- aliases -----------------------------------------------------------------------------------------------------------


def _free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_an_alias_answers_under_its_own_port_alone(house):
    alias = _free_port()
    async with listening(house, alias_ports=str(alias)) as found, asking(house, alias) as at:
        assert found.troubles() == []
        assert (await at.get("/health"))[0] == 200
        assert (await at.get("/health", headers={"Host": f"localhost:{alias}"}))[0] == 200
        assert (await at.get("/health", headers={"Host": f"localhost:{found.port}"}))[0] == 421
        assert (await at.get("/health", headers={"Host": f"evil.com:{alias}"}))[0] == 421
        assert (await at.post("/api/training/start", {"job_id": "a1"}))[0] == 200


async def test_an_alias_that_is_our_own_port_is_served_already(house):
    port = _free_port()
    async with listening(house, port=port, alias_ports=str(port)) as found:
        assert found.troubles() == []


async def test_an_alias_that_is_taken_is_a_trouble_until_it_is_free(house, monkeypatch):
    monkeypatch.setattr(listen, "RETRY_S", 0.02)
    with contextlib.closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        alias = other.getsockname()[1]
        async with listening(house, alias_ports=str(alias)) as found, asking(house, alias) as at:
            keeping = asyncio.create_task(found.keep())
            await asyncio.sleep(0.1)
            [trouble] = found.troubles()
            assert trouble.startswith(f"cannot listen on port {alias}: Address already in use; ")
            other.close()
            async with asyncio.timeout(10):
                while found.troubles():
                    await asyncio.sleep(0.01)
            assert (await at.get("/health"))[0] == 200
            keeping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await keeping


# -- the socket file ---------------------------------------------------------------------------------------------------


async def _by_file(path, request):
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


async def test_the_file_is_only_ours_and_answers_to_any_name(house):
    async with listening(house) as found:
        assert found.path == house.home.http_socket
        assert stat.S_IMODE(found.path.stat().st_mode) == 0o600
        for host in (b"localhost", b"evil.com", b"reactord"):
            request = b"GET /health HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % host
            assert (await _by_file(found.path, request))[1]["status"] == "healthy"
    assert not found.path.exists()


async def test_a_web_page_may_not_ask_through_the_file_either(house):
    async with listening(house) as found:
        head = b"GET /health HTTP/1.1\r\nHost: a\r\nOrigin: null\r\nConnection: close\r\n\r\n"
        assert (await _by_file(found.path, head))[0] == 403


async def test_the_file_that_a_killed_daemon_left_is_replaced(house):
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as killed:
        killed.bind(str(house.home.http_socket))
    assert house.home.http_socket.is_socket()
    async with listening(house) as found:
        assert found.troubles() == []
        assert (await _by_file(found.path, b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))[0] == 200


async def test_a_file_that_somebody_listens_on_is_left_to_them(house):
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as other:
        other.bind(str(house.home.http_socket))
        other.listen()
        async with listening(house) as found, asking(house, found.port) as at:
            assert "another program listens" in found.troubles()[0]
            assert (await at.get("/health"))[0] == 200
        assert house.home.http_socket.is_socket()


@pytest.mark.parametrize("harm", [lambda path: path.write_text("mine"), lambda path: path.symlink_to("/dev/null")])
async def test_what_is_no_socket_is_not_removed(house, harm):
    harm(house.home.http_socket)
    async with listening(house) as found:
        assert "is in the way of our socket; move it away" in found.troubles()[0]
    assert house.home.http_socket.lstat()


async def test_a_home_with_a_long_name_has_its_file_elsewhere(tmp_path, fast_dir, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(fast_dir))
    with house_in(tmp_path / ("long" * 30)) as house:
        async with listening(house) as found:
            assert found.path.parent.parent == fast_dir
            assert stat.S_IMODE(found.path.parent.stat().st_mode) == 0o700
            assert len(os.fsencode(found.path)) < 104
            assert (await _by_file(found.path, b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))[
                0
            ] == 200
        assert not found.path.exists()


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o1777])
def test_a_place_where_others_may_write_is_not_used(fast_dir, mode):
    place = fast_dir / "reactord"
    place.mkdir()
    place.chmod(mode)
    with pytest.raises(EnvironmentTrouble, match="chmod 700"):
        sockets.listen_on_file(place / "a.sock")
    place.chmod(0o755)
    linked = fast_dir / "linked"
    linked.symlink_to(place)
    with pytest.raises(EnvironmentTrouble, match="of yours alone"):
        sockets.listen_on_file(linked / "a.sock")
    sockets.listen_on_file(place / "a.sock").close()


def test_a_place_of_another_user_is_not_used(fast_dir, monkeypatch):
    monkeypatch.setattr(sockets.os, "geteuid", lambda: 12345)
    with pytest.raises(EnvironmentTrouble, match="of yours alone"):
        sockets.listen_on_file(fast_dir / "a.sock")
