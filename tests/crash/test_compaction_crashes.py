"""Whatever ends a compaction, and wherever: after the next start the ledger is as if nothing had."""

from __future__ import annotations

import errno
import json
import logging
import random
import shutil
import sqlite3
import time
from collections import Counter
from contextlib import closing

import pytest
from crash.ingest_world import LostOrDoubled, Steps, fresh, make_bus, take_in
from crash.recovery import Undisturbed
from support import crashes, forked
from support.crash_states import Tape, states
from support.disks import FailingDisk
from support.forked import DIED
from support.ledgers import check, dump, line

from reactord import durable
from reactord.errors import Conservation
from reactord.home import Home
from reactord.ipc import inbox as inbox_module
from reactord.ipc.inbox import Inbox
from reactord.ledger import compaction, reading, staged
from reactord.ledger import journal as journal_module
from reactord.ledger.index import Index
from reactord.ledger.journal import Place, batches, segment_path, segments

SEGMENT_BYTES = 1200
STATES = 200


# -- a ledger of which some segments are decided -----------------------------------------------------------------------
def _small_segments():
    journal_module.SEGMENT_BYTES = SEGMENT_BYTES


def _fill(root):
    """Everything of the bus, a named file, a file of somebody else; all decided but the last and one between."""
    logging.disable()
    home = Home(root)
    make_bus(home)
    named, news = home.root / "named.jsonl", home.root / "reactor_events"
    named.write_bytes(json.dumps({"experience_id": "named"}).encode() + b"\n")
    pointing = {"event_id": "e", "event_type": "data_batch_ready",
                "payload": {"data_path": str(named), "sample_count": 1}}  # fmt: skip
    (home.events / "5_2_q.json").write_text(json.dumps(pointing))
    for n in range(16):
        (home.events / f"experiences_7{n:02}.json").write_text(json.dumps([{"id": f"m{n}", "text": "x" * 150}]))
    news.mkdir()
    (news / "curriculum_1.json").write_text(json.dumps({"event_type": "curriculum_signal", "top_k": []}))
    take_in(root, Undisturbed(), _small_segments)
    (home.telemetry / "interactions_20261122.jsonl").write_bytes(line("late", pad="z" * SEGMENT_BYTES) + b"\n")
    take_in(root, Undisturbed(), _small_segments)
    with closing(Index(home.index_db, lambda *_: None)) as index:
        query = "SELECT identity, segment FROM records JOIN entries ON entry = id WHERE fate = 0 ORDER BY seq"
        rows = [(f"{identity:016x}", segment) for identity, segment in index.db.execute(query)]
        middle = sorted({segment for _, segment in rows})[1]
        waiting = [next(name for name, segment in rows if segment == middle), rows[-1][0]]
        decided = [name for name, _ in rows if name not in waiting]
        fates = {"train": decided[1:], "holdout": decided[:1], "rejected": {}, "waiting": waiting}
        made = {"upto": index.counts().last_seq, "counts": {}, "fates": fates}
        index.take("d1", made)
    (root / "manifest.json").write_text(json.dumps(made))
    for path in (named, *news.iterdir(), *home.telemetry.iterdir()):
        path.unlink()  # a copy of the home has other files in their place, which would be read


def _manifest(home):
    return json.loads((home.root / "manifest.json").read_bytes())


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    root = tmp_path_factory.mktemp("decided") / "home"
    assert forked.run(_fill, root) == 0
    return root


# -- one life, and what must be true after it --------------------------------------------------------------------------
class Dying(Steps):
    """The transactions of a compaction are steps, too."""

    def install(self):
        super().install()
        for name in ("forget_places", "take"):
            setattr(Index, name, self._step(getattr(Index, name)))


def _begin(root):
    logging.disable()
    inbox_module.TROUBLE_S = 0.0
    compaction.KEEP_BYTES, compaction.LOOK_EVERY_S = 0, 0.0
    home = Home(root)
    inbox = Inbox(home, lambda: time.time() + 60)
    inbox.take("d1", _manifest(home))  # as the driver does at its start: an index that was made anew has forgotten it
    return inbox


def tidy(root, steps=None, mutate=lambda: None):
    """A start, and turns until no segment is left that may be compacted."""
    mutate()
    steps = steps or Undisturbed()
    steps.install()
    inbox = _begin(root)
    _turns(inbox)
    inbox.close()
    (root / "steps").write_text(str(steps.taken))


def _turns(inbox):
    for _ in range(len(segments(inbox.home.journal)) + 2):
        inbox.turn()
    assert inbox.intake.trouble is None, inbox.intake.trouble


