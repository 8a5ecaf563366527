"""A death, or a power cut, while every kind of door has something for us: from each, every record once."""

from __future__ import annotations

import itertools
import json
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from crash.ingest_world import LostOrDoubled, Steps
from crash.recovery import live
from crash.test_crash_states import Search, explore
from support import forked
from support.ledgers import check, hexed

from reactord.home import Home
from reactord.ipc.doors import entrances
from reactord.ipc.inbox import Inbox
from reactord.ledger import reading

SAMPLES = Path(__file__).parents[1] / "samples"
#: names that some door admits, in the order in which they are tried; the number keeps files apart
NAMES = (
    "experiences_{n}.json", "5_{n}_x.json", "curriculum_{n}.json", "deploy_{n}.json", "deployment_status.json",
    "exp_{n}.json", "x{n}.msg", "x{n}.json", "interactions_2026112{n}.jsonl", "telemetry_20261121_00000{n}.jsonl",
    "training_20261121_00000{n}.jsonl", "jarvis_events.jsonl", "events_{n}.jsonl", "experiences_{n}.jsonl",
    "x{n}_experiences.jsonl", "reactor-core_events.jsonl", "dpo_dataset.jsonl", "dpo_pairs_{n}.jsonl",
    "preferences_{n}.jsonl", "feedback.jsonl", "samples.jsonl", "scraped_training_{n}.jsonl", "x{n}.jsonl",
)  # fmt: skip
#: all of them were tried once, in three minutes; most of these steps are quarantined lines of the broken samples
EVERY = 17


def make_doors(home):
    """A file from every sample at every door of its format, a table with rows, and a file that an event names."""
    home.create()
    for door in entrances(home):
        if door.kind == "rows":
            continue
        for n, sample in enumerate(sorted((SAMPLES / door.format.name).iterdir())):
            name = next(name.format(n=n) for name in NAMES if door.admits(name.format(n=n)))
            door.directory.mkdir(parents=True, exist_ok=True)
            (door.directory / name).write_bytes(sample.read_bytes())
    (home.root / "training_data").mkdir()
    with closing(sqlite3.connect(home.root / "training_data" / "conversations.db")) as db, db:
        db.execute("CREATE TABLE conversations(id TEXT PRIMARY KEY, data TEXT, quality_score REAL)")
        turns = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]
        rows = [(f"row{n}", json.dumps({"turns": turns}), 0.9) for n in range(5)]
        db.executemany("INSERT INTO conversations VALUES (?,?,?)", rows)
    named = home.root / "named.jsonl"
    named.write_text("".join(json.dumps({"experience_id": f"named{n}"}) + "\n" for n in range(3)))
    event = {"event_id": "e", "event_type": "data_batch_ready", "payload": {"data_path": str(named)}}
    (home.events / "5_9_named.json").write_text(json.dumps(event))


def summary(home):
    """All that must be the same whatever happened on the way."""
    counts = check(home)
    pending = sorted(record.identity for record in reading.pending(home, counts.last_seq))
    assert not list(home.claimed.iterdir())
    left = sorted(str(path.relative_to(home.root)) for path in home.events.iterdir())
    return [pending, counts.rejected, counts.received - counts.duplicates, left]


@pytest.fixture
def wanted(fast_dir):
    """What an undisturbed life leaves."""
    home = Home(fast_dir / "undisturbed")
    make_doors(home)
    assert forked.run(live, home.root) == 0
    found = summary(home)
    kinds = {record.format for record in reading.pending(home, 1 << 40)}
    assert len(kinds) >= 12  # the others are news, or say again what has come by another door
    assert {hexed(f"named{n}") for n in range(3)} <= set(found[0])
    return found


def _until_nothing_is_claimed(home):
    """A turn takes one batch of what was claimed before, and the batches here are small."""
    inbox = Inbox(home, lambda: time.time() + 60)
    for _ in range(30):
        inbox.turn()
        if not list(home.claimed.iterdir()):
            break
    inbox.close()


def _same(home, wanted):
    try:
        found = summary(home)
        assert found == wanted
    except (AssertionError, OSError, KeyError, ValueError) as wrong:
        raise LostOrDoubled(f"{type(wrong).__name__}: {wrong}") from wrong


class _Failpoints(Steps):
    def begin(self, root):
        """Nothing is noted."""


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_death_loses_nothing_of_any_door(fast_dir, wanted, before):
    home = Home(fast_dir / "jarvis")
    died = 0
    for n in itertools.count(1, EVERY):
        shutil.rmtree(home.root, ignore_errors=True)
        make_doors(home)
        status = forked.run(live, home.root, lambda: None, _Failpoints(n, before=before))
        assert status in (0, forked.DIED)
        assert forked.run(live, home.root) == 0
        _same(home, wanted)
        if status == 0:
            break
        died += 1

    print(f"{died} deaths with {len(wanted[0])} records at all doors: 0 lost, 0 doubled")
    assert died > 20


def test_a_power_cut_loses_nothing_of_any_door(fast_dir, wanted):
    def verify(home):
        _until_nothing_is_claimed(home)
        _same(home, wanted)

    tried, bad = explore(fast_dir, Search(160, make=make_doors, verify=verify))

    print(f"{tried} distinct crash states with something at every door, {len(bad)} bad")
    assert bad == [], f"{len(bad)} states: {bad[:2]}"
