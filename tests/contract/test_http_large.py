"""What is large is taken, and holds up nobody: in pieces, beside the loop, one after the other, a few in memory."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import Future

import orjson
import pytest
from support.http_daemon import house_in, served

from reactord.formats.pieces import SMALL_BYTES
from reactord.http import bodies, guards, intake, large
from reactord.http.routes import watching
from reactord.http.table import ROUTES
from reactord.kernels.json_text import values_of

START, BATCH, SUBMIT = "/api/training/start", "/api/v1/experiences/batch", "/api/v1/telemetry/submit"
PADDING = "x" * large.LARGE_BYTES


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path) as house:
        yield house


def nothings(count: int) -> bytes:
    return b"[" + b",".join([b"[]"] * count) + b"]"


# -- how much --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "held",
    [
        nothings(bodies.MAX_CONTAINERS),
        b"[" + b"0," * bodies.MAX_VALUES + b"0]",
        b"{" + b",".join(b'"%d":0' % n for n in range(bodies.MAX_VALUES)) + b"}",
    ],
)
@pytest.mark.parametrize("path", [START, BATCH, SUBMIT])
async def test_more_values_than_can_be_handled_are_a_413(house, path, held):
    async with served(house) as at:
        status, reply = await at.post(
            path, data=b'{"experiences": %s}' % held, headers={"Content-Type": "application/json"}
        )
    assert (status, "send at most" in reply["hint"]) == (413, True)
    assert house.offered == []


async def test_a_body_of_too_many_names_is_a_413(house):
    async with served(house) as at:
        status, reply = await at.post(SUBMIT, {f"name {n}": n for n in range(bodies.MAX_NAMES + 1)})
    assert (status, str(bodies.MAX_NAMES) in reply["hint"]) == (413, True)


async def test_ten_thousand_experiences_of_twenty_fields_and_their_objects_are_far_from_the_bounds(house):
    one = {f"field {n}": n for n in range(16)} | {f"object {n}": {"a": 1, "b": "x"} for n in range(4)}
    raw = json.dumps({"job_id": "a1", "experiences": [one] * 10_000}).encode()
    values, containers = values_of(raw)
    assert (2 * values < bodies.MAX_VALUES, 2 * containers < bodies.MAX_CONTAINERS) == (True, True)
    async with served(house) as at:
        status, reply = await at.post(START, data=raw, headers={"Content-Type": "application/json"})
    assert (status, reply["experiences"]) == (200, 10_000)


async def test_what_stands_in_a_text_is_no_value(house):
    async with served(house) as at:
        status, reply = await at.post(SUBMIT, {"code": '[{"a": [],},' * 200_000})
    assert (status, reply["new"]) == (200, 1)


# -- in pieces, beside the loop --------------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch):
    """(what, of how many bytes, by which thread) of every text that is parsed or written in one go."""
    found = []

    def spied(name):
        real = getattr(orjson, name)

        def spy(value, *rest):
            said = real(value, *rest)
            found.append((name, len(value if name == "loads" else said), threading.current_thread()))
            return said

        return spy

    for name in ("loads", "dumps"):
        monkeypatch.setattr(orjson, name, spied(name))
    return found


@pytest.mark.parametrize("path", [route.path for route in ROUTES if route.takes])
async def test_no_route_parses_or_writes_a_large_body_in_one_go_on_the_loop(house, path, calls, monkeypatch):
    monkeypatch.setattr(guards, "BURST", 10**6)
    rows = [{"experience": {"text": "x" * 100, "n": n}} for n in range(3000)]
    filled = {"event_type": "a", "experience": {"rows": rows}, "topic": "t", "model_version": "v", "model_id": "m",
              "name": "n", "cron_expression": "0 3 * * *", "experiences": rows, "corrections": rows}  # fmt: skip
    del filled["corrections" if path.endswith("batch") else "experiences"]
    async with served(house) as at:
        for document in (filled, {"experiences": rows}, {"corrections": rows}):
            await at.post(path, document)
    assert calls
    assert [size for name, size, _ in calls if name == "loads" and size > 2 * SMALL_BYTES + 2] == []
    here = threading.current_thread()
    assert [size for _, size, thread in calls if thread is here and size > large.LARGE_BYTES] == []


async def test_a_drop_box_file_is_read_some_at_a_time(house, calls):
    path = house.home.staging / "a1.json"
    rows = [{"id": f"e{n}", "text": "x" * 100} for n in range(5000)]
    path.write_bytes(json.dumps(rows).encode())
    async with served(house) as at:
        status, reply = await at.post(START, {"job_id": "a1", "dataset_path": str(path), "use_dropbox": True})
    assert (status, reply["experiences_new"]) == (200, 5000)
    assert max(size for name, size, _ in calls if name == "loads") <= 2 * SMALL_BYTES + 2


async def test_one_element_of_a_drop_box_file_may_not_be_a_million_values(house):
    path = house.home.staging / "a1.json"
    path.write_bytes(b"[{}, %s, {}]" % nothings(bodies.MAX_CONTAINERS + 1))
    async with served(house) as at:
        status, _ = await at.post(START, {"job_id": "a1", "dataset_path": str(path), "use_dropbox": True})
    assert status == 413
    assert house.offered == []


async def test_one_element_that_is_too_long_for_a_document_is_not_parsed(house, calls, monkeypatch):
    monkeypatch.setattr(intake, "MAX_DOCUMENT_BYTES", 100_000)
    path = house.home.staging / "a1.json"
    path.write_bytes(b'[{}, {"a": "%s"}, {}]' % (b"x" * 700_000))
    async with served(house) as at:
        status, reply = await at.post(START, {"job_id": "a1", "dataset_path": str(path), "use_dropbox": True})
    assert (status, "send at most 100000 for one" in reply["hint"]) == (413, True)
    assert max(size for _, size, _ in calls) < 100_000


async def test_what_is_large_is_worked_on_one_after_the_other():
    desk, doors, begun = large.Desk(), [threading.Event(), threading.Event()], []

    def work(n):
        begun.append(n)
        assert doors[n].wait(10)

    one, two = (asyncio.create_task(desk.work(work, n)) for n in range(2))
    doors[1].set()
    while begun != [0]:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert (begun, two.done()) == ([0], False)
    doors[0].set()
    await asyncio.gather(one, two)
    assert begun == [0, 1]
    desk.close()


async def test_work_whose_client_has_left_is_not_begun():
    desk, door, begun = large.Desk(), threading.Event(), []
    one, two = (asyncio.create_task(desk.work(work, 10)) for work in (door.wait, begun.append))
    await asyncio.sleep(0.05)
    two.cancel()
    await asyncio.sleep(0)
    door.set()
    await one
    await desk.work(begun.append, 3)
    assert begun == [3]
    desk.close()


# -- a few in memory -------------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(house, monkeypatch):
    """It takes what is offered only when it is told to."""
    waiting = []

    def offer(format_name, name, raw):
        waiting.append(Future())
        return waiting[-1]

    monkeypatch.setattr(house, "offer", offer)
    return waiting


async def eventually(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_large_body_has_its_place_until_it_is_answered(house, ledger, monkeypatch):
    monkeypatch.setattr(large, "MAX_LARGE", 1)
    async with served(house) as at:
        one = asyncio.create_task(at.post(SUBMIT, {"n": 1, "text": PADDING}))
        await eventually(lambda: len(ledger) == 1)
        two = asyncio.create_task(at.post(SUBMIT, {"n": 2, "text": PADDING}))
        small = asyncio.create_task(at.post(SUBMIT, {"n": 3}))
        await eventually(lambda: len(ledger) == 2)
        ledger[1].set_result(1)
        assert (await small)[0] == 200
        await asyncio.sleep(0.1)
        assert len(ledger) == 2  # the second large one is still with its sender
        ledger[0].set_result(1)
        assert (await one)[0] == 200
        await eventually(lambda: len(ledger) == 3)
        ledger[2].set_result(1)
        assert (await two)[0] == 200


async def test_who_waits_too_long_for_a_place_may_come_again(house, ledger, monkeypatch):
    monkeypatch.setattr(large, "MAX_LARGE", 1)
    monkeypatch.setattr(large, "WAIT_S", 0.2)
    async with served(house) as at:
        one = asyncio.create_task(at.post(SUBMIT, {"n": 1, "text": PADDING}))
        await eventually(lambda: len(ledger) == 1)
        status, reply = await at.post(SUBMIT, {"n": 2, "text": PADDING})
        assert (status, reply["hint"]) == (503, "send it again in a moment")
        ledger[0].set_result(1)
        assert (await one)[0] == 200
        ask = asyncio.create_task(at.post(SUBMIT, {"n": 2, "text": PADDING}))
        await eventually(lambda: len(ledger) == 2)
        ledger[1].set_result(1)
        assert (await ask)[0] == 200


# -- what costs more than it looks -----------------------------------------------------------------------------------


async def test_however_many_scrape_it_is_measured_once(house, monkeypatch):
    counted = []
    real = watching.count_records
    monkeypatch.setattr(watching, "count_records", lambda home: counted.append(home) or real(home))

    async def scrape(at):
        async with at.session.get(at.base + "/metrics") as response:
            return response.status, await response.text()

    async with served(house) as at:
        found = await asyncio.gather(*(scrape(at) for _ in range(20)))
        assert {status for status, _ in found} == {200}
        assert len(counted) == 1
        monkeypatch.setattr(watching, "MEASURED_FOR_S", 0.0)
        await scrape(at)
        assert len(counted) == 2
