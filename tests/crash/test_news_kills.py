"""Does the daemon itself tell news on, and does SIGKILL neither lose nor double any?"""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from support.loop import Loop

from reactord.ledger.sqlite import open_readonly
from reactord.ledger.state import State

PATIENCE_S = 30.0


@pytest.fixture
def daemon(fast_dir):
    made = Loop(fast_dir / "home", fast_dir / "no-base-model")
    yield made
    made.clean_up()


def _report(home, name):
    path = home.root / "reactor" / "feedback" / f"deploy_{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"model_name": name, "health_verified": True}))


def _events(home):
    """The reports that became events, in order."""
    try:
        with closing(open_readonly(home.state_db)) as db:
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
            found = State(db).events() if "events" in tables else []
    except FileNotFoundError:
        return []
    return [event.subject for event in found if event.topic == "prime.deployment"]


def test_a_daemon_that_is_killed_tells_each_report_once(daemon):
    daemon.start()
    told = []
    for name in ("a", "b", "c"):
        _report(daemon.home, name)
        told.append(name)
        if name != "b":  # killed as soon as the event is there, or whenever that happens to be
            daemon.wait(lambda: _events(daemon.home) == told, PATIENCE_S)
        daemon.kill_daemon()
        daemon.start()
        daemon.wait(lambda: _events(daemon.home) == told, PATIENCE_S)
    daemon.stop()

    assert _events(daemon.home) == ["a", "b", "c"]
