"""What every test of the commands starts from: a clock, a bus, and lives of the daemon on it."""

from __future__ import annotations

import logging

import pytest
from support.command_bus import Bus, Clock, Jobs

from reactord.ipc.commands import Commands
from reactord.ipc.deadletter import DeadLetters


@pytest.fixture
def _errors_are_said(caplog):
    caplog.set_level(logging.DEBUG)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def jobs():
    return Jobs()


@pytest.fixture
def bus(home):
    return Bus(home)


@pytest.fixture
def start(home, clock, jobs):
    """A new life of the daemon."""
    lives = []

    def go():
        lives.append(Commands(home, jobs, clock))
        return lives[-1]

    yield go
    for life in lives:
        life.close()


@pytest.fixture
def reader(start, bus):
    return start()


@pytest.fixture
def letters(home, clock):
    return DeadLetters(home, clock)
