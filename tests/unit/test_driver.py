"""The driver with stand-ins for the work of its states."""

from __future__ import annotations

import asyncio
import errno
import json
import sqlite3
from concurrent.futures import Future
from dataclasses import replace

import pytest
from support.job_world import World, make_base, make_dataset

from reactord.errors import EnvironmentTrouble
from reactord.jobs import admitting, exporting, preflight, tidying, training
from reactord.jobs import driver as module
from reactord.jobs.stages import ENVIRONMENT_PATIENCE_S, Next
from reactord.jobs.states import State
from reactord.jobspec import JobSpec
from reactord.ledger.state import Model
from reactord.workdir import WorkDir

LIFE = ["queued", "reserving", "training", "exporting", "deploying", "completed"]
WORKING = [State.RESERVING, State.TRAINING, State.EXPORTING, State.DEPLOYING]
GOES_ON = {"reserving": "start", "training": "export", "exporting": "deploy", "deploying": "complete"}


class Work:
    """Does every state's work at once, unless told otherwise: `plan[state]` is called first."""

    def __init__(self):
        self.plan, self.calls, self.interrupted = {}, [], []

    async def __call__(self, services, job):
        self.calls.append(job.state)
        try:
            if job.state in self.plan and (said := await self.plan[job.state](services, job)):
                return said
        except asyncio.CancelledError:
            self.interrupted.append(job.state)
            raise
        return Next(
            GOES_ON[job.state], "done", {"fence": len(self.calls), "upto": 7} if job.state == "reserving" else {}
        )

    def does(self, state, result=None, error=None, times=10**6):
        """Return or raise something, the first so many times."""
        left = [times]

        async def act(services, job):
            if left[0] <= 0:
                return None
            left[0] -= 1
            if error:
                raise error
            return result

        self.plan[state] = act

    def waits(self, state, event=None):
        async def act(services, job):
            await (event or asyncio.Event()).wait()

        self.plan[state] = act


@pytest.fixture
def work(monkeypatch):
    made = Work()
    monkeypatch.setattr(module, "WORK", dict.fromkeys(WORKING, made))
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(module, "TROUBLE_S", 0.01)
    return made


@pytest.fixture
async def world(home, work):
    made = World(home)
    yield made
    await made.stop()
    made.store.close()


# -- a life ------------------------------------------------------------------------------------------------------------
async def test_a_job_goes_through_its_states_and_everybody_is_told(world, work):
    world.start()
    world.ask()

    job = await world.until_over()

    assert (job.state, job.fence) == ("completed", 1)
    assert world.states() == world.told == LIFE
    assert work.calls == LIFE[1:-1]
    assert world.driver.running is None
    assert not world.slot.held


async def test_jobs_run_one_at_a_time_in_the_order_of_the_queue(world, work):
    running = set()

    async def alone(services, job):
        running.add(job.id)
        assert running == {job.id}
        await asyncio.sleep(0.005)
        running.discard(job.id)

    work.plan = dict.fromkeys(WORKING, alone)
    for identity, priority in (("low", "low"), ("high", "high"), ("normal", "normal")):
        world.ask(identity, priority=priority)
    world.start()
    for identity in ("low", "high", "normal"):
        assert (await world.until_over(identity)).state == "completed"

    ended = [event.subject for event in world.store.events() if event.topic == "job.completed"]
    assert ended == ["high", "normal", "low"]


# -- several at once ---------------------------------------------------------------------------------------------------
@pytest.fixture
async def wide(home, work):
    """A daemon that may run two jobs at once."""
    made = World(home, max_concurrent_training_jobs=2)
    yield made
    await made.stop()
    made.store.close()


async def _taken(services, job):
    await services.slot.take(1, delegated=False)
    services.machine.learn(job, services.clock(), dataset=f"of {job.id}")


