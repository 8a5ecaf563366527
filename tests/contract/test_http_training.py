"""contract/body.md 1.3, 1.4, 1.6."""

from __future__ import annotations

import asyncio
import gzip
import json
import sqlite3
import tracemalloc
import zlib
from concurrent.futures import Future

import pytest
from support.http_daemon import house_in, served

from reactord.ledger.counts import count
from reactord.ledger.reading import pending

START = "/api/training/start"
#: as Body's coordinator sends it (ATC:895-935)
BODY = {
    "job_id": "6552d300-9f3a-4b1c-8a44-000000000001",
    "model_type": "nlu",
    "experiences": [
        {
            "experience_id": f"e{i}", "experience_type": "interaction", "timestamp": 1795281245.1,
            "input_data": {"query": "2+2?"}, "output_data": {"response": "4"}, "quality_score": 0.9, "confidence": 0.8,
            "success": True, "user_id": "u", "session_id": "s", "component": "jarvis", "metadata": {},
        }
        for i in range(3)
    ],
    "config": {"max_steps": 12, "learning_rate": float("nan"), "optimizer": "adam"},
    "epochs": 10,
    "checkpoint_enabled": True,
    "checkpoint_interval": 10,
}  # fmt: skip


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path) as house:
        yield house


def ledger(house) -> list[str]:
    return [record.body.get("experience_id") for record in pending(house.home, upto=1 << 60)]


async def test_the_inline_form_queues_a_job_and_its_experiences_are_durable_before_the_answer(house):
    async with served(house) as at:
        status, reply = await at.post(START, BODY)
        assert ledger(house) == ["e0", "e1", "e2"]
    assert status == 200
    assert {"job_id": BODY["job_id"], "status": "started", "state": "queued"}.items() <= reply.items()
    assert (reply["experiences"], reply["experiences_new"]) == (3, 3)
    assert isinstance(reply["started_at"], float)
    assert set(reply["ignored"]) == {"learning_rate", "optimizer"}
    job = house.store.job(BODY["job_id"])
    assert job.request["hyper"] == {"max_steps": 12.0}
    assert (job.request["born_of"], job.request["model_type"], job.request["experiences"]) == ("http", "nlu", 3)


async def test_a_gzipped_body_is_read(house):
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with served(house) as at:
        raw = gzip.compress(json.dumps(BODY).encode())
        status, _ = await at.post(START, data=raw, headers=headers)
    assert status == 200
    assert len(ledger(house)) == 3


async def test_ten_thousand_experiences_inline_are_taken(house):
    items = [{"query": f"question {i}", "answer": "x" * 400} for i in range(10_000)]
    async with served(house) as at:
        status, reply = await at.post(START, {"job_id": "big", "experiences": items})
        assert (status, reply["experiences_new"]) == (200, 10_000)
        await at.post(START, {"job_id": "big", "experiences": items})
    assert count(house.home).received == 10_000
    assert count(house.home).balanced


async def test_the_same_job_asked_for_twice_is_one_job_and_its_experiences_are_not_taken_again(house):
    async with served(house) as at:
        _, first = await at.post(START, BODY)
        house.fire(BODY["job_id"], "admit", "start")
        status, second = await at.post(START, BODY)
    assert status == 200
    assert (second["job_id"], second["state"], second["started_at"]) == (
        first["job_id"],
        "training",
        first["started_at"],
    )
    assert len(house.offered) == 1
    assert count(house.home).received == 3
    assert len(house.store.jobs()) == 1


async def test_a_retry_after_a_crash_between_experiences_and_job_doubles_nothing(house, monkeypatch):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    async with served(house) as at:
        with monkeypatch.context() as broken:
            broken.setattr(house, "submit", full)
            status, reply = await at.post(START, BODY)
        assert status == 503
        assert "disk is full" in reply["error"]
        status, reply = await at.post(START, BODY)
    assert (status, reply["experiences_new"]) == (200, 0)
    assert len(ledger(house)) == 3
    assert count(house.home).balanced


