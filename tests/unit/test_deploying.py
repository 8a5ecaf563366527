"""A judged model comes before Prime once, whatever dies when; and it is taken back when Prime refuses it."""

from __future__ import annotations

import asyncio
import json

import pytest
from support.deployment import BEFORE, CONTENT, FACTS, SHA256, STEM, VERSION, Deployment
from support.disks import WatchedDisk

from reactord import durable
from reactord.home import Home
from reactord.jobs import deploying, exporting


class Died(Exception):
    """The daemon ends here."""


@pytest.fixture(autouse=True)
def _prime_is_where_the_home_says(monkeypatch):
    for name in ("JPRIME_MODELS_DIR", "JARVIS_PRIME_MODELS_DIR", "JPRIME_REPO_DIR", "REACTOR_CORE_WATCH_DIR",
                 "REACTOR_PIPELINE_EVENTS_DIR"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(deploying, "POLL_S", 0.005)


@pytest.fixture
def deployment(home):
    made = Deployment(home)
    yield made
    made.world.store.close()


# -- what a deployment leaves ------------------------------------------------------------------------------------------


async def test_the_version_is_kept_with_its_evidence_and_the_jobs_gigabytes_go(deployment):
    what = await deployment.work()

    assert what.trigger == "complete"
    assert {path.name for path in deployment.kept.iterdir()} == {
        "Q8_0.gguf", "adapter.gguf", "judgement.json", "manifest.json",
    }  # fmt: skip
    assert (deployment.kept / "Q8_0.gguf").read_bytes() == CONTENT
    manifest = json.loads((deployment.kept / "manifest.json").read_bytes())
    assert (manifest["job_id"], manifest["sha256"], manifest["candidate"]) == ("j", SHA256, FACTS["candidate"])
    assert not deployment.work_dir.artifacts.exists()
    assert deployment.work_dir.judgement_path.exists()


async def test_prime_finds_the_file_and_current_points_to_it(deployment):
    what = await deployment.work()

    assert (deployment.prime / f"{STEM}.gguf").read_bytes() == CONTENT
    assert deployment.current() == f"{STEM}.gguf"
    assert what.facts["deployment"]["gguf"] == str(deployment.prime / f"{STEM}.gguf")
    assert what.facts["deployment"]["status"] == "awaiting_prime"


async def test_the_manifest_is_in_pending_before_the_model(deployment, monkeypatch):
    appeared = []

    class Noting(WatchedDisk):
        def _real(self, name, real, arguments):
            if name == "rename" and arguments[1].parent.name == "pending":
                appeared.append(arguments[1].name)
            return real(*arguments)

    monkeypatch.setattr(durable, "disk", Noting())
    await deployment.work()

    assert appeared == [f"{STEM}.json", f"{STEM}.gguf"]
    manifest = json.loads((deployment.drop / "pending" / f"{STEM}.json").read_bytes())
    assert manifest["sha256"] == SHA256
    assert manifest["metrics"] == {"loss": 0.5, "accuracy": 0.9}


async def test_it_is_the_deployed_one_and_the_one_before_is_superseded(deployment):
    await deployment.work()

    assert deployment.fates() == {VERSION: "deployed", "v1.0.0": "superseded"}
    row = deployment.world.store.deployed()
    assert row.facts["gguf"] == str(deployment.prime / f"{STEM}.gguf")


async def test_one_lineage_line_tells_its_descent(deployment):
    await deployment.work()

    (line,) = deployment.lineage()

    assert (line["gate_decision"], line["probation_result"]) == ("APPROVED", None)
    assert line["deployed_at"] == "1970-01-12T13:46:40+00:00"
    assert (line["dataset"]["hash"], line["model_hash"]) == ("sha256:d1", SHA256)
    assert line["dataset"]["date_range"][1] == "2026-11-21T00:00:00+00:00"
    assert line["dataset"]["source_distribution"] == {"telemetry": 2}
    assert line["parent_model"] == str(deployment.prime / BEFORE)


async def test_everybody_is_told_once_that_the_model_is_ready(deployment):
    await deployment.work()

    (event,) = deployment.announced()
    (line,) = deployment.on_the_bus()

    placed = str(deployment.prime / f"{STEM}.gguf")
    assert (event["version"], event["payload"]["model_path"]) == (VERSION, placed)
    assert (line["topic"], line["payload"]["model_path"]) == ("model.ready", placed)


async def test_artifacts_stay_where_the_settings_say_so(home):
    made = Deployment(home)
    object.__setattr__(made.services, "settings", made.world.settings.model_copy(update={"keep_job_artifacts": True}))
    await made.work()

    assert (made.work_dir.artifacts / "f16.gguf").exists()
    made.world.store.close()


# -- done again --------------------------------------------------------------------------------------------------------


async def test_a_deployment_done_twice_leaves_the_same_and_keeps_its_time(deployment):
    first = await deployment.work()
    left = deployment.left()
    deployment.world.clock.now += 3600

    second = await deployment.work()

    assert deployment.left() == left
    assert second.facts == first.facts
    assert deployment.world.store.deployed().facts["deployed_at"] == 1_000_000.0


async def test_a_crash_before_any_step_on_the_disk_and_a_second_run_leave_what_one_run_leaves(fast_dir, monkeypatch):
    home = Home(fast_dir / "jarvis")  # one path for all, since the manifests name it

    async def run(die_at: int) -> tuple[dict, int]:
        durable.remove_tree(home.root)
        home.create()
        made = Deployment(home)

        def die(n: int, call: str) -> None:
            if n == die_at:
                raise Died

        disk = WatchedDisk(before=die)
        monkeypatch.setattr(durable, "disk", disk)
        if die_at:
            with pytest.raises(Died):
                await made.work()
        what = await made.work()
        assert what.trigger == "complete", what.cause
        left = made.left()
        made.world.store.close()
        return left, disk.calls

    expected, steps = await run(0)

    assert steps > 30
    for step in range(1, steps + 1):
        assert (await run(step))[0] == expected, step


# -- refused -----------------------------------------------------------------------------------------------------------


async def refused_by_prime(deployment):
    """Prime's watcher takes the drop and moves the model to failed/; the manifest it forgets."""
    deployment.prime_is_heard()
    work = asyncio.create_task(deployment.work())
    pending = deployment.drop / "pending" / f"{STEM}.gguf"
    async with asyncio.timeout(10):
        while deployment.current() == BEFORE:
            await asyncio.sleep(0.002)
    pending.rename(deployment.drop / "failed" / pending.name)
    return await work


async def test_what_prime_refuses_is_rolled_back_and_the_model_before_is_current_again(deployment):
    what = await refused_by_prime(deployment)

    assert what.trigger == "roll_back"
    assert "Prime refused" in what.cause
    assert deployment.current() == BEFORE
    assert deployment.fates() == {VERSION: "rolled_back", "v1.0.0": "deployed"}
    assert sorted(path.name for path in (deployment.drop / "failed").iterdir()) == [f"{STEM}.gguf", f"{STEM}.json"]


async def test_a_refused_model_is_kept_and_never_announced(deployment):
    await refused_by_prime(deployment)

    assert (deployment.kept / "Q8_0.gguf").read_bytes() == CONTENT
    assert not deployment.announced()
    assert not deployment.work_dir.artifacts.exists()
    (line,) = deployment.lineage()
    assert (line["gate_decision"], line["probation_result"]) == ("APPROVED", "ROLLED_BACK")
    assert line["deployed_at"] is None


async def test_a_roll_back_done_again_goes_back_to_the_same_model(deployment):
    await refused_by_prime(deployment)

    again = await deployment.work()

    assert again.trigger == "roll_back"
    assert deployment.current() == BEFORE
    assert deployment.fates() == {VERSION: "rolled_back", "v1.0.0": "deployed"}
    assert len(deployment.lineage()) == 1
    assert [event.topic for event in deployment.world.store.history(VERSION)] == ["model.rolled_back"]


async def test_a_prime_that_watches_nothing_is_waited_for_only_so_long(home):
    made = Deployment(home)
    object.__setattr__(made.services, "settings", made.world.settings.model_copy(update={"deploy_wait_s": 0.02}))
    made.prime_is_heard()

    async with asyncio.timeout(10):
        what = await made.work()

    assert (what.trigger, what.facts["deployment"]["status"]) == ("complete", "awaiting_prime")
    made.world.store.close()


async def test_a_model_id_that_would_mislead_prime_fails_with_what_to_change(home):
    made = Deployment(home, model_id="jarvis-llama-3")

    what = await made.work()

    assert (what.trigger, what.facts) == ("fail", {"error": "BadRequest"})
    assert "must make Prime choose the chatml template" in what.cause
    assert "choose a model_id that contains" in what.cause
    assert made.current() == BEFORE
    assert [path.name for path in made.prime.glob("*.gguf") if not path.is_symlink()] == [BEFORE]
    made.world.store.close()


# -- rejected by the judge ---------------------------------------------------------------------------------------------


async def test_a_rejected_candidate_leaves_a_row_and_a_line_and_no_artifacts(home):
    made = Deployment(home, "exporting")
    made.work_dir.write_outcome("export", {"ok": True, "files": []})
    verdict = {"verdict": "worse", "reasons": ["it is longer"], "chosen": "Q8_0.gguf", "sha256": SHA256}
    made.work_dir.write_outcome("judge", {"ok": True, **verdict})

    for _ in range(2):  # the second is the start after a crash
        what = await exporting.work(made.services, made.world.job())

    assert (what.trigger, what.cause) == ("reject", "the candidate is not better: it is longer")
    assert made.fates() == {VERSION: "rejected", "v1.0.0": "deployed"}
    (line,) = made.lineage()
    assert (line["gate_decision"], line["deployed_at"]) == ("REJECTED", None)
    assert not made.work_dir.artifacts.exists()
    assert [event.topic for event in made.world.store.history(VERSION)] == ["model.rejected"]
    made.world.store.close()
