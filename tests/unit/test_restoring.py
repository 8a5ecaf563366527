"""An older version comes before Prime again: by a job, under a new version, with the bytes that were judged."""

from __future__ import annotations

import pytest
from support.deployment import CONTENT, FACTS, MODEL_ID, VERSION, Deployment

from reactord.errors import BadRequest
from reactord.jobs import deploying
from reactord.jobs.restoring import restoring
from reactord.ledger.state import Job, Model

NEWER = b"GGUF" + bytes(2000)
AGAIN = f"{MODEL_ID}-v1.3-rollback-1970-01-12"


@pytest.fixture(autouse=True)
def _prime_is_where_the_home_says(monkeypatch):
    for name in ("JPRIME_MODELS_DIR", "JARVIS_PRIME_MODELS_DIR", "JPRIME_REPO_DIR", "REACTOR_CORE_WATCH_DIR",
                 "REACTOR_PIPELINE_EVENTS_DIR"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(deploying, "POLL_S", 0.005)


@pytest.fixture
async def deployment(home):
    """v1.1.0 was deployed by job j, and then v1.2.0 came."""
    made = Deployment(home)
    world = made.world
    done = await made.work()
    world.store.update_job(_in_state(world.job(), "completed"), was="deploying")
    assert done.trigger == "complete"
    for model in world.store.models():
        if model.fate == "deployed":
            world.store.put_model(_with_fate(model, "superseded"))
    stem = f"{MODEL_ID}-v1.2-auto-1970-01-12"
    (made.prime / f"{stem}.gguf").write_bytes(NEWER)
    for file in (made.prime / "current.gguf",):
        file.unlink()
        file.symlink_to(f"{stem}.gguf")
    facts = {"gguf": str(made.prime / f"{stem}.gguf")}
    world.store.put_model(
        Model(version="v1.2.0", model_id=MODEL_ID, job_id="k", created_at=3e6, fate="deployed", facts=facts)
    )
    yield made
    world.store.close()


def _in_state(job, state):
    return Job(**{**{name: getattr(job, name) for name in Job.__slots__}, "state": state})


def _with_fate(model, fate):
    return Model(**{**{name: getattr(model, name) for name in Model.__slots__}, "fate": fate})


async def _restored(deployment, version):
    """Through the real driver; returns the job at its end."""
    world = deployment.world
    request, facts = restoring(world.store, version, "http", world.clock())
    job, new = world.driver.submit(request, "wanted again", facts)
    assert new
    world.start()
    try:
        return await world.until_over(job.id)
    finally:
        await world.stop()


async def test_a_rollback_puts_the_version_before_back_under_a_new_name(deployment):
    job = await _restored(deployment, None)

    assert (job.state, job.facts["restores"], job.facts["version"]) == ("completed", VERSION, "v1.3.0")
    assert deployment.current() == f"{AGAIN}.gguf"
    assert (deployment.prime / f"{AGAIN}.gguf").read_bytes() == CONTENT
    assert deployment.fates() == {
        "v1.0.0": "superseded", VERSION: "superseded", "v1.2.0": "rolled_back", "v1.3.0": "deployed",
    }  # fmt: skip
    assert (deployment.drop / "pending" / f"{AGAIN}.gguf").read_bytes() == CONTENT
    assert deployment.lineage()[-1]["version"] == "v1.3.0"
    kept = deployment.home.models / MODEL_ID / "v1.3.0" / FACTS["chosen"]
    assert kept.read_bytes() == CONTENT
    assert (deployment.kept / FACTS["chosen"]).read_bytes() == CONTENT, "the older version is still kept"


async def test_a_version_that_is_named_supersedes_the_deployed_one(deployment):
    job = await _restored(deployment, VERSION)

    assert job.state == "completed"
    assert deployment.fates()["v1.2.0"] == "superseded"
    assert deployment.fates()["v1.3.0"] == "deployed"
    assert any("v1.3.0" in str(event) for event in deployment.announced())


async def test_asked_again_while_it_is_live_it_is_the_same_job(deployment):
    store, now = deployment.world.store, deployment.world.clock()
    request, facts = restoring(store, VERSION, "http", now)
    job, _ = deployment.world.driver.submit(request, "wanted again", facts)
    assert restoring(store, VERSION, "http", now + 1)[0].job_id == job.id


@pytest.mark.parametrize(
    ("version", "words"),
    [("v9.9.9", "no version"), ("v1.2.0", "deployed already"), ("v0.9.0", "was rejected")],
)
async def test_what_is_not_to_be_served_is_refused_in_words(deployment, version, words):
    store = deployment.world.store
    store.put_model(Model(version="v0.9.0", model_id=MODEL_ID, job_id="j", created_at=0.5, fate="rejected", facts={}))
    with pytest.raises(BadRequest, match=words):
        restoring(store, version, "http", 0.0)