async def test_two_requests_for_one_job_at_the_same_moment_make_one(house):
    async with served(house) as at:
        replies = await asyncio.gather(*(at.post(START, BODY) for _ in range(5)))
    assert {(status, reply["job_id"]) for status, reply in replies} == {(200, BODY["job_id"])}
    assert len(house.store.jobs()) == 1
    assert len(ledger(house)) == 3


async def test_a_ledger_that_cannot_write_is_a_503_that_says_so_and_queues_nothing(house, monkeypatch):
    def refuse(*_):
        future = Future()
        future.set_exception(OSError(28, "No space left on device"))
        return future

    monkeypatch.setattr(house, "offer", refuse)
    async with served(house) as at:
        status, reply = await at.post(START, BODY)
    assert status == 503
    assert "No space left on device" in reply["error"]
    assert house.store.jobs() == []


async def test_a_ledger_that_does_not_answer_is_not_waited_for_for_ever(house, monkeypatch):
    monkeypatch.setattr("reactord.http.offering.TIMEOUT_S", 0.05)
    monkeypatch.setattr(house, "offer", lambda *_: Future())
    async with served(house) as at:
        status, reply = await at.post(START, BODY)
    assert status == 503
    assert "did not answer" in reply["error"]


async def test_the_dropbox_form_copies_the_file_and_leaves_it(house):
    path = house.home.staging / "a1.json.gz"
    path.write_bytes(gzip.compress(json.dumps(BODY["experiences"]).encode(), 6))
    body = {
        "job_id": "a1",
        "model_type": "nlu",
        "dataset_path": str(path),
        "use_dropbox": True,
        "config": {},
        "epochs": 3,
    }
    async with served(house) as at:
        status, reply = await at.post(START, body)
        assert (status, reply["experiences_new"]) == (200, 3)
        assert path.exists()
        path.unlink()  # as Body does
        assert (await at.post(START, body))[0] == 200
    assert ledger(house) == ["e0", "e1", "e2"]


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "{staging}/../secret.json", "{staging}/missing.json.gz", "{staging}/link"]
)
async def test_a_path_that_leaves_the_dropbox_is_refused(house, path):
    (house.home.staging.parent / "secret.json").write_text("[{}]")
    (house.home.staging / "link").symlink_to("/etc/passwd")
    async with served(house) as at:
        body = {"job_id": "a1", "dataset_path": path.format(staging=house.home.staging), "use_dropbox": True}
        status, reply = await at.post(START, body)
    assert status == 400
    assert "passwd" not in json.dumps(reply)
    assert house.store.jobs() == []


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b"\xff", b'{"job_id": 1}', b'{"job_id": "../x"}', b"[" * 100_000]
)
async def test_a_bad_body_is_a_400_in_words(house, raw):
    async with served(house) as at:
        status, reply = await at.post(START, data=raw, headers={"Content-Type": "application/json"})
    assert status == 400
    assert isinstance(reply["error"], str)
    assert len(reply["error"]) > 20


async def test_a_typed_head_is_refused_at_once_and_takes_nothing(house):
    async with served(house) as at:
        status, reply = await at.post(START, BODY | {"model_type": "voice"})
    assert status == 400
    assert "were not taken" in reply["error"]
    assert house.offered == []
    assert house.store.jobs() == []


async def test_a_body_that_is_too_large_is_a_413(house):
    async with served(house) as at:
        body = json.dumps({"experiences": ["x" * (17 * 1024 * 1024)]}).encode()
        status, reply = await at.post(START, data=body, headers={"Content-Type": "application/json"})
    assert status == 413
    assert "drop-box" in reply["error"]


async def test_a_gzip_bomb_is_a_413_and_is_not_inflated(house):
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    spaces = [packer.compress(b" " * (1024 * 1024)) for _ in range(300)]
    bomb = b"".join([*spaces, packer.flush()])
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with served(house) as at:
        tracemalloc.start()
        status, _ = await at.post(START, data=bomb, headers=headers)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert status == 413
    assert peak_bytes < 100 * 1024 * 1024


