"""Who may change what Prime sees?"""

from __future__ import annotations

import os
import signal

import pytest
from support import forked

from reactord.errors import BadRequest, EnvironmentTrouble
from reactord.prime import turn


def test_the_highest_number_so_far_is_remembered_and_a_lower_one_is_refused(tmp_path):
    models = tmp_path / "models"
    assert turn.fence_at(models) == 0
    for fence in (3, 3, 8):
        with turn.taken(models, fence):
            assert turn.fence_at(models) == fence

    with pytest.raises(BadRequest, match=r"deployment 7 .* overtaken by deployment 8"), turn.taken(models, 7):
        raise AssertionError("it must not be let in")
    assert turn.fence_at(models) == 8


@pytest.mark.parametrize("text", ["", "{", "[]", '{"fence": "x"}', '{"fence": null}', "{}"])
def test_a_note_that_nobody_can_read_keeps_nobody_out(tmp_path, text):
    (tmp_path / turn.NOTE).write_text(text)
    assert turn.fence_at(tmp_path) == 0
    with turn.taken(tmp_path, 1):
        assert turn.fence_at(tmp_path) == 1


def test_who_was_stopped_in_the_middle_keeps_the_others_out_until_it_dies(tmp_path, monkeypatch):
    monkeypatch.setattr(turn, "WAIT_S", 0.05)

    def stop_in_the_middle():
        with turn.taken(tmp_path, 1):
            os.kill(os.getpid(), signal.SIGSTOP)

    stopped = forked.start(stop_in_the_middle)
    os.waitpid(stopped, os.WUNTRACED)
    with pytest.raises(EnvironmentTrouble, match="another deployment"), turn.taken(tmp_path, 2):
        raise AssertionError("it must not be let in")
    assert forked.kill(stopped) == forked.DIED
    with turn.taken(tmp_path, 2):
        assert turn.fence_at(tmp_path) == 2