def knows(home):
    """All that a ledger knows: what is in the index, each segment, and each pending record as it is read back.

    Raises LostOrDoubled when the books do not balance, or the journal tells another story than the index.
    """
    try:
        counts = check(home, [("d1", _manifest(home))])
        with closing(Index(home.index_db, lambda *_: None)) as index:
            tables = dump(index)
        pending = [(record.identity, record.body) for record in reading.pending(home, counts.last_seq)]
        assert not list(home.journal.glob(f".*{durable.TEMPORARY}"))
    except (AssertionError, OSError, KeyError, ValueError, Conservation, sqlite3.Error) as wrong:
        raise LostOrDoubled(f"{type(wrong).__name__}: {wrong}") from wrong
    files = {number: segment_path(home.journal, number).read_bytes() for number in segments(home.journal)}
    return tables, files, pending


@pytest.fixture
def undisturbed(template, fast_dir):
    """(what it knows, its steps) after a life that nothing ends."""
    home = fresh(template, fast_dir / "undisturbed")
    before = knows(home)
    assert forked.run(tidy, home.root, Dying()) == 0
    after = knows(home)
    assert [before[0][name] for name in ("counters", "tails", "pointers", "taken", "cursor")] == [
        after[0][name] for name in ("counters", "tails", "pointers", "taken", "cursor")
    ]
    assert [row[:2] for row in before[0]["records"]] == [row[:2] for row in after[0]["records"]]
    assert before[2] == after[2]
    changed = [number for number, raw in after[1].items() if raw != before[1][number]]
    assert len(changed) >= 3
    ends = Counter(end.segment for _, end in batches(fresh(template, fast_dir / "before").journal, Place(1, 0)))
    assert sum(ends[number] > 1 for number in changed) >= 2, "places in the middle of a segment are to be missed"
    assert len(after[1]) - len(changed) >= 2, "one that waits, and the one that is written"
    return after, int((home.root / "steps").read_text())


def _same(home, known, mutate=lambda: None):
    """The next life comes to its end, and knows what one knows that nothing ended."""
    if forked.run(tidy, home.root, None, mutate) != 0:
        raise LostOrDoubled("the next start does not come to its end")
    if knows(home) != known:
        raise LostOrDoubled("it is not as if nothing had happened")


def _dies(template, root, known, steps, mutate=lambda: None):
    """Whether it died there; the next life makes it good."""
    home = fresh(template, root)
    status = forked.run(tidy, root, steps, mutate)
    assert status in (0, DIED)
    _same(home, known, mutate)
    return status == DIED


# -- it dies -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_process_that_dies_at_any_step_of_a_compaction_leaves_what_the_next_one_ends(
    template, fast_dir, undisturbed, before
):
    known, steps = undisturbed
    died = sum(_dies(template, fast_dir / "home", known, Dying(n, before=before)) for n in range(1, steps + 1))

    print(f"{died} deaths")
    assert died == steps > 25


def test_a_process_that_dies_again_and_again_while_it_compacts_forgets_nothing(template, fast_dir, undisturbed):
    (known, steps), rng, died = undisturbed, random.Random(5), 0
    for _ in range(15):
        home = fresh(template, fast_dir / "home")
        for _ in range(rng.randint(2, 4)):
            died += forked.run(tidy, home.root, Dying(rng.randint(1, steps), before=rng.random() < 0.5)) == DIED
        _same(home, known)

    assert died > 15


@pytest.mark.skipif(crashes.missing() is not None, reason=str(crashes.missing()))
def test_a_process_killed_at_any_system_call_of_a_compaction_leaves_what_the_next_one_ends(
    template, fast_dir, undisturbed
):
    known, log = undisturbed[0], fast_dir / "strace"
    fresh(template, fast_dir / "home")
    assert crashes.run(tidy, fast_dir / "home", log=str(log)) == 0
    points, killed = crashes.calls(log), 0
    for point in points:
        home = fresh(template, fast_dir / "home")
        killed += crashes.run(tidy, home.root, kill_at=point) == DIED
        _same(home, known)

    print(f"{killed} kills at {len(points)} calls")
    assert killed >= 0.9 * len(points) > 30


# -- the power is cut --------------------------------------------------------------------------------------------------
def _cuts(root, known, anew):
    """Each state is made good in the same place: some of what the journal names lies there."""
    home = Home(root)
    if anew:
        for path in home.ledger.glob("index.db*"):
            path.unlink()
    tape = durable.disk = Tape(root)
    real, staged.ROWS = Index.flush, 5

    def flush(self):
        applied = real(self)
        tape.end()
        return applied

    Index.flush = flush
    inbox = _begin(root)
    _turns(inbox)
    inbox.close()
    found = states(tape, random.Random(3), STATES)
    durable.disk = durable.RealDisk()
    for state in found:
        shutil.rmtree(root)
        state.make(root)
        tidy(root)
        assert knows(home) == known, f"behind step {state.point} of {len(tape.steps)}"
    (root.parent / "tried").write_text(str(len({state.key for state in found})))


