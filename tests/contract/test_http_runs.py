"""Body's agentic runner, its night shift and Prime's bridge: their own clients' rules, written down here again."""

from __future__ import annotations

from datetime import datetime

import pytest
from support.http_daemon import house_in, served

from reactord.jobs.triggers import JobRequest

STAGES = {"idle", "scouting", "ingesting", "formatting", "distilling", "training", "evaluating", "quantizing",
          "deploying", "completed", "failed"}  # fmt: skip
TRIGGER = {"experience_count": 12, "priority": "high", "sources": ["scout"], "metadata": {"reduced_batch": True},
           "triggered_by": "jarvis_agentic_runner", "mode": "nightshift"}  # fmt: skip


def rcc_job(data):
    """`TrainingJob.from_dict` of the RCC client: what raises here loses the job there (contract/body.md 1.7)."""
    assert isinstance(data["job_id"], str)
    assert isinstance(data["status"], str)
    assert data["stage"] in STAGES
    assert data["priority"] in ("low", "normal", "high", "urgent")
    for name in ("created_at", "started_at", "completed_at"):
        if data[name] is not None:
            assert datetime.fromisoformat(data[name]).tzinfo is None
            assert not data[name].endswith("Z")
    assert isinstance(data["progress"], float)
    assert isinstance(data["experience_count"], int)
    assert data["error"] is None or isinstance(data["error"], str)
    return data


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path) as house:
        yield house


async def test_six_posts_of_one_trigger_are_one_job(house):
    body = TRIGGER | {"trigger_time": "2026-11-21T17:10:00.000001"}
    async with served(house) as at:
        said = [(await at.post(path, body))[1] for path in ("/api/v1/training/trigger", "/api/v1/train") * 3]
    assert len({one["job_id"] for one in said}) == 1
    assert [rcc_job(one)["status"] for one in said] == ["queued"] * 6
    assert said[0]["mode"] == "nightshift"
    assert len(house.store.jobs()) == 1


async def test_a_trigger_waits_for_the_slot_and_a_start_runs_under_bodys(house):
    async with served(house) as at:
        _, triggered = await at.post("/api/v1/training/trigger", TRIGGER)
        _, scheduled = await at.post("/api/training/schedule", {"id": "us-1", "config": {}})
        _, started = await at.post("/api/training/start", {"job_id": "a1"})
    born = {job_id: house.store.job(job_id).request["born_of"] for job_id in
            (triggered["job_id"], scheduled["job_id"], started["job_id"])}  # fmt: skip
    assert list(born.values()) == ["runner", "runner", "http"]


async def test_who_finds_nothing_new_is_told_of_the_job_that_has_it_or_had_it(house):
    async with served(house) as at:
        _, first = await at.post("/api/v1/pipeline/run", {"source": "nightshift_monitor", "experience_count": 500})
        _, second = await at.post("/api/v1/pipeline/run", {"source": "nightshift_monitor", "experience_count": 501})
        assert second["job_id"] == first["job_id"]
        house.fire(first["job_id"], "fail")
        _, third = await at.post("/api/v1/training/trigger", TRIGGER)
        assert (third["job_id"], third["status"]) == (first["job_id"], "failed")
        await at.post("/api/v1/experiences/batch", {"experiences": [{"id": "new"}]})
        _, fourth = await at.post("/api/v1/training/trigger", TRIGGER)
        assert fourth["job_id"] != first["job_id"]


@pytest.mark.parametrize(
    ("triggers", "status", "stage"),
    [
        ((), "queued", "idle"),
        (("admit", "start"), "running", "formatting"),
        (("admit", "start", "export", "deploy"), "running", "deploying"),
        (("admit", "start", "export", "deploy", "complete"), "completed", "completed"),
        (("admit", "start", "export", "reject"), "failed", "failed"),
        (("cancel",), "failed", "failed"),
    ],
)
async def test_a_job_in_each_state_is_one_that_the_client_can_read(house, triggers, status, stage):
    house.queue("a1")
    if triggers:
        house.fire("a1", *triggers)
    async with served(house) as at:
        for path in ("/api/v1/training/job/a1", "/api/v1/training/status/a1"):
            code, said = await at.get(path)
            assert code == 200
            assert (rcc_job(said)["status"], said["stage"]) == (status, stage)
            assert (said["completed_at"] is None) == (status in ("queued", "running"))


