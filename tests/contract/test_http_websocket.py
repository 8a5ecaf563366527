"""The WebSocket: what the existing Reactor's text promises, and what Prime's orchestrator does (prime.md 3.7)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time

import aiohttp
import pytest
from support.http_daemon import house_in, served
from support.raw_streams import BINARY, CLOSE, PING, PONG, TEXT, WebSocket

from reactord.http import outbox, stream, talking
from reactord.http.app import build
from reactord.http.listen import serve
from reactord.settings import Settings


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path) as house:
        yield house


@contextlib.asynccontextmanager
async def connected(at, path="/ws"):
    async with at.session.ws_connect(at.base + path) as ws:
        hello = await ws.receive_json(timeout=5)
        assert (hello["type"], hello["payload"]["service"]) == ("connected", "reactor_core")
        yield ws


async def ask(ws, **what):
    """What is said, and what is answered; whatever happens in between is left out."""
    await ws.send_json(what)
    while (said := await ws.receive_json(timeout=5))["type"] not in ("subscribed", "unsubscribed", "pong", "error"):
        pass
    return said


async def heard(ws, until: str):
    """Everything up to the first message of this channel."""
    found = []
    while not found or found[-1]["type"] != until:
        found.append(await ws.receive_json(timeout=10))
    return found


async def eventually(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_the_example_of_the_seed_follows_a_training_to_its_end(house):
    async with served(house) as at, connected(at) as ws:
        await ws.send_str(json.dumps({"type": "subscribe", "channels": ["training:progress", "training:complete"]}))
        said = await ws.receive_json(timeout=5)
        assert (said["type"], said["channels"]) == ("subscribed", ["training:complete", "training:progress"])
        house.queue("a1")
        house.fire("a1", "admit", "start")
        house.step("a1", 1)
        house.fire("a1", "export", "deploy", "complete", version="v1.0.1")
        messages = await heard(ws, "training:complete")
        [complete] = [m for m in messages if m["type"] == "training:complete"]
        assert (complete["payload"]["job_id"], complete["payload"]["facts"]) == ("a1", {"version": "v1.0.1"})
        assert complete["id"] == house.store.last_event()
        while messages[-1]["type"] != "training:progress" or messages[-1]["payload"]["status"] != "completed":
            messages.append(await ws.receive_json(timeout=10))
        progress = [m["payload"] for m in messages if m["type"] == "training:progress"]
        assert {p["job_id"] for p in progress} == {"a1"}
        assert next(p["progress"]["step"] for p in progress if p["progress"].get("step")) == 1
        assert {m["type"] for m in messages} == {"training:progress", "training:complete"}


@pytest.mark.parametrize(("trigger", "state"), [("fail", "failed"), ("cancel", "cancelled")])
async def test_a_training_that_brings_no_model_is_told_as_failed(house, trigger, state):
    async with served(house) as at, connected(at) as ws:
        await ask(ws, type="subscribe", channels=["training:failed"])
        house.queue("a1")
        house.fire("a1", trigger, cause="no memory")
        [message] = await heard(ws, "training:failed")
        assert (message["payload"]["topic"], message["payload"]["cause"]) == (f"job.{state}", "no memory")


async def test_prime_connects_and_hears_everything_from_the_start(house):
    async with served(house) as at, connected(at, "/ws/trinity") as ws:
        with house.store.transaction():
            house.store.note("model.deployed", "v1.0.1", 1.0, job_id="a1")
            house.store.note("dataset.taken", "d1", 2.0, counts={})
        house.queue("a1")
        types = [m["type"] for m in await heard(ws, "job:queued")]
        assert [t for t in types if t != "experience:count"][:3] == ["model:deployed", "dataset:taken", "job:queued"]


async def test_a_family_is_heard_and_no_longer_after_unsubscribing(house):
    async with served(house) as at, connected(at) as ws:
        await ask(ws, type="subscribe", channels=["model:*", "note:end"], requestId="r1")
        with house.store.transaction():
            for topic in ("model.deployed", "run.started", "model.superseded", "note.end"):
                house.store.note(topic, "s", 1.0)
        assert [m["type"] for m in await heard(ws, "note:end")] == ["model:deployed", "model:superseded", "note:end"]
        left = await ask(ws, type="unsubscribe", channels=["model:*"], requestId=7)
        assert (left["type"], left["channels"], left["requestId"]) == ("unsubscribed", ["note:end"], 7)
        with house.store.transaction():
            house.store.note("model.deployed", "s", 1.0)
            house.store.note("note.end", "s", 1.0)
        assert [m["type"] for m in await heard(ws, "note:end")] == ["note:end"]


async def test_a_request_id_is_echoed_whatever_the_answer(house):
    async with served(house) as at, connected(at) as ws:
        assert (await ask(ws, type="subscribe", channels=["*"], requestId="r1"))["requestId"] == "r1"
        assert (await ask(ws, type="ping", requestId="r2"))["requestId"] == "r2"
        assert (await ask(ws, type="dance", requestId="r3"))["requestId"] == "r3"
        assert "requestId" not in await ask(ws, type="ping")


async def test_what_was_missed_comes_again_behind_the_id_also_after_a_restart(tmp_path):
    with house_in(tmp_path) as house:
        for n in range(150):  # more than one piece
            with house.store.transaction():
                house.store.note("note.a" if n % 2 else "note.b", str(n), 1.0)
        async with served(house) as at, connected(at) as ws:
            first = await ask(ws, type="subscribe", channels=["note:a"], after=100)
            assert first["id"] == 150
            assert [(await ws.receive_json(timeout=5))["id"] for _ in range(25)] == list(range(102, 151, 2))
    with house_in(tmp_path) as house:
        with house.store.transaction():
            house.store.note("note.a", "while nobody listened", 1.0)
        async with served(house) as at, connected(at) as ws:
            await ask(ws, type="subscribe", channels=["note:a"], after=150)
            assert (await ws.receive_json(timeout=5))["payload"]["subject"] == "while nobody listened"


async def test_nothing_is_lost_or_told_twice_between_the_past_and_the_present(house):
    def note(n: int) -> None:
        with house.store.transaction():
            house.store.note("note.a", str(n), 1.0)

    for n in range(500):
        note(n)
    async with served(house) as at, connected(at) as ws:
        await ws.send_json({"type": "subscribe", "channels": ["note:*"], "after": 0})
        for n in range(500, 560):
            note(n)
            await asyncio.sleep(0)
        note(-1)
        ids = []
        while not ids or ids[-1] != 561:
            message = await ws.receive_json(timeout=10)
            ids += [message["id"]] if message["type"] == "note:a" else []
    assert ids == list(range(1, 562))


async def test_how_many_experiences_wait_is_told_when_it_changes(house):
    async with served(house) as at, connected(at) as ws:
        await ask(ws, type="subscribe", channels=["experience:count"])
        status, _ = await at.post("/api/training/start", {"job_id": "a1", "experiences": [{"query": "hi"}]})
        assert status == 200
        message = (await heard(ws, "experience:count"))[-1]
        while message["payload"] != {"pending": 1}:
            message = (await heard(ws, "experience:count"))[-1]


@pytest.mark.parametrize(
    "said",
    [
        {"type": "dance"}, {"no": "type"}, [], 7, None, "subscribe", {"type": 7},
        {"type": "subscribe"}, {"type": "subscribe", "channels": "model:*"}, {"type": "subscribe", "channels": [1]},
        {"type": "subscribe", "channels": ["A B"]}, {"type": "subscribe", "channels": ["a:*:b"]},
        {"type": "subscribe", "channels": ["c" * 50]}, {"type": "subscribe", "channels": ["x"] * 100},
        {"type": "subscribe", "channels": ["*"], "after": -1}, {"type": "subscribe", "channels": ["*"], "after": "x"},
        {"type": "subscribe", "channels": ["*"], "requestId": "r" * 300},
        {"type": "subscribe", "channels": ["*"], "requestId": {}},
    ],
)  # fmt: skip
async def test_what_is_not_understood_gets_an_error_with_what_to_do_and_no_goodbye(house, said):
    async with served(house) as at, connected(at) as ws:
        await ws.send_json(said)
        error = await ws.receive_json(timeout=5)
        assert error["type"] == "error"
        assert "send" in error["error"]
        assert (await ask(ws, type="ping"))["type"] == "pong"


async def test_no_client_can_ask_for_more_channels_than_we_keep(house):
    async with served(house) as at, connected(at) as ws:
        for n in range(0, 64, 8):
            await ask(ws, type="subscribe", channels=[f"note:{m}" for m in range(n, n + 8)])
        assert (await ask(ws, type="subscribe", channels=["note:one-more"]))["type"] == "error"


@contextlib.asynccontextmanager
async def raw(house, path="/ws", *headers):
    app = build(house)
    server = await serve(Settings(port=0), app)
    ws = await WebSocket.open(server.port, path, *headers)
    try:
        yield ws, app[stream.STREAMS]
    finally:
        await ws.leave()
        await server.stop()


@pytest.mark.parametrize(
    ("payload", "opcode", "first", "code"),
    [
        (b"\x00\x01", BINARY, None, 1003),
        (b"\xff\xfe{}", TEXT, None, 1007),
        (b"not json", TEXT, None, 1007),
        (b'{"type": "subscribe", "channels": ["*"', TEXT, None, 1007),
        (b"", TEXT, None, 1007),
        (b"[" * 5000, TEXT, None, 1007),
        (b'{"type": "' + b"x" * 20_000 + b'"}', TEXT, None, 1009),
        (b"{}", TEXT, 0xF1, 1002),  # reserved bits
        (b"{}", 0x3, None, 1002),  # an opcode that nobody has defined
    ],
)
async def test_garbage_ends_the_connection_with_the_code_that_says_why(house, payload, opcode, first, code):
    async with raw(house) as (ws, streams):
        assert (await ws.frame())[0] == TEXT
        ws.send(payload, opcode, first=first)
        assert await ws.closed() == code
        await eventually(lambda: streams.open == 0)


async def test_who_talks_without_an_end_is_sent_away(house):
    async with raw(house) as (ws, _):
        for _ in range(200):
            ws.send(b'{"type":"ping"}')
        assert await ws.closed() == 1008


@pytest.mark.parametrize("path", ["/ws", "/ws/trinity"])
@pytest.mark.parametrize("origin", ["http://evil.com", "null", "http://127.0.0.1:8090", ""])
async def test_a_web_page_may_not_connect(house, path, origin):
    async with served(house) as at:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await at.session.ws_connect(at.base + path, headers={"Origin": origin})
    assert refused.value.status == 403


async def test_another_hosts_name_may_not_connect(house):
    async with served(house) as at:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await at.session.ws_connect(at.base + "/ws", headers={"Host": "evil.com"})
    assert refused.value.status == 421


async def test_a_plain_request_is_told_to_upgrade_and_half_a_handshake_is_a_400(house):
    async with served(house) as at:
        async with at.session.get(at.base + "/ws") as answer:
            assert (answer.status, answer.headers["Upgrade"]) == (426, "websocket")
            assert (await answer.json())["hint"]
        status, _ = await at.get("/ws", headers={"Upgrade": "websocket", "Connection": "Upgrade"})
        assert status == 400


async def test_while_starting_nobody_may_connect(house):
    house.phase = "starting"
    async with served(house) as at:
        assert (await at.get("/ws"))[0] == 503


async def test_a_slow_client_gets_a_gap_instead_of_silence_and_the_events_back_by_its_id(house):
    events = 3000
    async with raw(house) as (ws, streams):
        assert (await ws.frame())[0] == TEXT
        ws.send(b'{"type":"subscribe","channels":["note:*"]}')
        await ws.frame()
        for n in range(events):  # 60 MB: more than both kernels keep
            with house.store.transaction():
                house.store.note("note.long", str(n), 1.0, text="y" * 20_000)
            if n % 100 == 0:
                await asyncio.sleep(0.06)
        with house.store.transaction():
            house.store.note("note.end", "s", 1.0)
        await eventually(lambda: sum(map(len, streams.outboxes())) == outbox.MAX_WAITING)
        told, gaps = [], []
        while not told or told[-1] != events + 1:
            message = json.loads((await ws.frame())[1])
            if message["type"] == "gap":
                gaps.append(message["payload"])
            else:
                told.append(message["id"])
        assert gaps
        assert sum(gap["missed"] for gap in gaps) + len(told) == events + 1
        missing = set(range(1, events + 1)) - set(told)
        assert missing == {n for gap in gaps for n in range(gap["after"] + 1, gap["upto"] + 1)}
        ws.send(b'{"type":"subscribe","channels":["note:*"],"after":%d}' % gaps[0]["after"])
        back = set()
        while not missing <= back:
            back.add(json.loads((await ws.frame())[1])["id"])


async def test_who_answers_no_ping_is_gone(house, monkeypatch):
    monkeypatch.setattr(talking, "HEARTBEAT_S", 0.2)
    async with raw(house) as (ws, streams):
        assert (await ws.frame())[0] == TEXT
        assert (await ws.frame())[0] == PING
        await eventually(lambda: streams.open == 0)


async def test_who_answers_stays(house, monkeypatch):
    monkeypatch.setattr(talking, "HEARTBEAT_S", 0.2)
    async with raw(house) as (ws, streams):
        await ws.frame()
        for _ in range(4):
            opcode, payload = await ws.frame()
            assert opcode == PING
            ws.send(payload, PONG)
        assert streams.open == 1
        ws.send(b"are you there", PING)
        assert await ws.frame() in ((PONG, b"are you there"), (PING, b""))
        ws.send(b"\x03\xe8", CLOSE)
        assert await ws.closed() == 1000


async def test_the_number_of_websockets_is_capped_with_the_streams(house, monkeypatch):
    monkeypatch.setattr(stream, "MAX_STREAMS", 1)
    async with served(house) as at, connected(at):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await at.session.ws_connect(at.base + "/ws")
        assert refused.value.status == 503
        assert (await at.get("/health"))[0] == 200


@pytest.mark.parametrize("opcode", [PING, PONG, TEXT])
async def test_who_says_too_much_is_parted_with_whatever_it_says(house, opcode):
    async with served(house) as at:
        one = await WebSocket.open(at.port, "/ws")
        for _ in range(500):
            one.send(b'{"type": "ping"}', opcode)
        said, code = [], None
        while code is None:
            kind, payload = await one.frame()
            said.append(kind)
            code = int.from_bytes(payload[:2], "big") if kind == CLOSE else None
        assert code == 1008
        assert len(said) < 100
        await one.leave()
