"""What those who watch us read: resources, Prometheus, counted events, times for training; records that are kept."""

from __future__ import annotations

import threading

import pytest
from support.http_daemon import house_in, served

from reactord.ipc.presence import Presence
from reactord.jobs import neighbours
from reactord.ledger.state import State

GIB = 1024**3


@pytest.fixture
def house(tmp_path):
    with house_in(tmp_path) as house:
        yield house


async def test_the_resources_are_those_of_the_document_and_what_our_workers_hold(house, monkeypatch):
    house.presence = Presence(
        status="ready", phase="ready", port=1, primary_port=1, version="1.2.3", started_at=1.0, memory_usage_gb=2.5,
        memory_percent=1.0, cpu_percent=12.5, active_training_jobs=1, model_output_dir="/x",
    )  # fmt: skip
    async with served(house) as at:
        _, idle = await at.get("/api/resources")
        house.queue("a1")
        house.fire("a1", "admit", "start", peak_bytes=4 * GIB)
        monkeypatch.setattr(neighbours, "rss_bytes", lambda work: 3 * GIB if work.root.name == "a1" else 0)
        _, busy = await at.get("/api/resources")
    assert (busy["memory_usage_gb"], busy["cpu_percent"], busy["active_training_jobs"]) == (2.5, 12.5, 1)
    assert busy["memory_total_gb"] == busy["total_memory_gb"] > 0
    assert (idle["training_memory_gb"], busy["training_memory_gb"]) == (0.0, 3.0)
    assert "gpu_memory_gb" not in busy, "nobody measures it"


async def test_before_the_first_beat_nothing_is_said_that_was_not_measured(house):
    async with served(house) as at:
        status, said = await at.get("/api/resources")
    assert status == 200
    assert (said["memory_usage_gb"], said["cpu_percent"], said["active_training_jobs"]) == (None, None, None)


async def test_prometheus_reads_what_there_is(house):
    from prometheus_client.parser import text_string_to_metric_families

    async with served(house) as at:
        await at.post("/api/v1/experiences/batch", {"experiences": [{"id": "1"}, {"id": "2"}, {"id": "1"}]})
        house.queue("a1")
        house.troubles = ("the disk is full",)
        async with at.session.get(at.base + "/metrics") as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            families = {family.name: family for family in text_string_to_metric_families(await answer.text())}
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert found["reactord_ready",] == 1
    assert found["reactord_troubles",] == 1
    assert (found["reactord_received_total",], found["reactord_duplicates_total",]) == (3, 1)
    fates = {fate: found["reactord_records", fate] for fate in ("pending", "train", "holdout", "rejected")}
    assert fates == {"pending": 2, "train": 0, "holdout": 0, "rejected": 0}
    assert found["reactord_jobs", "queued"] == 1
    assert found["reactord_memory_bytes", "total"] > found["reactord_memory_bytes", "available"] > 0
    assert all(family.documentation for family in families.values())


