"""Where every user may write: does nothing come in from there, and is it told?"""

from __future__ import annotations

import json
import os

import pytest
from support.ledgers import check

from reactord import access
from reactord.cli import main
from reactord.ipc.inbox import Inbox


@pytest.fixture
def inbox(home):
    made = Inbox(home)
    yield made
    made.close()


@pytest.mark.parametrize("name", ["events", "telemetry"])
def test_what_lies_in_an_open_directory_waits_until_it_is_closed_and_keeps_nothing_else_waiting(inbox, home, name):
    place = getattr(home, name)
    (home.events / "experiences_a.json").write_bytes(b'[{"id": "a"}]')
    (home.telemetry / "interactions_20261121.jsonl").write_bytes(b'{"event_id": "b", "event_type": "x"}\n')
    place.chmod(0o777)

    inbox.turn()

    assert inbox.index.counts().received == 1
    assert inbox.intake.trouble == f"every user may write {place}; close it: chmod o-w {place}"
    place.chmod(0o755)
    inbox.turn()
    assert inbox.index.counts().received == 2
    assert inbox.intake.trouble is None
    check(home)


@pytest.mark.parametrize("mode", [0o1777, 0o775, 0o700])
def test_a_sticky_directory_and_one_for_a_group_are_no_open_doors(inbox, home, mode):
    """Whose a file is, is asked of each file; and a person's own group is often the one of the directory."""
    (home.events / "experiences_a.json").write_bytes(b'[{"id": "a"}]')
    home.events.chmod(mode)

    inbox.turn()

    assert inbox.index.counts().received == 1
    assert inbox.intake.trouble is None


def test_a_path_is_as_open_as_the_most_open_of_its_parts_links_included(tmp_path):
    shared, bus = tmp_path / "shared", tmp_path / "private" / "bus"
    shared.mkdir()
    bus.mkdir(parents=True)
    (shared / "link").symlink_to(bus)
    assert access.exposed(shared / "link") == []
    shared.chmod(0o777)
    assert access.exposed(shared / "link") == [shared]
    shared.chmod(0o755)
    bus.parent.chmod(0o777)
    assert access.exposed(shared / "link") == [bus.parent]
    assert access.exposed(bus) == [bus.parent]


def test_the_doctor_names_every_open_directory_with_its_cure(inbox, home, capsys):
    for place in (home.events, home.root):
        place.chmod(0o777)
    main(["doctor", "--json", "--home", str(home.root)])
    found = [one["cure"] for one in json.loads(capsys.readouterr().out)["checks"] if one["name"] == "bus"]
    assert found == [f"close it: chmod o-w {home.events}", f"close it: chmod o-w {home.root}"]


def test_a_file_that_an_event_names_waits_like_the_others_while_its_directory_is_open(inbox, home):
    path = home.root / "exports" / "batch.jsonl"
    path.parent.mkdir()
    path.write_bytes(b'{"id": "a"}\n')
    path.parent.chmod(0o777)
    event = {"event_type": "data_batch_ready", "event_id": "e", "payload": {"data_path": str(path)}}
    (home.events / "5_1_e.json").write_text(json.dumps(event))
    inbox.turn()
    inbox.turn()
    assert inbox.index.counts().pending == 0
    assert f"chmod o-w {path.parent}" in inbox.intake.trouble

    path.parent.chmod(0o755)
    inbox.turn()

    assert (inbox.index.counts().pending, inbox.intake.trouble) == (1, None)


def test_a_file_that_was_read_before_waits_like_the_others_while_its_directory_is_open(inbox, home):
    path = home.telemetry / "interactions_20261121.jsonl"
    path.write_bytes(b'{"event_id": "a", "event_type": "x"}\n')
    inbox.turn()
    home.telemetry.chmod(0o777)
    with path.open("ab") as file:
        file.write(b'{"event_id": "b", "event_type": "x"}\n')
    inbox.turn()
    assert inbox.index.counts().pending == 1

    home.telemetry.chmod(0o755)
    inbox.turn()

    assert inbox.index.counts().pending == 2


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_others_put_in_the_place_of_a_file_is_not_waited_for(tmp_path, make):
    make(tmp_path / "shared.json")

    with pytest.raises(OSError, match="not a regular file"):
        access.read_shared(tmp_path / "shared.json")


def test_a_shared_file_is_read_also_through_a_link(tmp_path):
    (tmp_path / "real.json").write_bytes(b"{}")
    (tmp_path / "shared.json").symlink_to(tmp_path / "real.json")

    assert access.read_shared(tmp_path / "shared.json") == b"{}"
