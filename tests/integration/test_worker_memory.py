"""A real trainer that was granted too little: who ends it, and is the machine any the wiser?"""

from __future__ import annotations

import pytest
from support import tiny
from test_worker_stages import MANY, filled

from reactord.home import Home
from reactord.jobs import cgroup, keeping
from reactord.jobs.attempts import Cause
from reactord.jobs.hanging import Limits
from reactord.jobs.keeping import Allowance, Keeper
from reactord.jobs.worker_process import WorkerLost, start
from reactord.workdir import WorkDir

pytestmark = pytest.mark.timeout(300)
MIB = 1024**2
GIB = 1024**3
LIMITS = Limits(deadline_s=240.0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> WorkDir:
    """A tiny job that is ready to train."""
    home: Home = filled(tmp_path_factory.mktemp("home"))
    work = tiny.job(home, "memory", tiny.tiny_model(tmp_path_factory.mktemp("model") / "tiny"), upto=MANY)
    assert tiny.run(work, "prepare") == 0, work.worker_log.read_text()[-3000:]
    return work


@pytest.mark.parametrize("by", ["its control group", "the watcher"])
async def test_a_trainer_that_outgrows_its_grant_is_ended_and_the_cause_is_memory(prepared, by, monkeypatch):
    if by == "the watcher":
        monkeypatch.setattr(cgroup, "_places", lambda: iter(()))
        monkeypatch.setattr(keeping, "LOOK_EVERY_S", 0.05)
    keeper = Keeper(prepared, Allowance(200 * MIB, 40 * MIB), 40 * MIB, spare=lambda held: 8 * GIB)
    if by == "its control group" and keeper.group is None:
        pytest.skip("no control group with a memory limit can be made here (that takes root, or a delegated one)")
    worker = await start(prepared, "train")
    keeper.admit(worker.pid)

    with pytest.raises(WorkerLost) as lost:
        await worker.finished(LIMITS, keeper)

    assert lost.value.reason == Cause.OUT_OF_MEMORY, lost.value
    assert 200 * MIB <= keeper.wanted_bytes() < 700 * MIB
    keeper.close()
    assert prepared.outcome("train") is None


async def test_one_that_was_granted_what_it_needs_learns_within_it_under_every_limit(prepared):
    keeper = Keeper(prepared, Allowance(700 * MIB, 100 * MIB), 100 * MIB, spare=lambda held: 8 * GIB)
    worker = await start(prepared, "train")
    keeper.admit(worker.pid)

    outcome = await worker.finished(LIMITS, keeper)

    keeper.close()
    assert outcome["ok"]
    assert 0.5 * outcome["peak_rss_mb"] < keeper.most_bytes / MIB <= 1.1 * outcome["peak_rss_mb"]