async def test_two_jobs_train_beside_each_other_but_choose_and_deploy_one_after_the_other(wide, work):
    seen, at_work, release = [], set(), asyncio.Event()

    async def watched(services, job):
        at_work.add((job.id, str(job.state)))
        seen.append(frozenset(at_work))
        if job.state == State.TRAINING:
            await _taken(services, job)
            await release.wait()
        await asyncio.sleep(0.02)
        at_work.discard((job.id, str(job.state)))

    work.plan = dict.fromkeys(WORKING, watched)
    for identity in "abc":
        wide.ask(identity)
    wide.start()
    await wide.until(lambda: {("a", "training"), ("b", "training")} <= at_work)
    assert wide.job("c").state == "queued"
    release.set()
    for identity in "abc":
        assert (await wide.until_over(identity)).state == "completed"

    assert max(len(moment) for moment in seen) == 2
    for moment in seen:
        assert len([state for _, state in moment if state in ("exporting", "deploying")]) <= 1
        assert len([state for _, state in moment if state == "reserving"]) <= 1
    assert not wide.slot.held


async def test_a_second_job_waits_until_the_first_has_taken_its_dataset(wide, work):
    release = asyncio.Event()

    async def choose(services, job):
        if job.state == State.TRAINING and job.id == "a":
            await release.wait()
            await _taken(services, job)
            await asyncio.Event().wait()

    work.plan[State.TRAINING] = choose
    wide.ask("a")
    wide.ask("b")
    wide.start()
    await wide.until_state("training", identity="a")
    await asyncio.sleep(0.05)
    assert wide.job("b").state == "queued"

    release.set()

    assert (await wide.until_over("b")).state == "completed"
    assert wide.slot.held  # the other one is still at it


async def test_stopping_ends_all_jobs_at_the_same_time(wide, work):
    async def leaves_slowly(services, job):
        await _taken(services, job)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.3)  # SIGTERM, checkpoint
            raise

    work.plan[State.TRAINING] = leaves_slowly
    wide.ask("a")
    wide.ask("b")
    wide.start()
    await wide.until_state("training", identity="b")
    await wide.until(lambda: work.calls.count("training") == 2)
    began = asyncio.get_running_loop().time()

    await wide.stop()

    assert asyncio.get_running_loop().time() - began < 0.55
    assert [wide.job(identity).state for identity in "ab"] == ["queued", "queued"]


async def test_cancelling_one_of_two_leaves_the_other_alone(wide, work):
    async def wait(services, job):
        await _taken(services, job)
        await asyncio.Event().wait()

    work.plan[State.TRAINING] = wait
    wide.ask("a")
    wide.ask("b")
    wide.start()
    await wide.until(lambda: work.calls.count("training") == 2)

    wide.driver.cancel("a")

    await wide.until_over("a")
    assert (wide.job("b").state, wide.driver.running) == ("training", "b")
    assert wide.slot.held


async def test_a_job_that_waits_to_be_judged_can_be_cancelled_while_another_is(wide, work):
    release = asyncio.Event()

    async def go(services, job):
        if job.state == State.TRAINING:
            await _taken(services, job)
        if job.state == State.EXPORTING:
            await release.wait()

    work.plan = dict.fromkeys(WORKING, go)
    wide.ask("a")
    wide.ask("b")
    wide.start()
    await wide.until_state("exporting", identity="b")
    await asyncio.sleep(0.02)
    assert work.calls.count("exporting") == 1

    wide.driver.cancel("b")

    assert (await wide.until_over("b")).state == "cancelled"
    release.set()
    assert (await wide.until_over("a")).state == "completed"


# -- deadlines ---------------------------------------------------------------------------------------------------------
async def test_a_job_that_waited_too_long_in_the_queue_ends_and_says_for_what(world, work):
    work.does(State.RESERVING, Next("requeue", "no memory beside Prime", {"not_before": world.clock.now + 10}))
    world.start()
    world.ask()
    await world.until(lambda: world.states().count("queued") == 2)

    world.clock.now += world.settings.queue_deadline_s + 1

    job = await world.until_over()
    assert (job.state, job.facts["end_reason"]) == ("failed", "deadline")
    assert "no memory beside Prime" in job.cause
    assert "7.0 days" in job.cause


async def test_a_state_that_takes_too_long_is_shown_and_done_again(home, work):
    world = World(home, deploy_deadline_s=0.1)
    work.waits(State.DEPLOYING)
    world.start()
    world.ask()

    await world.until(lambda: world.driver.trouble)
    assert "deploying took longer than 0 s" in world.driver.trouble
    work.plan.clear()

    assert (await world.until_over()).state == "completed"
    assert work.calls.count("deploying") >= 2
    await world.stop()
    world.store.close()


