"""Versions over HTTP: listed, put before Prime again, gone back from (the texts in seeds/, and Body's API document)."""

from __future__ import annotations

import sqlite3

import pytest
from support.http_daemon import house_in, served

from reactord.ledger.state import Model

DEPLOY, ROLLBACK, REGISTER = "/api/models/deploy", "/api/models/rollback", "/api/v1/models/register"


@pytest.fixture
def house(tmp_path):
    """v1.0.0 to v1.0.2 stood before Prime, v1.0.3 does, v1.0.4 was judged worse."""
    with house_in(tmp_path) as house:
        facts = {"candidate": {"loss": 0.5, "gguf": "/x"}}
        for n, fate in enumerate(("superseded", "superseded", "superseded", "deployed", "rejected")):
            job = house.queue(f"j{n}")
            house.fire(job.id, "fail")
            with house.store.transaction():
                house.store.put_model(
                    Model(version=f"v1.0.{n}", model_id="jarvis-x", job_id=job.id, created_at=1e9 + n, fate=fate,
                          facts=facts)
                )  # fmt: skip
        yield house


async def test_every_version_is_listed_newest_first_and_each_can_be_asked_for(house):
    async with served(house) as at:
        _, said = await at.get("/api/v1/models")
        assert [model["version"] for model in said["models"]] == [f"v1.0.{n}" for n in (4, 3, 2, 1, 0)]
        assert said["deployed"] == "v1.0.3"
        _, one = await at.get("/api/v1/models/v1.0.1")
        assert (one["version"], one["fate"], one["metrics"]) == ("v1.0.1", "superseded", {"loss": 0.5})
        assert (await at.get("/api/v1/models/jarvis-x"))[1]["version"] == "v1.0.4"
        assert (await at.get("/api/v1/models/v9.9.9"))[0] == 404


async def test_a_kept_version_comes_back_by_a_job_of_its_own_and_asking_again_is_the_same_job(house):
    body = {"model_version": "v1.0.1", "model_type": "nlu", "strategy": "gradual_rollout",
            "config": {"initial_percentage": 10, "rollout_steps": [10, 100], "auto_rollback": True}}  # fmt: skip
    async with served(house) as at:
        status, said = await at.post(DEPLOY, body)
        assert (status, said["model_version"], said["state"]) == (200, "v1.0.1", "queued")
        assert (await at.post(DEPLOY, body))[1]["job_id"] == said["job_id"]
    assert house.store.job(said["job_id"]).facts["restores"] == "v1.0.1"


@pytest.mark.parametrize(
    ("body", "version"),
    [
        (None, "v1.0.2"), ({}, "v1.0.2"), ({"model_type": "nlu"}, "v1.0.2"), ({"model_version": "v1.0.0"}, "v1.0.0"),
        ({"version": "v1.0.0"}, "v1.0.0"), ({"model_type": "nlu", "previous_version": "v1.0.1"}, "v1.0.1"),
    ],
)  # fmt: skip
async def test_a_rollback_goes_to_the_version_that_is_named_or_to_the_one_before(house, body, version):
    async with served(house) as at:
        status, said = await at.post(ROLLBACK, body)
    assert (status, said["model_version"]) == (200, version)


@pytest.mark.parametrize("version", ["v1.0.3", "v1.0.4", "v9.9.9", "../x"])
@pytest.mark.parametrize("path", [DEPLOY, ROLLBACK])
async def test_what_is_not_to_be_served_is_refused_in_words(house, path, version):
    async with served(house) as at:
        status, said = await at.post(path, {"model_version": version})
    assert status == 400
    assert said["hint"]
    assert not house.store.live_jobs()


async def test_only_our_own_models_are_known(house):
    async with served(house) as at:
        body = {"model_id": "jarvis-x", "model_path": "/path/to/model", "metadata": {"a": 1}}
        assert (await at.post(REGISTER, body))[1]["version"] == "v1.0.4"
        status, said = await at.post(REGISTER, body | {"model_id": "my-model-v1"})
    assert status == 409
    assert said["hint"].startswith("send experiences")


# -- what cannot be written down ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble", [sqlite3.OperationalError("database or disk is full"), OSError(28, "No space left")]
)
@pytest.mark.parametrize(
    ("method", "asked"),
    [
        ("cancel", ("/api/training/cancel/a1", None)),
        ("cancel", ("/api/v1/training/cancel/a1", None)),
        ("restore", (DEPLOY, {"model_version": "v1.0.1"})),
        ("restore", (ROLLBACK, {})),
        ("ask_for", ("/api/v1/scheduler/schedule", {"name": "nightly", "cron_expression": "0 2 * * *"})),
        ("submit", ("/jobs", {"id": "p1"})),
    ],
)
async def test_a_disk_that_is_full_is_a_503_that_says_so_and_no_bug(house, monkeypatch, method, asked, trouble):
    def full(*_):
        raise trouble

    house.queue("a1")
    house.fire("a1", "admit", "start", "export")
    async with served(house) as at:
        monkeypatch.setattr(house, method, full)
        status, said = await at.post(*asked)
        assert status == 503, said
        assert str(trouble.args[-1]) in said["error"]
        assert said["hint"].startswith("make room")
