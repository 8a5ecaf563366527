"""Does a trainer heed what the daemon says of the machine's memory, without losing a step?"""

from __future__ import annotations

import os
import threading
import time
from types import SimpleNamespace

import pytest

from reactord.jobspec import Hyper
from reactord.workdir import WorkDir
from reactord.worker import yielding
from reactord.worker.team import ALONE

LONG_S = 30.0


@pytest.fixture
def work(fast_dir, monkeypatch):
    monkeypatch.setattr(yielding, "POLL_S", 0.01)
    return WorkDir(fast_dir)


def _says(work, tier):
    work.pressure_path.write_text(tier)


def _later(do, after_s=0.15):
    timer = threading.Timer(after_s, do)
    timer.start()
    return timer


def _took(call):
    began = time.monotonic()
    return call(), time.monotonic() - began


def never():
    return False


@pytest.mark.parametrize("said", [None, "", "normal", "dreadful", "\x00"])
def test_where_nothing_sensible_is_said_a_worker_works(work, said):
    if said is not None:
        _says(work, said)

    assert yielding.tier(work) == "normal"
    assert _took(lambda: yielding.slow_down(work, LONG_S, never))[1] < 1
    assert _took(lambda: yielding.pause(work, never))[0]


def test_what_an_absent_daemon_wrote_long_ago_is_no_news(work):
    _says(work, "constrained")
    assert yielding.tier(work) == "constrained"
    old = time.time() - yielding.STALE_S - 1
    os.utime(work.pressure_path, (old, old))

    assert yielding.tier(work) == "normal"


def test_under_elevated_pressure_a_worker_rests_as_long_as_it_worked(work):
    _says(work, "elevated")

    assert 0.2 <= _took(lambda: yielding.slow_down(work, 0.2, never))[1] < 2


def test_a_rest_ends_when_the_pressure_does_or_when_the_worker_is_asked_to_leave(work):
    _says(work, "elevated")
    timer = _later(work.pressure_path.unlink)
    assert _took(lambda: yielding.slow_down(work, LONG_S, never))[1] < LONG_S / 2
    timer.join()
    _says(work, "elevated")
    assert _took(lambda: yielding.slow_down(work, LONG_S, lambda: True))[1] < 1


@pytest.mark.parametrize("better", ["elevated", "normal"])
def test_a_pause_ends_when_there_is_memory_again(work, better):
    _says(work, "constrained")
    timer = _later(lambda: _says(work, better))

    assert _took(lambda: yielding.pause(work, never))[0]
    timer.join()


def test_a_pause_that_takes_too_long_ends_in_leaving(work, monkeypatch):
    monkeypatch.setattr(yielding, "PAUSE_MOST_S", 0.1)
    _says(work, "critical")

    assert yielding.pause(work, never) is False


def test_memory_that_was_freed_can_be_given_back():
    yielding.give_back()


# -- between the steps of a trainer ------------------------------------------------------------------------------------
class _Stop:
    requested = False

    def request(self):
        self.requested = True


@pytest.fixture
def reporter(work, monkeypatch):
    """The callback in a job directory, without a model; `transformers` warns while it is imported."""
    pytest.importorskip("transformers")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from reactord.worker import callbacks
    said = []
    context = SimpleNamespace(work=work, stop=_Stop(), note=said.append, team=ALONE,
                              spec=SimpleNamespace(hyper=Hyper()))  # fmt: skip
    monkeypatch.setattr(callbacks.checkpoints, "seal", lambda *_: (work.root, 1))
    monkeypatch.setattr(callbacks.checkpoints, "prune", lambda *_: None)
    made = callbacks.Reporter(context, SimpleNamespace())
    made._saved_at_s = time.monotonic()
    made.said = said
    return made


def _step(reporter, number=3):
    control = SimpleNamespace(should_save=False, should_training_stop=False)
    state = SimpleNamespace(global_step=number)
    arguments = SimpleNamespace(output_dir=str(reporter.context.work.root))
    reporter.on_step_begin(arguments, state, control)
    reporter.on_step_end(arguments, state, control)
    if control.should_save:
        reporter.on_save(arguments, state, control)
    return control


def test_a_trainer_at_ease_neither_saves_nor_rests(reporter):
    control = _step(reporter)

    assert (control.should_save, control.should_training_stop, reporter.said) == (False, False, [])


def test_under_constrained_pressure_a_trainer_saves_then_waits_then_goes_on(reporter, work):
    _says(work, "constrained")
    timer = _later(work.pressure_path.unlink)

    control, took_s = _took(lambda: _step(reporter))

    timer.join()
    assert took_s >= 0.1
    assert (control.should_save, control.should_training_stop) == (True, False)
    assert reporter.said == [
        "the machine is short of memory; paused at a checkpoint", "there is memory again; going on"
    ]  # fmt: skip
    assert work.recent_progress()[-1]["kind"] == "checkpoint"


def test_a_trainer_that_paused_for_too_long_leaves_at_its_checkpoint(reporter, work, monkeypatch):
    monkeypatch.setattr(yielding, "PAUSE_MOST_S", 0.1)
    _says(work, "constrained")

    control = _step(reporter)

    assert (control.should_save, control.should_training_stop) == (True, True)
    assert reporter.context.stop.requested


def test_a_paused_trainer_that_is_asked_to_leave_leaves(reporter, work):
    _says(work, "constrained")
    timer = _later(reporter.context.stop.request)

    control = _step(reporter)

    timer.join()
    assert control.should_training_stop