async def test_the_history_is_a_bare_list_of_readable_jobs_newest_first(house):
    for n, priority in enumerate((None, "critical", "background", "high", "nonsense")):
        house.clock = lambda n=n: 1e9 + n
        request = JobRequest(job_id=f"j{n}", born_of="http", priority=priority)
        house.submit(request, "a test says so")
    house.fire("j0", "fail")
    async with served(house) as at:
        _, said = await at.get("/api/v1/training/history?limit=4")
        assert [rcc_job(one)["job_id"] for one in said] == ["j4", "j3", "j2", "j1"]
        assert [one["priority"] for one in said] == ["normal", "high", "low", "urgent"]
        _, failed = await at.get("/api/v1/training/history?status=failed")
        assert [one["job_id"] for one in failed] == ["j0"]
        for bad in ("0", "-1", "many", "1e3", "101"):
            assert (await at.get(f"/api/v1/training/history?limit={bad}"))[0] == 400


@pytest.mark.parametrize("path", ["/api/v1/training/history", "/jobs"])
async def test_a_list_tells_a_running_job_as_it_is(house, path):
    house.queue("a1")
    house.fire("a1", "admit", "start")
    house.step("a1", 1)
    async with served(house) as at:
        _, said = await at.get(path)
        _, one = await at.get("/api/v1/training/job/a1" if path != "/jobs" else "/jobs/a1")
    [listed] = said if isinstance(said, list) else said["jobs"]
    assert listed == one
    assert 25.0 in (listed.get("progress"), listed.get("progress_percent"))
    assert listed["metrics"]["loss"] == 0.5


async def test_a_retry_of_a_trigger_is_its_own_job_also_when_another_waits_by_now(house):
    body = TRIGGER | {"trigger_time": "2026-11-21T17:10:00.000001"}
    async with served(house) as at:
        _, first = await at.post("/api/v1/training/trigger", body)
        house.fire(first["job_id"], "admit", "start", "export")
        house.queue("another")
        _, again = await at.post("/api/v1/train", body)
    assert again["job_id"] == first["job_id"]
    assert again["stage"] == "quantizing"


async def test_the_night_shift_reads_what_waits(house):
    async with served(house) as at:
        await at.post("/api/experiences/batch", {"experiences": [{"id": str(n)} for n in range(7)]})
        _, said = await at.get("/api/v1/pipeline/status")
        assert (said["experience_count"], said["training_in_progress"], said["last_training_time"]) == (7, False, None)
        assert (await at.get("/api/v1/experiences/count"))[1]["count"] == 7
        assert (await at.get("/api/v1/status"))[1]["pending_experiences"] == 7
        house.queue("a1")
        assert (await at.get("/api/v1/pipeline/state"))[1]["training_in_progress"] is True


async def test_the_same_event_by_two_doors_counts_once_and_the_emitters_gzip_is_read(house):
    import gzip
    import json

    event = {"event_id": "e1", "event_type": "correction", "user_input": "x" * 2000, "original_response": "a",
             "corrected_response": "b"}  # fmt: skip
    wire = {"experience": event, "source": "jarvis_agent", "timestamp": "2026-11-21T17:10:00+00:00"}
    packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with served(house) as at:
        _, first = await at.post("/api/v1/corrections/stream", data=gzip.compress(json.dumps(wire).encode()),
                                 headers=packed)  # fmt: skip
        _, again = await at.post("/api/v1/experiences/stream", wire)
    assert (first["new"], again["new"]) == (1, 0)
    assert house.pulse().pending_experiences == 1