@pytest.mark.parametrize("anew", [False, True], ids=["index known", "index made anew in the same life"])
def test_after_a_power_cut_in_any_state_a_segment_is_the_old_one_or_the_new_one_and_both_are_right(
    template, fast_dir, undisturbed, anew
):
    home = fresh(template, fast_dir / "home")

    assert forked.run(_cuts, home.root, undisturbed[0], anew) == 0
    assert int((fast_dir / "tried").read_text()) >= 0.8 * STATES


# -- the disk refuses --------------------------------------------------------------------------------------------------
def _patient(root):
    """A life that asks again what was refused once."""
    inbox = _begin(root)
    for _ in range(3):
        inbox.turn()
    _turns(inbox)
    inbox.close()


def _refused(root, n, error):
    """One mutating call fails; the same life must end what it began. Says whether there was such a call."""
    durable.disk = failing = FailingDisk(fail_at=n, error=error, write_at_most=300)
    _patient(root)
    (root / "met").write_text("yes" if failing.calls >= n else "")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
def test_a_disk_that_refuses_one_call_of_a_compaction_is_asked_again_without_a_restart(
    template, fast_dir, undisturbed, error
):
    n, met = 1, True
    while met:
        home = fresh(template, fast_dir / "home")
        assert forked.run(_refused, home.root, n, error) == 0
        assert knows(home) == undisturbed[0], f"call {n}"
        n, met = n + 1, bool((home.root / "met").read_text())

    print(f"{n - 2} refusals")
    assert n > 15


@pytest.mark.skipif(crashes.missing() is not None, reason=str(crashes.missing()))
@pytest.mark.parametrize(("call", "error"), [("pwrite64", "ENOSPC"), ("fdatasync", "EIO"), ("fsync", "EIO")])
def test_a_system_call_that_fails_once_in_sqlite_or_in_ours_is_made_good_without_a_restart(
    template, fast_dir, undisturbed, call, error
):
    log = fast_dir / "strace"
    fresh(template, fast_dir / "home")
    assert crashes.run(_patient, fast_dir / "home", log=str(log)) == 0
    points = [n for name, n in crashes.calls(log) if name == call]
    for n in points:
        home = fresh(template, fast_dir / "home")
        assert crashes.run(_patient, home.root, inject=f"{call}:error={error}:when={n}") == 0, f"call {n}"
        assert knows(home) == undisturbed[0], f"call {n}"

    print(f"{len(points)} errors")
    assert points


def _index_refuses(root, when):
    real, left = Index.forget_places, ["once"]

    def forget_places(self, *arguments):
        if left and when == "before":
            raise sqlite3.OperationalError(f"database or disk is full, {left.pop()}")
        if left:
            with closing(sqlite3.connect(self.db.execute("PRAGMA database_list").fetchone()[2])) as other:
                other.execute("BEGIN IMMEDIATE")
                self.db.execute("PRAGMA busy_timeout=1")
                left.pop()
                real(self, *arguments)
        real(self, *arguments)

    Index.forget_places = forget_places
    inbox = _begin(root)
    for _ in range(2):
        inbox.turn()
    assert not left
    _turns(inbox)
    inbox.close()


@pytest.mark.parametrize("when", ["before", "locked"])
def test_an_index_that_refuses_to_hear_of_it_hears_of_it_later(template, fast_dir, undisturbed, when):
    home = fresh(template, fast_dir / "home")

    assert forked.run(_index_refuses, home.root, when) == 0
    assert knows(home) == undisturbed[0]


# -- the same sweep finds a compaction that makes a mistake ------------------------------------------------------------
def _positions_forgotten():
    """Of a segment that is compacted once more."""
    real = compaction._tails

    def tails(directory, number):
        return {} if b'"compacted"' in segment_path(directory, number).read_bytes()[:200] else real(directory, number)

    compaction._tails = tails


def _in_place():
    durable.publish = lambda path, data: durable._write_file(path, data, 0o600, sync=True)


def _bytes_before_they_are_known():
    durable.publish = lambda path, data: (durable.remove(path), durable.append(path, data))


@pytest.mark.parametrize("mistake", [_positions_forgotten, _in_place, _bytes_before_they_are_known])
def test_the_sweep_finds_a_compaction_that_makes_a_mistake_which_only_a_crash_shows(
    mistake, template, fast_dir, undisturbed, capfd
):
    known, steps = undisturbed
    home = fresh(template, fast_dir / "home")
    _same(home, known, mistake)  # without a crash nothing is wrong with it
    for n in range(1, steps + 1):
        for before in (True, False):
            try:
                _dies(template, fast_dir / "home", known, Dying(n, before=before), mistake)
            except LostOrDoubled:
                return
    pytest.fail("nothing was lost or doubled: the sweep is blind to this mistake")
