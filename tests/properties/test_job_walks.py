from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from reactord.jobs.machine import IllegalTransition, JobMachine
from reactord.jobs.states import LIVE, TERMINAL, TRANSITIONS, State
from reactord.jobs.triggers import JobRequest, submit
from reactord.ledger.state import Store

TRIGGERS = sorted({edge["trigger"] for edge in TRANSITIONS})
SHM = Path("/dev/shm")
EDGES = {
    (source, edge["trigger"]): edge["dest"]
    for edge in TRANSITIONS
    for source in ([edge["source"]] if isinstance(edge["source"], str) else edge["source"])
}


class Walk(RuleBasedStateMachine):
    """Any triggers in any order on a few jobs, with restarts and stale runs, against a dictionary."""

    @initialize()
    def begin(self):
        self.directory = tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None)
        self.model: dict[str, str] = {}
        self.fences: dict[str, int] = {}
        self.told: list[tuple[str, str]] = []
        self.now = 1.0
        self._open()

    def _open(self):
        self.store = Store(Path(self.directory.name) / "state.db")
        self.machine = JobMachine(self.store)

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()
            self.directory.cleanup()

    @rule(name=st.sampled_from("abc"))
    def ask(self, name):
        _, new = submit(self.store, JobRequest(job_id=name, born_of="cli"), self.now, "asked")
        assert new == (name not in self.model)
        if new:
            self.model[name], self.fences[name] = "queued", 0
            self.told.append((name, "job.queued"))

    @rule(name=st.sampled_from("abc"), trigger=st.sampled_from(TRIGGERS), newer=st.sampled_from([None, 0, 1, -1]))
    def fire(self, name, trigger, newer):
        self.now += 1
        fence = None if newer is None else self.fences.get(name, 0) + newer
        dest = EDGES.get((self.model.get(name), trigger))
        if dest is None or newer == -1:
            with pytest.raises(IllegalTransition):
                self.machine.fire(name, trigger, self.now, cause="walk", fence=fence)
            return
        self.machine.fire(name, trigger, self.now, cause="walk", fence=fence)
        self.model[name] = dest
        self.fences[name] = self.fences[name] if fence is None else fence
        self.told.append((name, f"job.{dest}"))

    @rule()
    def restart(self):
        self.store.close()
        self._open()

    @invariant()
    def the_store_is_the_model_and_its_journal_tells_every_step_once(self):
        if not hasattr(self, "store"):
            return
        assert {job.id: job.state for job in self.store.jobs()} == self.model
        assert {job.id: job.fence for job in self.store.jobs()} == self.fences
        assert [(event.subject, event.topic) for event in self.store.events()] == self.told
        assert {job.id for job in self.store.live_jobs()} == {n for n, s in self.model.items() if s in LIVE}
        assert all(State(state) in LIVE or state in TERMINAL for state in self.model.values())


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