# -- the disk ----------------------------------------------------------------------------------------------------------
async def test_a_job_that_would_fill_the_disk_is_not_even_begun_until_there_is_room(world, work, monkeypatch):
    free = [10]
    usage = type("Usage", (), {"free": property(lambda _: free[0])})()
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: usage)
    world.start()
    world.ask()
    await world.until(lambda: world.job().facts.get("end_reason") == "disk_full")
    job = world.job()
    assert (job.state, work.calls) == ("queued", [])
    assert "make room, the job goes on by itself" in job.cause
    free[0] = 10**15

    world.clock.now += admitting.ROOM_EVERY_S

    assert (await world.until_over()).state == "completed"


@pytest.mark.parametrize(
    ("state", "said"), [("training", Next("fail", "no")), ("training", Next("skip", "no")), ("exporting", None)]
)
async def test_the_scratch_of_a_job_is_freed_when_it_is_over(world, work, home, state, said):
    for name in tidying.SCRATCH:
        (home.jobs / "j" / name).mkdir(parents=True)
        (home.jobs / "j" / name / "large").write_bytes(b"x" * 1000)
    (home.jobs / "j" / "worker.log").write_text("why")
    work.does(state, said) if said else work.waits(state)
    world.start()
    world.ask()
    if said is None:
        await world.until_state("exporting")
        world.driver.cancel("j")
    await world.until_over()

    await world.until(lambda: not any((home.jobs / "j" / name).exists() for name in tidying.SCRATCH))
    assert (home.jobs / "j" / "worker.log").read_text() == "why"


@pytest.mark.parametrize(
    ("state", "trigger", "end"),
    [("exporting", "reject", "rejected"), ("deploying", "roll_back", "rolled_back"), ("training", "fail", "failed")],
)
async def test_a_job_can_end_otherwise(world, work, state, trigger, end):
    work.does(state, Next(trigger, "for a reason"))
    world.start()
    world.ask()

    job = await world.until_over()

    assert (job.state, job.cause) == (end, "for a reason")
    assert not world.slot.held


async def test_a_job_that_found_no_memory_waits_in_the_queue_and_lets_others_pass(world, work):
    work.does(State.RESERVING, Next("requeue", "no memory", {"not_before": world.clock.now + 10}), times=1)
    world.start()
    world.ask("first", priority="high")
    world.ask("second")
    await world.until_over("second")
    assert world.job("first").state == "queued"

    world.clock.now += 10

    assert (await world.until_over("first")).state == "completed"


# -- birth -------------------------------------------------------------------------------------------------------------
async def test_a_job_is_born_of_new_experiences_once(home, work):
    world = World(home, experience_threshold=100, settle_s=0)
    world.inbox.intake.fresh = 100
    world.start()
    await world.until(world.store.jobs)
    (job,) = world.store.jobs()
    await world.until_over(job.id)
    world.inbox.intake.fresh_after = world.inbox.looked_upto
    world.clock.now += 1e6
    world.inbox.intake.fresh = 99
    await asyncio.sleep(0.05)

    assert len(world.store.jobs()) == 1
    assert job.request["born_of"] == "threshold"
    await world.stop()
    world.store.close()


async def test_no_job_is_born_after_a_restart_of_what_one_has_looked_at(home, work):
    """The ingest thread counts anew when it learns what was looked at; until then its number means nothing."""
    world = World(home, experience_threshold=100, settle_s=0)
    world.ask()
    world.start()
    await world.until_over()
    await world.stop()
    world.clock.now += 1e6
    world.inbox.looked_upto, world.inbox.intake.fresh_after, world.inbox.intake.fresh = 0, 0, 100
    await world.restart()
    await asyncio.sleep(0.05)
    assert len(world.store.jobs()) == 1

    assert world.inbox.looked_upto == 7
    world.inbox.intake.fresh_after = 7
    await world.until(lambda: len(world.store.jobs()) == 2)
    await world.stop()
    world.store.close()


