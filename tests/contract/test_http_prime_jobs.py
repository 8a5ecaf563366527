"""Prime's bridge has jobs trained over REST: contract/prime.md 4 (jobs) and 5.5, by the rules of its own client."""

from __future__ import annotations

import uuid

import pytest
from support.http_daemon import house_in, served

#: what its enums know; another word raises, and the job is never updated again
STATUSES = {"pending", "queued", "running", "completed", "failed", "cancelled"}
TYPES = {"fine_tuning", "rlhf", "continual_learning", "distillation", "quantization"}
SENT = {
    "id": "6f1c2a3b-9d4", "type": "rlhf", "status": "pending", "base_model": "prime-7b-chat-v1",
    "config": {"epochs": 3, "learning_rate": 2e-5, "max_steps": None, "quantization": "q4_k_m"},
    "created_at": 1768000000.5, "started_at": None, "completed_at": None, "current_step": 0, "total_steps": 0,
    "progress_percent": 0.0, "metrics": {}, "output_model_id": None, "error_message": None,
}  # fmt: skip


def from_dict(data):
    """`TrainingJob.from_dict` of the bridge: what is not there is invented, an unknown word raises."""
    assert data.get("type", "fine_tuning") in TYPES
    assert data.get("status", "pending") in STATUSES
    return {
        "id": data.get("id", str(uuid.uuid4())[:12]),
        "type": data.get("type", "fine_tuning"),
        "status": data.get("status", "pending"),
        "base_model": data.get("base_model", ""),
        "config": data.get("config"),
        "created_at": data.get("created_at"),
        "metrics": data.get("metrics", {}),
        "current_step": data.get("current_step", 0),
        "total_steps": data.get("total_steps", 0),
        "progress_percent": data.get("progress_percent", 0.0),
        "error_message": data.get("error_message"),
    }


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path) as house:
        yield house


async def poll(at, job_id):
    status, said = await at.get(f"/jobs/{job_id}")
    assert status == 200
    return from_dict(said)


async def test_a_job_of_the_bridge_stays_the_job_that_it_was(house):
    """It writes what it reads over its own file of the job, every 30 s."""
    async with served(house) as at:
        assert (await at.post("/jobs", SENT))[0] == 200
        for _ in range(2):
            job = await poll(at, SENT["id"])
            assert {key: job[key] for key in ("id", "type", "base_model", "config")} == {
                key: SENT[key] for key in ("id", "type", "base_model", "config")
            }
        assert (job["status"], job["error_message"], job["metrics"]) == ("queued", None, {})
        again = await at.post("/jobs", SENT)
    assert again[1]["id"] == SENT["id"]
    assert len(house.store.jobs()) == 1


async def test_its_jobs_are_sorted_by_a_number_of_seconds(house):
    async with served(house) as at:
        await at.post("/jobs", SENT)
        _, said = await at.get(f"/jobs/{SENT['id']}")
        assert type(said["created_at"]) is float
        assert said["created_at"] > SENT["created_at"]
        _, listed = await at.get("/jobs")
    assert [from_dict(job)["id"] for job in listed["jobs"]] == [SENT["id"]]


async def test_it_sees_the_steps_and_the_end(house):
    async with served(house) as at:
        await at.post("/jobs", SENT)
        house.fire(SENT["id"], "admit", "start")
        house.step(SENT["id"], 1, total=4)
        job = await poll(at, SENT["id"])
        assert (job["status"], job["current_step"], job["total_steps"], job["progress_percent"]) == (
            "running",
            1,
            4,
            25.0,
        )
        house.step(SENT["id"], 4, total=4)
        house.fire(SENT["id"], "export", "deploy", "complete", version="v1.0.1")
        job = await poll(at, SENT["id"])
        assert (job["status"], job["progress_percent"], job["error_message"]) == ("completed", 100.0, None)
        assert all(isinstance(number, int | float) for number in job["metrics"].values())


@pytest.mark.parametrize(("trigger", "words"), [("fail", "no memory"), ("cancel", "cancelled")])
async def test_a_job_without_a_model_has_failed_and_says_why(house, trigger, words):
    async with served(house) as at:
        await at.post("/jobs", SENT)
        house.fire(SENT["id"], trigger, cause="no memory")
        job = await poll(at, SENT["id"])
    assert (job["status"], job["error_message"]) == ("failed", words)


async def test_a_job_of_somebody_else_can_be_read_too(house):
    house.queue("a1")
    async with served(house) as at:
        assert (await poll(at, "a1"))["type"] == "fine_tuning"


async def test_a_config_that_is_too_long_is_not_kept_and_trains_all_the_same(house):
    async with served(house) as at:
        status, said = await at.post("/jobs", SENT | {"config": {"max_steps": 12, "notes": "x" * 100_000}})
        assert (status, "config" in said) == (200, False)
    assert house.store.job(SENT["id"]).request["hyper"] == {"max_steps": 12.0}
    assert len(str(house.store.job(SENT["id"]).facts)) < 1000
