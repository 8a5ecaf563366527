"""Does a message fabric that cannot be written cost its messages only, and is it shown in words that stay?"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from support.disks import FailingDisk, FullDisk
from support.fabric_reader import FileTransport
from support.fabric_sender import NOW, announce_all, bus, files, opened, ready_model, we

from reactord import durable
from reactord import public as public_module
from reactord.home import Home
from reactord.ipc import announce, presence, umf
from reactord.ipc.announce import ReadyModel
from reactord.public import Public
from reactord.settings import Settings


@pytest.fixture
def base(home: Home, monkeypatch: pytest.MonkeyPatch) -> Path:
    return opened(home, monkeypatch)


@pytest.fixture
def model(tmp_path: Path) -> ReadyModel:
    return ready_model(tmp_path)


def test_a_base_that_cannot_be_written_costs_only_the_messages(home: Home, base: Path, model: ReadyModel) -> None:
    base.write_text("in the way: nobody, not even root, can write into it")

    announce_all(home, model)
    assert len(bus(home)) == 4
    for number in range(3):  # the same words each time
        with pytest.raises(FileExistsError) as told:
            presence.write_heartbeats(home, we(), NOW + number)
        assert told.value.filename == str(base)
        assert all(path.exists() for path in home.heartbeats)
    assert announce.expire(home, NOW + 400) == 5

    base.unlink()
    presence.write_heartbeats(home, we(), NOW + 3)
    assert len(FileTransport(base).receive("lifecycle")) == 1


def test_a_lost_event_is_shown_with_the_next_beat_and_then_no_more(home: Home, base: Path) -> None:
    base.mkdir()
    (base / "event").write_text("in the way")
    announce.gate_evaluated(home, "job-42", {}, NOW)

    with pytest.raises(OSError, match="event"):
        presence.write_heartbeats(home, we(), NOW)
    presence.write_heartbeats(home, we(), NOW + 5)
    assert len(FileTransport(base).receive("lifecycle")) == 1


@pytest.mark.parametrize("call", range(1, 6))
def test_a_full_disk_at_any_step_leaves_no_half_message(
    home: Home, base: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    base.mkdir()
    monkeypatch.setattr(durable, "disk", FailingDisk(call))
    umf.sender.tell("reactord-" + "0" * 32, "topic", {}, "job", NOW)

    assert all(path.suffix == ".json" for path in files(base))
    assert FileTransport(base).stumbled == 0


def test_a_trouble_is_not_named_for_a_file_that_has_another_name_each_time(
    home: Home, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoRoomForNames(durable.RealDisk):
        @staticmethod
        def rename(source: Any, target: Any, /) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source))

    monkeypatch.setattr(durable, "disk", NoRoomForNames())
    lost = umf.sender.beat(we(), NOW)

    assert lost is not None
    assert lost.filename == str(base / "lifecycle")
    assert files(base) == []


async def test_the_daemon_lives_on_and_shows_it(
    home: Home, base: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(public_module, "BEAT_S", 0.01)
    base.write_text("in the way")  # noqa: ASYNC240 - a file in memory
    public = Public(home, Settings(umf_mode="active"), "1.0.0", lambda: NOW)
    public.phase = "ready"
    with caplog.at_level(logging.WARNING):
        task = asyncio.create_task(public.run())
        try:
            async with asyncio.timeout(10):
                while not public.unpublished:
                    await asyncio.sleep(0.001)
                assert public.troubles() == [f"cannot publish: File exists: {base}"]
                await asyncio.sleep(0.1)  # ten more beats, that say the same
                base.unlink()  # noqa: ASYNC240
                while not (base / "lifecycle").exists() or public.unpublished:
                    await asyncio.sleep(0.001)
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.wait([task], timeout=10)
    assert [record.message for record in caplog.records] == [f"cannot publish: File exists: {base}"]


def test_a_full_disk_is_shown_in_the_same_words_until_there_is_room(
    home: Home, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = FullDisk()
    monkeypatch.setattr(durable, "disk", full)
    for number in range(2):
        with pytest.raises(OSError, match="No space left"):
            presence.write_heartbeats(home, we(), NOW + number)
    with pytest.raises(OSError, match=f"No space left on device: '{base / 'lifecycle'}'"):
        raise umf.sender.beat(we(), NOW + 2) or AssertionError
    full.full = False
    presence.write_heartbeats(home, we(), NOW + 5)

    assert len(FileTransport(base).receive("lifecycle")) == 1
