"""Processes of ours and of the peers' that fight for one lock, before the witness."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from support import forked, peers
from support.witness import Witness

from reactord.ipc import arbiter, dlm
from reactord.settings import Settings

NAME = "training_slot"


class Fighter(Protocol):
    def acquire(self) -> bool: ...
    def keep(self) -> object: ...
    def release(self) -> None: ...


class Ours:
    """As jobs/slot.py uses the lock: claim, settle, look again, hold, renew, release."""

    def __init__(self, directory: Path, settle_s: float) -> None:
        self.directory, self.settle_s, self.lease = directory, settle_s, None

    def acquire(self) -> bool:
        got = dlm.claim(self.directory, NAME, 60.0, time.time(), fence=1)
        if isinstance(got, dlm.Busy):
            return False
        time.sleep(self.settle_s)
        self.lease = got
        return got.mine(time.time())

    def keep(self) -> bool:
        return self.lease.renew(time.time())

    def release(self) -> None:
        self.lease.release()


def fight(make: Callable[[], Fighter], who: str, witness: Witness, until: float, *, mortal: bool = False) -> None:
    """Take it, work a little, let go, until the time is over. A mortal dies with its tenth lock in its hands."""
    dice, held = random.Random(os.getpid()), 0
    fighter = make()
    while time.monotonic() < until:
        if fighter.acquire():
            witness.note("begins", who)
            time.sleep(dice.uniform(0.0, 0.02))
            if dice.random() < 0.3:
                fighter.keep()
                time.sleep(dice.uniform(0.0, 0.01))
            witness.note("ends", who)
            held += 1
            if mortal and held == 10:
                os.kill(os.getpid(), signal.SIGKILL)
            fighter.release()
        time.sleep(dice.uniform(0.0, 0.01))


def race(fighters: dict[int, tuple[str, Callable[[], Fighter], bool]], witness: Witness, for_s: float) -> int:
    """Let each of the numbered fighters run in a process of its own; who dies is replaced. Returns how many died."""
    until, died = time.monotonic() + for_s, 0

    def start(number: int) -> int:
        who, make, mortal = fighters[number]
        return forked.start(lambda: fight(make, who, witness, until, mortal=mortal))

    running = {start(number): number for number in fighters}
    try:
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid not in running:
                time.sleep(0.005)
                continue
            number = running.pop(pid)
            if os.WIFSIGNALED(status):
                died += 1
                running[start(number)] = number
            else:
                assert os.waitstatus_to_exitcode(status) == 0, f"{fighters[number][0]} ended with {status}"
    finally:
        for pid in running:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return died


def body(directory: Path) -> Fighter:
    """Body, which cleans up before it begins."""
    made = peers.Body(directory, NAME)
    made.clean_up()
    return made


class OursInRedis:
    """The same with the arbiter; nothing to settle."""

    def __init__(self, port: int) -> None:
        self.arbiter = arbiter.connect(Settings(redis_host="127.0.0.1", redis_port=port), NAME, 60.0)

    def acquire(self) -> bool:
        self.lease = self.arbiter.claim(time.time(), 1)
        return not isinstance(self.lease, dlm.Busy)

    def keep(self) -> bool:
        return self.lease.renew(time.time())

    def release(self) -> None:
        self.lease.release()


class Old(peers.OldBody):
    """It never extends what it holds."""

    def keep(self) -> bool:
        return True
