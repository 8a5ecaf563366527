"""Does the message fabric hear us where the environment says so, and nowhere and nothing else?"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.fabric_sender import NOW, announce_all, opened, ready_model, we

from reactord import daemon
from reactord.errors import BadConfig
from reactord.home import Home
from reactord.ipc import announce, presence, umf
from reactord.ipc.announce import ReadyModel
from reactord.settings import Settings, load


@pytest.fixture
def base(home: Home, monkeypatch: pytest.MonkeyPatch) -> Path:
    return opened(home, monkeypatch)


@pytest.fixture
def model(tmp_path: Path) -> ReadyModel:
    return ready_model(tmp_path)


# -- disabled ----------------------------------------------------------------------------------------------------------


def test_disabled_creates_nothing(home: Home, base: Path, model: ReadyModel) -> None:
    umf.sender.open("disabled", base, {"JARVIS_ROOT_SESSION_ID": "session-7"})
    announce_all(home, model)
    presence.write_heartbeats(home, we(), NOW)
    presence.withdraw(home, we(), NOW)
    announce.expire(home, NOW)

    assert not base.exists()


def test_a_process_that_is_no_daemon_sends_nothing(home: Home, model: ReadyModel) -> None:
    announce_all(home, model)
    presence.write_heartbeats(home, we(), NOW)

    assert umf.sender.base is None
    assert not (home.root / "umf").exists()


# -- the setting -------------------------------------------------------------------------------------------------------


def test_the_environment_says_whether_and_where(home: Home) -> None:
    assert (load(home, {}).umf_mode, load(home, {}).umf_dir) == ("disabled", None)
    found = load(home, {"JARVIS_UMF_MODE": "Shadow", "JARVIS_UMF_DIR": "/srv/umf"})
    assert (found.umf_mode, found.umf_dir) == ("shadow", Path("/srv/umf"))
    with pytest.raises(BadConfig, match=r"JARVIS_UMF_MODE: umf_mode: .* Correct it and start again\."):
        load(home, {"JARVIS_UMF_MODE": "on"})


@pytest.mark.parametrize(
    ("settings", "below"),
    [
        (Settings(), None),
        (Settings(umf_mode="shadow"), "umf"),
        (Settings(umf_mode="active", umf_dir=Path("~/elsewhere")), "elsewhere"),
    ],
)
def test_the_daemon_opens_the_sender(
    home: Home, base: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings, below: str | None
) -> None:
    async def nothing(self: object) -> int:
        await asyncio.sleep(0)
        return 0

    monkeypatch.setenv("HOME", str(home.root))
    monkeypatch.setattr(daemon._Daemon, "run", nothing)
    monkeypatch.setattr(daemon.logs, "set_up", lambda *_: None)

    assert daemon.run(home, settings) == 0
    assert umf.sender.base == (home.root / below if below else None)
