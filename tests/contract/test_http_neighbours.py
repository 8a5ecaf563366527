"""Every user of a machine may connect to its loopback. Only ours, and root, come in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time

import pytest
from support.http_daemon import house_in, served

from reactord.http import peers

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells whose a socket is")
#: asks as another user, in a process of its own; what it needs is imported before it may read nothing any more
ASK = """
import os, socket, sys
uid, family, address, port, request, *leave = sys.argv[1:]
os.setuid(int(uid))
own = socket.socket(getattr(socket, family))  # a socket belongs to who makes it
own.connect((address, int(port)))
own.sendall(request.encode())
if leave:
    own.close()
    sys.exit()
while part := own.recv(65536):
    os.write(1, part)
"""
NOBODY = 65534
GET = "GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"


@pytest.fixture
async def at(tmp_path):
    with house_in(tmp_path) as house:
        async with served(house) as at:
            yield at


@contextlib.contextmanager
def another_user(monkeypatch):
    """The number of a user who is neither us nor root; only root can become one, so else it is we who are another."""
    if os.geteuid() == peers.ROOT:
        yield NOBODY
    else:
        ours = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: ours + 1)
        yield ours
        monkeypatch.undo()


async def ask(at, uid, *leave, family="AF_INET", address="127.0.0.1", request=GET):
    command = [sys.executable, "-I", "-S", "-c", ASK, str(uid), family, address, str(at.port),
               request.format(port=at.port), *leave]  # fmt: skip
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True, timeout=30)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    return (int(head.split()[1]), json.loads(body)) if head else None


@linux
@pytest.mark.parametrize(("family", "address"), [
    ("AF_INET", "127.0.0.1"), ("AF_INET6", "::1"), ("AF_INET6", "::ffff:127.0.0.1"),
])  # fmt: skip
async def test_another_user_of_the_machine_is_refused(at, monkeypatch, family, address):
    with another_user(monkeypatch) as uid:
        status, said = await ask(at, uid, family=family, address=address)
    assert status == 401
    assert said["error"].startswith("only the user who runs reactord comes in without the token")


@linux
@pytest.mark.parametrize(("family", "address"), [("AF_INET", "127.0.0.1"), ("AF_INET6", "::ffff:127.0.0.1")])
async def test_our_own_user_comes_in(at, family, address):
    status, said = await ask(at, os.geteuid(), family=family, address=address)
    assert (status, said["phase"]) == (200, "ready")


@linux
async def test_who_is_gone_before_we_look_is_nobody_we_know(at, monkeypatch):
    """A closed socket says user 0 to whoever asks the kernel: that must not make its sender root."""
    looked = []
    is_one_of_us = peers.is_one_of_us

    def late(ours, theirs):
        time.sleep(0.3)
        looked.append(is_one_of_us(ours, theirs))
        return looked[-1]

    monkeypatch.setattr("reactord.http.connection.is_one_of_us", late)
    request = (
        "POST /api/training/schedule HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        "Content-Length: 2\r\n\r\n{{}}"
    )
    assert await ask(at, os.geteuid(), "leave", request=request) is None
    assert (await at.get("/health"))[0] == 200
    assert looked[0] is False
    assert (await at.get("/api/v1/training/history"))[1] == []


@linux
def test_where_the_kernel_cannot_be_asked_the_loopback_is_open(monkeypatch):
    def refused(*_):
        raise PermissionError(1, "a sandbox without netlink")

    monkeypatch.setattr(peers, "_owner", refused)
    assert peers.is_one_of_us(("127.0.0.1", 1), ("127.0.0.1", 2))


@linux
def test_a_connection_that_is_not_there_has_nobody():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        ours, theirs = server.getsockname(), client.getsockname()
        assert peers.is_one_of_us(ours, theirs)
        assert not peers.is_one_of_us(ours, (theirs[0], theirs[1] ^ 1))