# -- cancelling --------------------------------------------------------------------------------------------------------
async def test_a_job_can_be_cancelled_in_the_queue(world):
    world.ask()

    assert world.driver.cancel("j").state == "cancelled"
    assert world.driver.cancel("nobody") is None


@pytest.mark.parametrize("state", [state for state in WORKING if state != "deploying"])
async def test_a_job_can_be_cancelled_until_it_is_being_placed_and_the_next_one_runs(world, work, state):
    work.waits(state)
    world.start()
    world.ask()
    await world.until(lambda: work.calls[-1:] == [state])

    world.driver.cancel("j")

    assert (await world.until_over()).state == "cancelled"
    assert work.interrupted == [state]
    assert not world.slot.held
    del work.plan[state]
    world.ask("next")
    assert (await world.until_over("next")).state == "completed"


async def test_a_job_that_is_being_placed_is_past_cancelling(world, work):
    work.waits("deploying")
    world.start()
    world.ask()
    await world.until(lambda: work.calls[-1:] == ["deploying"])

    assert world.driver.cancel("j").state == "deploying"

    assert work.interrupted == []


async def test_a_finished_job_stays_as_it_is(world):
    world.start()
    world.ask()
    await world.until_over()

    assert world.driver.cancel("j").state == "completed"


async def test_a_second_cancellation_does_not_interrupt_the_stopping_of_the_worker(world, work):
    stopped = []

    async def stop_slowly(services, job):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)  # SIGTERM, checkpoint
            stopped.append(job.id)
            raise

    work.plan[State.TRAINING] = stop_slowly
    world.start()
    world.ask()
    await world.until_state("training")
    await asyncio.sleep(0)
    for _ in range(3):
        world.driver.cancel("j")
        await asyncio.sleep(0.01)

    assert (await world.until_over()).state == "cancelled"
    assert stopped == ["j"]


async def test_a_cancellation_outranks_the_loss_of_the_slot_and_a_shutdown(world, work):
    async def stop_slowly(services, job):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            raise

    work.plan[State.TRAINING] = stop_slowly
    world.start()
    world.ask()
    await world.until(lambda: work.calls[-1:] == ["training"])
    world.slot.lost()
    await asyncio.sleep(0.01)
    world.driver.cancel("j")
    world.slot.lost()
    await asyncio.sleep(0.01)
    await world.stop()

    assert world.job().state == "cancelled"


async def test_a_job_that_a_restart_has_not_taken_up_yet_can_be_cancelled(world, work):
    work.waits(State.TRAINING)
    world.start()
    world.ask()
    await world.until_state("training")
    world.task.cancel()  # no goodbye: the daemon is simply gone
    world.driver._interrupt = lambda *arguments: asyncio.sleep(0)
    await asyncio.gather(world.task, return_exceptions=True)
    assert world.job().state == "training"
    world.inbox.refuses = EnvironmentTrouble("still recovering")
    await world.restart()

    world.driver.cancel("j")
    await asyncio.sleep(0.03)
    assert world.job().state == "training"  # its worker may live: it is buried when the job's turn comes
    world.inbox.refuses = None

    assert (await world.until_over()).state == "cancelled"
    assert work.calls.count("training") == 1


async def test_a_cancellation_in_the_moment_in_which_the_work_ends_counts(world, work):
    release = asyncio.Event()
    work.waits(State.TRAINING, release)
    world.start()
    world.ask()
    await world.until_state("training")
    await asyncio.sleep(0.01)
    release.set()
    await asyncio.sleep(0)
    world.driver.cancel("j")

    assert (await world.until_over()).state == "cancelled"


# -- stopping and going on ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("state", WORKING)
async def test_a_daemon_that_stops_in_any_state_goes_on_at_the_next_start(world, work, state):
    work.waits(state)
    world.start()
    world.ask()
    await world.until(lambda: work.calls[-1:] == [state])

    await world.stop()

    assert work.interrupted == [state]
    stopped = world.job()
    assert stopped.state == ("deploying" if state == State.DEPLOYING else "queued")
    assert state == State.DEPLOYING or stopped.cause == "the daemon was stopped"
    assert stopped.attempt == 0
    work.plan.clear()
    await world.restart()
    assert (await world.until_over()).state == "completed"


