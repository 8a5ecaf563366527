"""Who trains together, how that is asked for, and what ended it."""

from __future__ import annotations

import json
import signal
from types import SimpleNamespace

import pytest

from reactord.home import Home
from reactord.jobs.launching import LOCAL, TORCHRUN, cloud_of, launcher_of
from reactord.jobs.surveying import hyper_of
from reactord.jobspec import Hyper
from reactord.settings import Settings, load
from reactord.workdir import EXIT_STOPPED, WorkDir
from reactord.worker import limits, team, torchrun


# -- how many ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("asked", "step", "ranks"), [(1, 8, 1), (2, 8, 2), (3, 8, 2), (4, 8, 4), (64, 8, 8), (3, 9, 3), (2, 7, 1)]
)
def test_there_are_as_many_as_may_be_and_as_share_a_step_equally(asked, step, ranks):
    assert Hyper(processes=asked, pairs_per_step=step).ranks == ranks


def test_a_process_never_has_more_than_its_share_in_memory():
    assert Hyper(pairs_per_step=8, pairs_per_batch=4).batch == 4
    assert Hyper(pairs_per_step=8, pairs_per_batch=8, processes=2).batch == 4
    assert Hyper(pairs_per_step=8, pairs_per_batch=2, processes=8).batch == 1


def test_the_job_beats_the_numbers_and_they_beat_the_setting():
    assert hyper_of(Settings(), {}).processes == 1
    assert hyper_of(Settings(training_processes=2), {}).processes == 2
    assert hyper_of(Settings(training_processes=2, hyper=Hyper(max_steps=3)), {}).processes == 2
    numbers = Settings(training_processes=2, hyper=Hyper(processes=4))
    assert hyper_of(numbers, {}).processes == 4
    assert hyper_of(numbers, {"hyper": {"processes": 1}}).processes == 1


def test_the_setting_has_a_name_in_the_environment(tmp_path):
    home = Home(tmp_path)
    home.config.parent.mkdir(parents=True)
    home.config.write_text(json.dumps({"hyper": {"max_steps": 5}}))

    settings = load(home, {"REACTOR_TRAINING_PROCESSES": "2"})

    assert (hyper_of(settings, {}).processes, hyper_of(settings, {}).max_steps) == (2, 5)


def test_only_training_is_divided_and_that_is_no_cloud(tmp_path):
    def names(processes):
        spec = SimpleNamespace(hyper=Hyper(processes=processes))
        work = SimpleNamespace(spec=lambda: spec)
        return [launcher_of(work, stage).name for stage in ("prepare", "train", "export", "judge")]

    assert names(1) == [LOCAL] * 4
    assert names(2) == [LOCAL, TORCHRUN, LOCAL, LOCAL]
    assert cloud_of() is None


# -- what ended it -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        ({}, 0),
        ({0: team.EXIT_LOST, 1: -signal.SIGKILL}, -signal.SIGKILL),
        ({0: team.EXIT_LOST, 1: 1}, 1),
        ({0: EXIT_STOPPED, 1: 1}, 1),
        ({0: EXIT_STOPPED, 1: -signal.SIGSEGV}, -signal.SIGSEGV),
        ({0: EXIT_STOPPED, 1: EXIT_STOPPED}, EXIT_STOPPED),
        ({0: EXIT_STOPPED, 1: team.EXIT_LOST}, team.EXIT_LOST),
        ({0: team.EXIT_LOST}, team.EXIT_LOST),
    ],
)
def test_the_run_ends_as_the_process_did_that_was_the_cause(statuses, status):
    assert torchrun.verdict(statuses) == status


def test_alone_everything_is_agreed_upon_at_once():
    us = team.ALONE
    us.wait()
    us.require_equal("ab" * 32)
    assert (us.first, us.any(True, False), us.sum(7), us.told(lambda: "x"), us.agent_bytes()) == (
        True, (True, False), 7, "x", 0,
    )  # fmt: skip


def test_only_torchrun_of_this_very_job_makes_a_process_one_of_several(tmp_path, monkeypatch):
    work = WorkDir(tmp_path / "job-1")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert team.seat(work) == team.ALONE
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "another")
    assert team.seat(work) == team.ALONE
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job-1")
    assert team.seat(work) == team.Team(1, 2)


def test_the_loss_of_another_is_told_from_an_error_of_one_s_own():
    gone = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:4")
    assert team.is_lost(gone, team.Team(0, 2))
    assert not team.is_lost(gone, team.ALONE)
    assert not team.is_lost(RuntimeError("unable to mmap 4096 bytes"), team.Team(0, 2))


# -- memory ------------------------------------------------------------------------------------------------------------
def test_each_is_limited_to_its_share_of_the_grant(tmp_path, monkeypatch):
    set_to = []
    monkeypatch.setattr(limits, "_go_first", lambda: None)
    monkeypatch.setattr(limits.resource, "setrlimit", lambda _, pair: set_to.append(pair[0]))
    monkeypatch.setattr(limits.resource, "getrlimit", lambda _: (-1, limits.resource.RLIM_INFINITY))
    monkeypatch.setattr(limits.sys, "platform", "linux")
    work = WorkDir(tmp_path)
    work.grant_path.write_text(json.dumps({"hard_bytes": 8 * 2**30}))

    alone, half = limits.keep_to(work), limits.keep_to(work, 2)

    assert (alone, half) == (8 * 2**30 + limits.RESERVED_BYTES, 4 * 2**30 + limits.RESERVED_BYTES)
    assert set_to == [alone, half]
