"""Clients that cost little: plain sockets and one selector, so that the server is what is measured.

    python http_clients.py load PORT PATH SECONDS CONNECTIONS   requests one after the other on each connection
    python http_clients.py watch PORT PATH                      a request every 10 ms
    python http_clients.py follow PORT PATH CLIENTS             streams; ends when stdin does

Prints JSON; `follow` prints a line once all are connected, and its results when stdin is closed.
"""

from __future__ import annotations

import json
import os
import resource
import select
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field

HEADERS = {
    "sse": "Accept: text/event-stream\r\n",
    "naive": "Accept: */*\r\n",
    "websocket": "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
}


def request(path: str, headers: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode()


@dataclass
class Connection:
    """One client that waits for its answer."""

    socket: socket.socket
    asked_at: float = 0.0
    data: bytes = b""


def load(port: int, path: str, seconds: float, connections: int) -> dict[str, float]:
    """Ask again as soon as the answer is there."""
    asking, selector = request(path), selectors.DefaultSelector()
    for _ in range(connections):
        one = Connection(socket.create_connection(("127.0.0.1", port)))
        one.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(one.socket, selectors.EVENT_READ, one)
        one.asked_at = time.perf_counter()
        one.socket.sendall(asking)
    waits: list[float] = []
    began = now = time.perf_counter()
    while now - began < seconds:
        for key, _ in selector.select(1.0):
            one = key.data
            one.data += one.socket.recv(65536)
            if _whole(one.data):
                now = time.perf_counter()
                waits.append(now - one.asked_at)
                one.data, one.asked_at = b"", now
                one.socket.sendall(asking)
    waits.sort()
    return {"per_s": len(waits) / (now - began), "p50_ms": at(waits, 0.5), "p99_ms": at(waits, 0.99)}


def _whole(answer: bytes) -> bool:
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return False
    assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
    length = answer.index(b"Content-Length: ") + 16
    return len(answer) >= head + 4 + int(answer[length : answer.index(b"\r\n", length)])


def watch(port: int, path: str) -> None:
    """Ask every 10 ms; say how long it took whenever a line comes, and at the end."""
    asking, one = request(path), socket.create_connection(("127.0.0.1", port))
    waits: list[float] = []
    print(json.dumps({"watching": path}), flush=True)
    while True:
        began, data = time.perf_counter(), b""
        one.sendall(asking)
        while not _whole(data):
            data += one.recv(65536)
        waits.append(time.perf_counter() - began)
        if select.select([0], [], [], 0.01)[0]:
            more = os.read(0, 1024)
            waits.sort()
            found = {"asked": len(waits), "p50_ms": at(waits, 0.5), "p99_ms": at(waits, 0.99), "max_ms": at(waits, 1.0)}
            print(json.dumps(found), flush=True)
            if not more:
                return
            waits.clear()


@dataclass
class Heard:
    """What all streams together were told."""

    since: float = 0.0
    waits: list[float] = field(default_factory=list)
    gaps: int = 0
    ended: int = 0


def follow(port: int, path: str, clients: int, kind: str) -> None:
    """Note how old the newest step of each piece is: its worker's `at` is in the status object as `updated_at`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    selector, heard, asking = selectors.DefaultSelector(), Heard(), request(path, HEADERS[kind])
    for _ in range(clients):
        one = socket.create_connection(("127.0.0.1", port))
        one.sendall(asking)
        assert one.recv(65536)
        selector.register(one, selectors.EVENT_READ, one)
    heard.since = time.time()
    print(json.dumps({"connected": clients}), flush=True)
    selector.register(sys.stdin, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                if not os.read(0, 1024):
                    print(json.dumps(_result(heard)), flush=True)
                    return
            else:
                _hear(key.data, selector, heard)


def _hear(one: socket.socket, selector: selectors.BaseSelector, heard: Heard) -> None:
    data = one.recv(262144)
    now = time.time()
    if not data:
        heard.ended += 1
        selector.unregister(one)
        return
    heard.gaps += data.count(b"event: gap") + data.count(b'"type":"gap"')
    place = data.find(b'"updated_at":')
    while place >= 0:
        end = data.find(b",", place)
        if end < 0:
            return
        told_at = float(data[place + 13 : end].rstrip(b"}"))
        if told_at > heard.since:  # not the past, which everybody is told at first
            heard.waits.append(now - told_at)
        place = data.find(b'"updated_at":', end)


def _result(heard: Heard) -> dict[str, float]:
    heard.waits.sort()
    found = {"told": len(heard.waits), "gaps": heard.gaps, "ended": heard.ended}
    return found | {"p50_ms": at(heard.waits, 0.5), "p99_ms": at(heard.waits, 0.99), "max_ms": at(heard.waits, 1.0)}


def at(ordered: list[float], share: float) -> float:
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) if ordered else 0.0


if __name__ == "__main__":
    verb, port, path, *rest = sys.argv[1:]
    if verb == "load":
        print(json.dumps(load(int(port), path, float(rest[0]), int(rest[1]))))
    elif verb == "watch":
        watch(int(port), path)
    else:
        follow(int(port), path, int(rest[0]), rest[1])