@pytest.mark.parametrize("state", WORKING)
async def test_a_daemon_that_is_killed_in_any_state_goes_on_from_there(home, work, state):
    world = World(home)
    work.waits(state)
    world.start()
    world.ask()
    await world.until(lambda: work.calls[-1:] == [state])
    world.driver._interrupt = lambda *arguments: asyncio.sleep(0)  # killed: nobody says goodbye
    await world.stop()
    assert world.job().state == state
    work.plan.clear()
    work.calls.clear()

    await world.restart()

    assert (await world.until_over()).state == "completed"
    assert work.calls[0] == state
    await world.stop()
    world.store.close()


async def test_a_disk_that_is_full_while_the_daemon_stops_does_not_keep_it_from_stopping(world, work, monkeypatch):
    work.waits(State.TRAINING)
    world.start()
    world.ask()
    await world.until(lambda: work.calls[-1:] == ["training"])
    _break(world, monkeypatch)

    await asyncio.wait_for(world.stop(), 5)

    assert world.task.cancelled()


async def test_losing_the_slot_checkpoints_and_queues_the_job_again(world, work):
    work.waits(State.TRAINING)
    world.start()
    world.ask()
    await world.until(lambda: work.calls[-1:] == ["training"])
    work.plan.clear()

    world.slot.lost()

    job = await world.until_over()
    assert (job.state, job.attempt) == ("completed", 0)
    assert world.states().count("training") == 2
    world.slot.lost()  # nothing runs: nothing happens


@pytest.mark.parametrize("state", WORKING)
async def test_a_job_whose_lease_on_primes_memory_is_lost_checkpoints_and_queues_again_unless_it_is_being_placed(
    world, work, state
):
    ends = asyncio.Event()
    work.waits(state, ends)
    world.start()
    world.ask()
    await world.until(lambda: work.calls[-1:] == [state])
    work.plan.pop(state)

    world.leasing.lost("j", "Prime took its memory back")
    world.leasing.lost("nobody", "Prime took its memory back")
    await asyncio.sleep(0.02)
    ends.set()

    job = await world.until_over()
    assert (job.state, job.attempt) == ("completed", 0)
    assert world.states().count(state) == (1 if state == State.DEPLOYING else 2)


@pytest.mark.parametrize("state", WORKING)
async def test_at_the_end_of_its_night_a_run_leaves_but_a_model_that_is_being_placed_is_placed(world, work, state):
    """Placing costs seconds; a model that is judged and half-way before Prime would otherwise wait there for a day."""
    ends = asyncio.Event()
    work.waits(state, ends)
    world.start()
    world.ask()
    await world.until(lambda: work.calls[-1:] == [state])
    night = {"night": "n", "nights": ["n"], "not_after": world.clock.now + 10}
    world.store.db.execute("UPDATE jobs SET facts=? WHERE id='j'", (json.dumps(night),))
    await asyncio.sleep(0.05)
    ends.set()
    work.plan.pop(state)

    assert (await world.until_over()).state == "completed"
    assert world.states().count(state) == (1 if state == State.DEPLOYING else 2)


# -- what goes wrong ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("state", WORKING)
@pytest.mark.parametrize("bug", [KeyError("loss"), ValueError("no"), FileNotFoundError(errno.ENOENT, "gone")])
async def test_a_bug_in_a_state_fails_the_job_loudly_and_the_daemon_lives(world, work, state, bug, caplog):
    work.does(state, error=bug, times=1)
    world.start()
    world.ask()

    job = await world.until_over()

    assert (job.state, job.facts["error"]) == ("failed", "bug")
    assert type(bug).__name__ in job.cause
    assert "Traceback" in caplog.text
    world.ask("next")
    assert (await world.until_over("next")).state == "completed"


@pytest.mark.parametrize(
    "said", [Next("deploy", "an edge that is not there"), Next("export", "", {"loss": object()}), Next("no such", "")]
)
async def test_work_that_says_what_cannot_be_fired_fails_the_job_and_not_the_daemon(world, work, said):
    work.does(State.TRAINING, said, times=1)
    world.start()
    world.ask()

    assert (await world.until_over()).state == "failed"
    assert work.calls.count("training") == 1