@pytest.mark.parametrize("raw", [b"junk", gzip.compress(b'{"job_id":"a"}')[:-12]], ids=["junk", "truncated"])
async def test_a_body_that_is_no_gzip_is_a_400(house, raw):
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with served(house) as at:
        status, _ = await at.post(START, data=raw, headers=headers)
    assert status == 400


async def test_a_body_that_dribbles_in_is_not_waited_for_for_ever(house, monkeypatch):
    monkeypatch.setattr("reactord.http.bodies.TIMEOUT_S", 0.1)
    async with served(house) as at:
        reader, writer = await asyncio.open_connection("127.0.0.1", at.port)
        writer.write(
            b"POST /api/training/start HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 408")
        writer.close()
        await writer.wait_closed()


# -- status ------------------------------------------------------------------------------------------------------------


async def test_a_queued_job_reads_as_training_with_its_true_state_beside_it(house):
    house.queue("a1")
    async with served(house) as at:
        code, status = await at.get("/api/training/status/a1")
    assert code == 200
    expected = {
        "job_id": "a1",
        "status": "training",
        "state": "queued",
        "model_version": None,
        "error": None,
        "metrics": {},
    }
    assert expected.items() <= status.items()
    assert [type(status[key]) for key in ("epoch", "total_epochs", "loss", "accuracy", "started_at", "updated_at")] == [
        int, int, float, float, float, float,
    ]  # fmt: skip


async def test_a_running_job_shows_its_steps(house):
    house.queue("a1")
    house.fire("a1", "admit", "start")
    house.step("a1", 1)
    house.step("a1", 3, loss=0.2)
    async with served(house) as at:
        _, status = await at.get("/api/training/status/a1")
    assert (status["stage"], status["epoch"], status["total_epochs"]) == ("training", 1, 2)
    assert (status["loss"], status["accuracy"]) == (0.2, 0.75)
    assert status["progress"]["eta_s"] == 1.5
    assert status["progress"]["rss_mb"] == 900


async def test_an_unknown_job_is_a_404(house):
    async with served(house) as at:
        for path in ("/api/training/status/nobody", "/api/training/status/..%2f..%2fetc"):
            code, reply = await at.get(path)
            assert code == 404
            assert "no such job" in reply["error"]


async def test_a_torn_line_of_progress_hides_nothing_else(house):
    house.queue("a1")
    house.fire("a1", "admit", "start")
    house.step("a1", 1)
    with house.work("a1").progress_path.open("ab") as file:
        file.write(b'{"at": 1, "stage": "tr')
    house.step("a1", 2)
    house.step("a1", 3)
    async with served(house) as at:
        code, status = await at.get("/api/training/status/a1")
    assert (code, status["progress"]["step"]) == (200, 3)


async def test_a_restarted_daemon_still_knows_the_job(tmp_path):
    with house_in(tmp_path) as house:
        async with served(house) as at:
            await at.post(START, BODY)
    with house_in(tmp_path) as house:
        async with served(house) as at:
            code, status = await at.get(f"/api/training/status/{BODY['job_id']}")
            assert (code, status["status"], status["state"]) == (200, "training", "queued")
            status, reply = await at.post(START, BODY)
            assert (status, "known already" in reply["message"]) == (200, True)
        assert len(ledger(house)) == 3


# -- cancel ------------------------------------------------------------------------------------------------------------


async def test_a_queued_job_is_cancelled_and_then_reads_as_failed(house):
    house.queue("a1")
    async with served(house) as at:
        assert (await at.post("/api/training/cancel/a1"))[0] == 200
        _, status = await at.get("/api/training/status/a1")
        assert (status["status"], status["error"], status["cancelled"]) == ("failed", "cancelled", True)
        assert (await at.post("/api/training/cancel/a1"))[0] == 200


async def test_cancelling_an_unknown_job_is_a_404(house):
    async with served(house) as at:
        assert (await at.post("/api/training/cancel/nobody"))[0] == 404


async def test_a_finished_job_cannot_be_cancelled(house):
    house.queue("a1")
    house.fire("a1", "fail", cause="no memory")
    async with served(house) as at:
        code, reply = await at.post("/api/training/cancel/a1")
    assert code == 409
    assert "failed" in reply["error"]
