"""Random SIGKILLs of the real ingest thread while producers write, and nothing of it is lost or doubled."""

from __future__ import annotations

import json
import logging
import random
import time

from support import forked
from support.ledgers import check, hexed, line

from reactord.home import Home
from reactord.ipc import batch as batch_module
from reactord.ipc.inbox import Inbox
from reactord.ledger import reading
from reactord.ledger import staged as staged_module

KILLS = 500
#: of every other life, so that kills come between batches, and while some of them wait for the index
FILES_AT_ONCE, ROWS_AT_ONCE = 3, 40
TELEMETRY = "interactions_20261121.jsonl"


def _produce(home, stop):
    """Drops of three items (one of them also in the telemetry) and lines, as fast as a busy producer is."""
    n = 0
    with (home.telemetry / TELEMETRY).open("ab", buffering=0) as telemetry:
        while not stop.exists():
            n += 1
            items = [{"id": f"d{n}"}, {"n": n}, {"id": f"t{n}"}]
            staged = home.trinity / ".staged"
            staged.write_text(json.dumps({"packet_id": f"p{n}", "experiences": items}))
            staged.rename(home.events / f"experiences_{n:06d}.json")
            whole = line(f"t{n}") + b"\n"
            telemetry.write(whole[:20])
            telemetry.write(whole[20:])
            time.sleep(0.002)
    (home.root / "produced").write_text(str(n))


def _ingest(home, until_quiet=False, small=False):
    logging.disable()
    if small:
        batch_module.BATCH_FILES, staged_module.ROWS = FILES_AT_ONCE, ROWS_AT_ONCE
    inbox = Inbox(home)
    if not until_quiet:
        inbox.run()
    for _ in range(3):
        inbox.turn()
    assert inbox.intake.trouble is None
    inbox.close()


def test_five_hundred_kills_under_load_lose_nothing_and_double_nothing(home):
    rng, stop = random.Random(11), home.root / "stop"
    producer = forked.start(_produce, home, stop)
    try:
        for life in range(KILLS):
            ingest = forked.start(_ingest, home, False, life % 2)
            time.sleep(rng.uniform(0.005, 0.09))
            assert forked.kill(ingest) == forked.DIED
    finally:
        stop.touch()
        assert forked.wait(producer) == 0
    produced = int((home.root / "produced").read_text())
    taken_while_killed = len(list(reading.pending(Home(home.root), 1 << 40)))

    assert forked.run(_ingest, home, True) == 0

    counts = check(home)
    stored = [record.identity for record in reading.pending(home, counts.last_seq)]
    named = {f"d{n}" for n in range(1, produced + 1)} | {f"t{n}" for n in range(1, produced + 1)}
    named |= {f"p{n}:1" for n in range(1, produced + 1)}
    assert sorted(stored) == sorted(hexed(identity) for identity in named)
    assert counts.duplicates >= produced
    assert counts.rejected == {}
    assert not [*home.events.iterdir(), *home.claimed.iterdir()]
    print(
        f"{KILLS} kills, {len(named)} records, {taken_while_killed} of them taken in between kills: 0 lost, 0 doubled"
    )
    assert taken_while_killed > produced, "the kills came before it could work: this test shows nothing"