TROUBLES = [
    OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EIO, "Input/output error"),
    sqlite3.OperationalError("database or disk is full"), TimeoutError(), EnvironmentTrouble("no compiler"),
    PermissionError(errno.EACCES, "Permission denied"),
]  # fmt: skip


@pytest.mark.parametrize("state", WORKING)
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: type(trouble).__name__)
async def test_a_broken_environment_is_shown_and_left_by_itself_and_costs_no_attempt(world, work, state, trouble):
    work.does(state, error=trouble, times=3)
    world.start()
    world.ask()
    await world.until(lambda: world.driver.trouble)

    job = await world.until_over()

    assert (job.state, job.attempt) == ("completed", 0)
    assert work.calls.count(state) == 4
    await world.until(lambda: world.driver.trouble is None)


async def test_a_trouble_that_never_passes_fails_the_job_in_the_end(world, work):
    work.does(State.TRAINING, error=OSError(errno.ENOSPC, "No space left on device"))
    world.start()
    world.ask()
    await world.until(lambda: world.driver.trouble)

    world.clock.now += ENVIRONMENT_PATIENCE_S + 1

    assert (await world.until_over()).state == "failed"


async def test_a_job_can_be_cancelled_while_a_trouble_is_waited_out(world, work):
    work.does(State.TRAINING, error=OSError(errno.ENOSPC, "No space left on device"))
    world.start()
    world.ask()
    await world.until(lambda: world.driver.trouble)

    world.driver.cancel("j")

    assert (await world.until_over()).state == "cancelled"
    assert not world.slot.held


def _break(world, monkeypatch):
    """state.db takes nothing more."""

    def refuse(*arguments, **more):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(world.store, "update_job", refuse)


@pytest.mark.parametrize("state", ["queued", *WORKING])
async def test_a_state_db_on_a_full_disk_ends_neither_the_job_nor_the_daemon(world, work, state, monkeypatch):
    release = asyncio.Event()
    if state == "queued":
        _break(world, monkeypatch)
        world.start()
        world.ask()
    else:
        work.waits(state, release)
        world.start()
        world.ask()
        await world.until(lambda: work.calls[-1:] == [state])
        _break(world, monkeypatch)
        release.set()
    await world.until(lambda: world.driver.trouble)
    assert world.job().state == state

    monkeypatch.undo()
    monkeypatch.setattr(module, "WORK", dict.fromkeys(WORKING, work))

    assert (await world.until_over()).state == "completed"


async def test_a_cancellation_that_could_not_be_written_down_is_not_forgotten(world, work, monkeypatch):
    work.waits(State.TRAINING)
    world.start()
    world.ask()
    await world.until(lambda: work.calls[-1:] == ["training"])
    _break(world, monkeypatch)
    world.driver.cancel("j")
    await world.until(lambda: world.driver.trouble)

    monkeypatch.undo()
    monkeypatch.setattr(module, "WORK", dict.fromkeys(WORKING, work))

    assert (await world.until_over()).state == "cancelled"


# -- the index is disposable -------------------------------------------------------------------------------------------
async def test_what_was_taken_is_taken_again_where_a_rebuilt_index_forgot_it(world, home):
    for n, dataset in enumerate(("d1", "d2", "d3")):
        make_dataset(home, dataset)
        world.store.insert_dataset(dataset, "j", float(n))
    world.inbox.taken = ["d2"]
    world.start()
    await world.until(lambda: len(world.inbox.taken) == 3)

    assert world.inbox.taken == ["d2", "d1", "d3"]


async def test_a_dataset_that_is_gone_keeps_jobs_waiting_and_says_which(world, home):
    world.store.insert_dataset("d1", "j", 1.0)
    world.ask()
    world.start()
    await world.until(lambda: world.driver.trouble)
    assert "d1" in world.driver.trouble
    assert world.job().state == "queued"

    make_dataset(home, "d1")

    assert (await world.until_over()).state == "completed"


