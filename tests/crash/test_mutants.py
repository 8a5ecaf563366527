"""Which method finds which mistake? A table of planted mistakes of the ingest; none of the methods finds them all."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from crash import test_ingest_crashes as before
from crash.ingest_world import LostOrDoubled, Steps, fresh, make_bus, verify
from crash.recovery import Undisturbed, live, recover
from crash.test_crash_states import Search, explore
from crash.test_disk_faults import make_large_bus, under_every_error, under_every_limit
from support import crashes, forked, loops
from support.disks import WatchedDisk
from support.ledgers import check, hexed

from reactord import durable
from reactord.home import Home
from reactord.ledger import entering as entering_module
from reactord.ledger import index as index_module
from reactord.ledger import reading
from reactord.ledger.journal import Journal


# -- the mistakes: each is planted into a process of its own, by what the ingest calls, not by how it is made ----------
def none_at_all():
    """The ingest as it is: what a method says of it must be nothing."""


def _before_the_journal(do):
    real = Journal.append

    def append(self, entries):
        do(self.directory, entries)
        return real(self, entries)

    Journal.append = append


def unlink_before_the_journal():
    def unlink(directory, entries):
        for meta in (entry.meta for entry in entries):
            if meta.get("claim") and not meta.get("refused"):
                durable.remove(directory.parent / "claimed" / meta["claim"])

    _before_the_journal(unlink)


def offset_saved_before_the_journal():
    def save(directory, entries):
        tails = [entry.meta["tail"] for entry in entries if entry.meta.get("tail")]
        with closing(sqlite3.connect(directory.parent / "index.db")) as db, db:
            db.executemany("INSERT OR REPLACE INTO tails VALUES (?, ?)", [(t["path"], t["position"]) for t in tails])

    _before_the_journal(save)


def no_fdatasync():
    class Unsynced:
        def __init__(self, disk):
            self.disk = disk

        def __getattr__(self, name):
            return getattr(self.disk, name)

        def fsync(self, descriptor):
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                self.disk.fsync(descriptor)

    real = Journal.append

    def append(self, entries):
        disk, durable.disk = durable.disk, Unsynced(durable.disk)
        try:
            return real(self, entries)
        finally:
            durable.disk = disk

    Journal.append = append


def no_fsync_of_a_directory():
    durable.sync_directory = lambda path: None


def rename_not_claimed():
    """It reads the file where its sender put it, and unlinks that name in the end, whatever lies under it by then."""
    real_claim, real_remove, senders = durable.claim, durable.remove, {}

    def claim(source, target):
        if Path(target).parent.name != "claimed":
            return real_claim(source, target)
        os.link(source, target)
        senders[str(target)] = source
        return None

    def remove(path):
        real_remove(path)
        if str(path) in senders:
            real_remove(senders.pop(str(path)))

    durable.claim, durable.remove = claim, remove


def refusal_of_the_index_forgotten():
    """It goes on behind what the index would not take, and never reads that again."""
    real = entering_module.enter

    def enter(db, staged):
        try:
            return real(db, staged)
        except sqlite3.Error:
            return entering_module.Applied()

    entering_module.enter = index_module.enter = enter


no_dedupe = before._no_dedupe
no_tail_recovery = before._no_tail_recovery
index_before_the_journal = before._index_before_the_journal
cursor_saved_before_the_records = before._cursor_saved_before_the_records
rows_let_go = before._rows_let_go
one_write_without_a_loop = before._one_write_call


# -- the methods: each raises LostOrDoubled, or comes to its end -------------------------------------------------------
def undisturbed(place, mistake):
    root = fresh(_bus(place), place / "home").root
    if forked.run(live, root, mistake) != 0:
        raise LostOrDoubled("it does not come to its end")
    verify(Home(root))


def kills(place, mistake):
    """It dies before or after any of its calls, and lives again."""
    template = _bus(place)
    for n in itertools.count(1):
        for first in (True, False):
            root = fresh(template, place / "home").root
            status = forked.run(live, root, mistake, _Failpoints(n, before=first))
            recover(root, mistake)
        if status == 0:
            return


class _Failpoints(Steps):
    def begin(self, root):
        """Nothing is noted."""


def crash_states(place, mistake):
    if bad := explore(place, Search(600, mutate=mistake, lanes=1, first_bad_only=True))[1]:
        raise LostOrDoubled(str(bad[0]))


def short_writes(place, mistake):
    make_large_bus(Home(place / "large"))
    under_every_limit(place / "large", place / "home", mistake)


def failing_calls(place, mistake):
    """Any write of SQLite fails once, and the same life makes that good."""
    found = under_every_error(_bus(place), place / "home", place / "strace", mistake, names=("pwrite64",))
    if bad := found[1]:
        raise LostOrDoubled(str(bad[0]))


def power_loss(place, mistake):
    """At any call of the disk, on a real ext4."""
    image = loops.Image("ext4", place)
    with image.mounted() as root:
        make_bus(Home(root / "jarvis"))
    shutil.copyfile(image.file, place / "template.img")
    for n in itertools.count(1):
        shutil.copyfile(place / "template.img", image.file)
        with image.mounted() as root:
            status = forked.run(live, root / "jarvis", mistake, _Failpoints(n, before=True))
            image.lose_power()
            recover(root / "jarvis", mistake)
        if status == 0:
            return


def rewriting(place, mistake):
    """A sender replaces its file by a new one just before any call of the disk: the new one must come in."""
    for n in itertools.count(1):
        home = fresh(_bus(place), place / "home")
        if forked.run(live, home.root, mistake, _Rewrites(n)) != 0:
            raise LostOrDoubled("it does not come to its end")
        stored = {record.identity for record in reading.pending(home, check(home).last_seq)}
        if not (home.root / "rewritten").exists():
            return
        if hexed("rewritten") not in stored:
            raise LostOrDoubled(f"the file that came before call {n} was removed, and never read")


class _Rewrites(Undisturbed):
    def __init__(self, at):
        self.at = at

    def begin(self, root):
        self.root = root

    def install(self):
        durable.disk = WatchedDisk(before=self._rewrite)

    def _rewrite(self, n, call):
        if n == self.at:
            staged = self.root / "rewritten"
            staged.write_text(json.dumps([{"id": "rewritten"}]))
            shutil.copyfile(staged, self.root / "copy")
            (self.root / "copy").replace(Home(self.root).events / "experiences_1.json")


def _bus(place):
    home = Home(place / "template")
    if not home.root.exists():
        make_bus(home)
    return home.root


#: every method that is known to find it; the first is one that needs no root
TABLE = {
    unlink_before_the_journal: [kills, crash_states],
    offset_saved_before_the_journal: [kills],
    index_before_the_journal: [kills, crash_states],
    cursor_saved_before_the_records: [kills, crash_states],
    rows_let_go: [undisturbed],
    refusal_of_the_index_forgotten: [failing_calls],
    no_tail_recovery: [kills],
    no_fdatasync: [crash_states, power_loss],
    no_fsync_of_a_directory: [crash_states],
    no_dedupe: [undisturbed],
    one_write_without_a_loop: [short_writes],
    rename_not_claimed: [rewriting],
}
PAIRS = [(mistake, method) for mistake, methods in TABLE.items() for method in methods]


def _available(method):
    if method is failing_calls and (reason := crashes.missing()):
        pytest.skip(reason)
    if method is power_loss and (reason := loops.missing("ext4")):
        pytest.skip(reason)


@pytest.mark.parametrize(("mistake", "method"), PAIRS, ids=[f"{a.__name__}-{b.__name__}" for a, b in PAIRS])
def test_a_planted_mistake_is_found(mistake, method, fast_dir, capfd):
    _available(method)

    with pytest.raises(LostOrDoubled) as found:
        method(fast_dir, mistake)

    print(f"{mistake.__name__} by {method.__name__}: {str(found.value)[:90]}")


#: crash_states and short_writes say so in their own files
@pytest.mark.parametrize("method", [undisturbed, kills, power_loss, rewriting])
def test_no_method_finds_anything_wrong_with_the_ingest_as_it_is(method, fast_dir):
    _available(method)

    method(fast_dir, none_at_all)
