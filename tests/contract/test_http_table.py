"""Every row of the table: does a well-formed request get what the row says, and a bad one a refusal in words?"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from support.http_daemon import house_in, served

from reactord.http.openapi import document
from reactord.http.table import ROUTES

ROOT = Path(__file__).parents[2]
#: a good body for each POST
GOOD = {
    "/lifecycle/handshake": {"supervisor_epoch": 1, "required_capabilities": ["training"]},
    "/lifecycle/drain": {"session_id": "s"},
    "/api/training/start": {"job_id": "b1", "model_type": "nlu", "experiences": [{"query": "hi"}]},
    "/api/training/schedule": {"id": "s1", "config": {}, "priority": "normal", "status": "pending"},
    "/api/training/cancel/{job_id}": None,
    "/api/v1/training/trigger": {"experience_count": 3, "priority": "urgent", "trigger_time": "2026-11-22T01:00:00"},
    "/api/v1/train": {"experience_count": 3},
    "/training/trigger": {"model_name": "llama-2-7b", "training_type": "dpo", "config": {"num_epochs": 3}},
    "/api/v1/pipeline/run": {"source": "nightshift_monitor", "experience_count": 500},
    "/api/v1/training/cancel/{job_id}": None,
    "/jobs": {"id": "p1", "type": "lora", "config": {"epochs": 3}},
    "/api/v1/experiences/stream": {"experience": {"event_id": "e1", "event_type": "interaction"}, "source": "x"},
    "/api/v1/experiences/batch": {"experiences": [{"id": "x1"}, {"id": "x2"}], "source": "prime"},
    "/api/experiences/batch": {"experiences": [{"id": "x3"}]},
    "/api/v1/corrections/stream": {
        "corrections": [{"original_prompt": "q", "original_response": "a", "corrected_response": "b"}],
        "source": "jarvis_prime", "timestamp": 1768000000.0,
    },
    "/api/v1/telemetry/submit": {"event_type": "interaction", "data": {"a": 1}},
    "/v1/telemetry/events": {"whatever": 1},
    "/api/voice/sync_features": {"speaker": "d", "features": [0.5]},
    "/api/v1/scout/topics": {"topic": "llama.cpp", "urls": []},
    "/api/trinity/receive": {"kind": "note"},
    "/api/v1/models/register": {"model_id": "m"},
    "/api/models/deploy": {"model_version": "v1.0.0"},
    "/api/models/rollback": {},
    "/api/v1/scheduler/schedule": {"name": "nightly", "cron_expression": "0 2 * * *"},
    "/scheduler/schedule": {"name": "nightly", "cron_expression": "0 2 * * *"},
}  # fmt: skip
#: on a house that has no model
WITHOUT_A_MODEL = {
    "/api/v1/models/{model_id}": 404, "/api/v1/models/register": 409, "/api/models/deploy": 400,
    "/api/models/rollback": 400,
}  # fmt: skip
JSON = [route for route in ROUTES if route.media == "application/json" and not route.upgrades]
POSTS = [route for route in ROUTES if route.method == "POST"]


def _name(route):
    return f"{route.method} {route.path}"


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path) as house:
        house.queue("a1")
        yield house


def test_each_path_and_method_is_one_row():
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert {route.path for route in POSTS} == set(GOOD)


@pytest.mark.parametrize("route", JSON, ids=_name)
async def test_a_good_request_gets_what_the_row_says(house, route):
    path = re.sub(r"\{\w+\}", "a1", route.path)
    async with served(house) as at:
        ask = at.get(path) if route.method == "GET" else at.post(path, GOOD[route.path])
        status, said = await ask
    assert status == WITHOUT_A_MODEL.get(route.path, 200), said
    if status == 200 and not isinstance(route.gives, dict):
        TypeAdapter(route.gives).validate_python(said, strict=True)


@pytest.mark.parametrize("route", [route for route in POSTS if route.takes], ids=_name)
@pytest.mark.parametrize("raw", [b"[]", b"7", b"{", b'{"a": \xff}', b"[" * 100, b'{"job_id": 7, "experience": 1}'])
async def test_a_bad_body_is_a_400_in_words_and_nothing_is_kept(house, route, raw):
    if b"job_id" in raw and route.path in ("/v1/telemetry/events", "/api/voice/sync_features", "/api/trinity/receive",
                                           "/api/v1/telemetry/submit", "/lifecycle/handshake", "/lifecycle/drain",
                                           "/api/training/schedule", "/api/models/rollback"):  # fmt: skip
        return  # an object is all that these ask for
    path = re.sub(r"\{\w+\}", "a1", route.path)
    async with served(house) as at:
        status, said = await at.post(path, data=raw, headers={"Content-Type": "application/json"})
    assert status == 400
    assert said["error"].strip()
    assert said["hint"].strip()
    assert isinstance(said["details"], list)
    assert house.pulse().pending_experiences == 0
    assert house.offered == []


@pytest.mark.parametrize("route", [route for route in JSON if "{" in route.path], ids=_name)
@pytest.mark.parametrize("name", ["nobody", "%2e%2e", "a%00b", "a%2fb", "%ff", "x" * 300])
async def test_what_is_not_there_is_a_404(house, route, name):
    async with served(house) as at:
        path = re.sub(r"\{\w+\}", name, route.path)
        status, said = await (at.get(path) if route.method == "GET" else at.post(path))
    assert status in (400, 404), said
    assert said["hint"]


async def test_nothing_is_taken_while_we_leave_and_everything_can_be_read(house):
    async with served(house) as at:
        assert (await at.post("/lifecycle/drain", {}))[1]["status"] == "draining"
        assert (await at.post("/lifecycle/drain", {}))[1]["status"] == "already_draining"
        for route in POSTS:
            if not (route.always or route.leaving):
                status, _ = await at.post(re.sub(r"\{\w+\}", "a1", route.path), GOOD[route.path])
                assert status == 503, route.path
        assert (await at.get("/api/training/status/a1"))[0] == 200
        _, health = await at.get("/health")
        assert (health["phase"], health["training_ready"]) == ("draining", False)


async def test_the_document_is_served_and_is_the_table(house):
    async with served(house) as at:
        status, said = await at.get("/openapi.json")
        assert status == 200
        assert said == json.loads(json.dumps(document(ROUTES, house.version)))
        async with at.session.get(at.base + "/docs") as response:
            page = await response.text()
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    shown = {(method.upper(), path) for path, methods in said["paths"].items() for method in methods}
    assert shown == {(route.method, route.path) for route in ROUTES}
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page)
    for route in ROUTES:
        assert route.path in page


def test_the_table_in_the_docs_is_this_one():
    written = (ROOT / "docs/http.md").read_text()
    rows = [f"| `{route.method}` | `{route.path}` | {route.does} |" for route in ROUTES]
    assert [line for line in written.splitlines() if line.startswith(("| `GET`", "| `POST`"))] == rows