# -- moments -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ticks", range(6))
async def test_a_daemon_that_is_stopped_in_the_moment_in_which_a_job_is_asked_for_stops(world, work, ticks):
    """`asyncio.wait_for` loses such a cancellation before Python 3.12, and then nothing stops the daemon."""
    work.waits(State.RESERVING)
    world.start()
    await asyncio.sleep(0.03)
    world.ask()
    for _ in range(ticks):
        await asyncio.sleep(0)
    world.task.cancel()

    await asyncio.wait([world.task], timeout=2)

    assert world.task.cancelled()


def named(job):
    return replace(job, facts={"model_id": "jarvis-openhermes"})


@pytest.fixture
def prepared(home, monkeypatch):
    """A job whose stages have their outcomes."""
    make_dataset(home, "d1")
    make_base(home)

    async def outcome(services, job, stage):
        return {"ok": True, "dataset": "d1", "base": "base", "steps": 1}

    monkeypatch.setattr(training, "run_stage", outcome)


async def test_a_rebuilt_index_is_told_of_the_earlier_datasets_before_the_next_one_is_taken(world, home, prepared):
    make_dataset(home, "d0")
    world.store.insert_dataset("d0", "another", 1.0)

    said = await training.work(world.driver.services, named(world.ask()))

    assert said.trigger == "export"
    assert world.inbox.taken == ["d0", "d1"]
    assert world.store.datasets() == ["d0", "d1"]


def _spec(home, **more):
    """The directory of job j, with its spec and what its prepare stage said."""
    work = WorkDir(home.jobs / "j")
    spec = {
        "job_id": "j",
        "base": "b",
        "home": home.root,
        "upto": 7,
        "as_of": 1.0,
        "model_id": "m",
        "version": "v1.0.0",
    }
    work.create(JobSpec(**{**spec, "fence": 1, **more}))
    work.write_outcome("prepare", {"ok": True, "dataset": "d1"})
    return work


@pytest.mark.parametrize(
    ("taken", "again"), [(["d0"], True), ([], False), (["d1"], False), (["d0", "d1"], False)], ids=str
)
async def test_a_dataset_chosen_before_another_job_took_its_own_is_chosen_again(world, home, prepared, taken, again):
    """It would count records that are gone, and the ledger would refuse it."""
    work = _spec(home)
    for n, dataset in enumerate(taken):
        if dataset != "d1":
            make_dataset(home, dataset)
        world.store.insert_dataset(dataset, "another", float(n))

    await training.work(world.driver.services, named(world.ask()))

    assert (work.outcome("prepare") is None) == again
    assert work.spec().parent_dataset == ("d0" if again else None)


async def test_a_model_deployed_while_a_job_waited_is_the_one_to_be_better_than(world, home, monkeypatch):
    work, seen = _spec(home, incumbent_gguf="/old.gguf"), []
    work.write_outcome("judge", {"ok": True, "verdict": "pass"})

    async def outcome(services, job, stage):
        seen.append((stage, str(work.spec().incumbent_gguf), work.outcome("judge") is None))
        return {"ok": True, "verdict": "pass", "chosen": "Q8_0.gguf"}

    monkeypatch.setattr(exporting, "run_stage", outcome)
    job = world.ask()
    for fate, gguf in (("superseded", "/old.gguf"), ("deployed", "/new.gguf")):
        world.store.put_model(
            Model(version=fate, model_id="m", job_id="x", created_at=1.0, fate=fate, facts={"gguf": gguf})
        )

    assert (await exporting.work(world.driver.services, job)).trigger == "deploy"

    assert seen == [("export", "/new.gguf", True), ("judge", "/new.gguf", True)]


async def test_a_job_cancelled_while_its_dataset_is_taken_leaves_index_and_state_in_agreement(world, home, prepared):
    taking: Future[None] = Future()
    world.inbox.take = lambda dataset, manifest: taking
    at_work = asyncio.create_task(training.work(world.driver.services, named(world.ask())))
    await asyncio.sleep(0.01)
    taking.set_running_or_notify_cancel()  # the ingest thread is at it

    at_work.cancel()
    await asyncio.gather(at_work, return_exceptions=True)
    taking.set_result(None)

    await world.until(lambda: world.store.datasets() == ["d1"])