async def test_our_events_are_counted_between_two_times_and_hold_up_nobody(house, monkeypatch):
    """The journal of events grows for years, and has no index of times."""
    threads, count = set(), State.topics
    monkeypatch.setattr(State, "topics", lambda *about: threads.add(threading.current_thread()) or count(*about))
    house.clock = lambda: 2000.0
    for at_s, topic in ((500.0, "note.a"), (1500.0, "note.a"), (1600.0, "note.b")):
        with house.store.transaction():
            house.store.note(topic, "s", at_s)
    async with served(house) as at:
        path = "/api/v1/telemetry/metrics"
        assert (await at.get(path))[1]["events"] == {"note.a": 2, "note.b": 1}
        _, said = await at.get(f"{path}?start_time=1000&end_time=1550.5")
        assert said == {"start_time": 1000.0, "end_time": 1550.5, "events": {"note.a": 1}}
        for wrong in ("start_time=yesterday", "end_time=-1", "start_time=nan", "end_time=1e999"):
            assert (await at.get(f"{path}?{wrong}"))[0] == 400
    assert threads
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("path", ["/api/v1/scheduler/schedule", "/scheduler/schedule"])
async def test_a_time_for_training_is_asked_for_changed_and_ended(house, path):
    body = {"name": "nightly_dpo_training", "schedule_type": "cron", "cron_expression": "0 2 * * *",
            "job_config": {"training_type": "dpo", "model_name": "llama-2-7b"}}  # fmt: skip
    async with served(house) as at:
        for change, left in (
            ({}, ["0 2 * * *"]), ({"cron_expression": "30 3 * * *"}, ["30 3 * * *"]), ({"enabled": False}, []),
            ({"enabled": False}, []),
        ):  # fmt: skip
            status, said = await at.post(path, body | change)
            assert status == 200
            assert said == (await at.get("/api/v1/scheduler/jobs"))[1]
            assert [job["cron_expression"] for job in said["jobs"] if job["name"] == body["name"]] == left
            assert (said["next_run"] is not None) == bool(left)
        for wrong in ("", "0 2 * *", "0 2 * * *; 0 3 * * *", "soon"):
            assert (await at.post(path, body | {"cron_expression": wrong}))[0] == 400


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("/api/v1/scout/topics", {"topic": "llama.cpp", "category": "docs", "priority": "high", "urls": [],
                                  "added_by": "jarvis_agent", "metadata": {}}, {"added": True}),
        ("/api/voice/sync_features", {"speaker": "d", "features": [0.5]}, {"accepted": True, "new": 1}),
        ("/v1/telemetry/events", {"event_type": "CUSTOM", "source": "ouroboros.providers", "data": {"a": 1},
                                  "labels": {"b": "c"}}, {"accepted": True, "new": 1}),
        ("/api/trinity/receive", {"kind": "note"}, {"accepted": True, "new": 1}),
        ("/api/v1/telemetry/submit", {"event_type": "interaction", "data": {"a": 1}}, {"accepted": True, "new": 1}),
    ],
)  # fmt: skip
async def test_what_is_only_kept_is_one_record_however_often_it_is_sent(house, path, body, answer):
    async with served(house) as at:
        assert (await at.post(path, body)) == (200, answer)
        status, again = await at.post(path, body)
        assert (status, again.get("new", 0)) == (200, 0)
        assert (await at.get("/api/v1/experiences/count"))[1]["count"] == 1


@pytest.mark.parametrize("body", [{}, {"corrections": None}, {"experience": None}, {"something": "else"}])
async def test_corrections_that_are_none_are_refused_and_leave_no_record(house, body):
    async with served(house) as at:
        status, said = await at.post("/api/v1/corrections/stream", body)
    assert status == 400
    assert "corrections" in said["hint"]
    assert house.offered == []


async def test_a_single_event_in_its_envelope_and_an_empty_list_are_corrections(house):
    async with served(house) as at:
        assert (await at.post("/api/v1/corrections/stream", {"corrections": []})) == (200, {"accepted": 0, "new": 0})
        one = {"experience": {"event_id": "e1", "event_type": "correction"}, "source": "jarvis_agent", "timestamp": "x"}
        assert (await at.post("/api/v1/corrections/stream", one)) == (200, {"accepted": 1, "new": 1})


async def test_the_paths_of_the_readme_without_their_version_are_there(house):
    body = {"model_name": "llama-2-7b", "training_type": "dpo", "config": {"num_epochs": 3, "batch_size": 4}}
    async with served(house) as at:
        status, said = await at.post("/training/trigger", body)
        assert (status, said["status"]) == (200, "queued")
        async with at.session.get(at.base + "/redoc") as page, at.session.get(at.base + "/docs") as same:
            assert page.status == 200
            assert await page.text() == await same.text()
    assert house.store.job(said["job_id"]).request["recipe"] == "dpo"
