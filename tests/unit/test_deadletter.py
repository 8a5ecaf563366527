"""Is a command that could not be carried out kept, with its reason, within bounds, until a person decides?"""

from __future__ import annotations

import fcntl
import json

import pytest
from support.disks import WatchedDisk

from reactord import durable
from reactord.errors import BadRequest, EnvironmentTrouble
from reactord.ipc import deadletter
from reactord.ipc.commands import Commands
from reactord.ipc.deadletter import DeadLetters, Why

NOW = 1_795_281_095.0
COMMAND = {
    "id": "f1", "timestamp": NOW - 50, "source": "j_prime", "intent": "train", "payload": {"recipe": "dpo"},
    "target": "reactor_core", "priority": 7, "requires_ack": True, "ttl_seconds": 30.0,
}  # fmt: skip


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


class Killed(BaseException):
    """kill -9, as far as a test in one process can tell."""


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def letters(home, clock):
    return DeadLetters(home, clock)


def raw(**changes):
    return json.dumps(COMMAND | changes).encode()


def why(**changes):
    known = {"reason": "train failed 5 times", "came_from": "1_f1.json", "first_seen": NOW - 40, "attempts": 5,
             "last_error": "no space left", "command_id": "f1", "action": "train"}  # fmt: skip
    return Why(**(known | changes))


def commands_in(home):
    return sorted((home.trinity / "commands").glob("*.json"))


def test_a_letter_is_the_bytes_and_a_reason_beside_them(letters, home):
    identity = letters.put(b"\xff{", why())

    place = home.trinity / "dlq" / "reactor"
    assert (place / f"{identity}.json").read_bytes() == b"\xff{"
    assert json.loads((place / f"{identity}.json.reason.json").read_bytes()) == {
        "reason": "train failed 5 times", "from": "1_f1.json", "first_seen": NOW - 40, "attempts": 5,
        "last_error": "no space left", "family": "file", "command_id": "f1", "action": "train", "truncated": False,
        "at": NOW, "size_bytes": 2,
    }  # fmt: skip
    assert place.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_somebody_made_wider_is_closed(letters):
    letters.directory.mkdir(parents=True)
    letters.directory.chmod(0o755)
    letters.put(b"x", why())
    assert letters.directory.stat().st_mode & 0o777 == 0o700


def test_the_same_command_again_is_the_same_letter(letters, clock):
    first = letters.put(raw(), why())
    clock.now += 10
    assert letters.put(raw(), why(attempts=6)) == first
    assert letters.put(raw(), why(came_from="another.json")) != first
    assert [letter.why["attempts"] for letter in letters.all()] == [5, 6]


def test_letters_are_listed_newest_first(letters, clock):
    made = []
    for i in range(3):
        made.append(letters.put(raw(id=f"f{i}"), why()))
        clock.now += 1
    assert [letter.identity for letter in letters.all()] == made[::-1]
    assert letters.all()[0].at == NOW + 2


def test_a_letter_without_a_readable_reason_is_still_a_letter(letters):
    identity = letters.put(raw(), why())
    (letters.directory / f"{identity}.json.reason.json").write_text("{")
    assert letters.all()[0].why == {"reason": "its reason file cannot be read"}
    assert letters.show(identity)[1] == raw()


@pytest.mark.parametrize(
    "identity", ["", "nope", "../../x", "1795281095000-aaaaaaaaaaaa", "dropped", "1795281095000-aaaaaaaaaaaa\n"]
)
def test_a_wrong_id_is_an_error_that_says_where_the_right_ones_are(letters, identity):
    letters.put(raw(), why())
    for verb in (letters.show, letters.drop, letters.replay):
        with pytest.raises(BadRequest, match="see: reactord dlq list"):
            verb(identity)
    assert len(letters.all()) == 1


# -- bounds -----------------------------------------------------------------------------------------------------------
def test_beyond_the_number_the_oldest_is_dropped_and_counted(letters, clock, monkeypatch):
    monkeypatch.setattr(deadletter, "MAX_LETTERS", 3)
    made = []
    for i in range(5):
        made.append(letters.put(raw(id=f"f{i}"), why()))
        clock.now += 1
        assert len(letters.all()) <= 3
    assert [letter.identity for letter in letters.all()] == made[:1:-1]
    assert letters.dropped() == {"total": 2, "reasons": {"no room": 2}, "last_at": NOW + 4}
    assert len(list(letters.directory.iterdir())) == 3 * 2 + len(["dropped.json", ".lock"])


def test_beyond_the_bytes_the_oldest_are_dropped_and_counted(letters, clock, monkeypatch):
    monkeypatch.setattr(deadletter, "MAX_BYTES", 10_000)
    for i in range(10):
        letters.put(raw(id=f"f{i}", payload={"x": "y" * 2000}), why())
        clock.now += 1
        assert sum(path.stat().st_size for path in letters.directory.glob("1*")) <= 10_000
    kept = len(letters.all())
    assert 0 < kept < 5
    assert letters.dropped()["reasons"] == {"no room": 10 - kept}


def test_beyond_the_age_letters_are_dropped_and_counted(letters, clock):
    letters.put(raw(id="old"), why())
    clock.now += deadletter.MAX_AGE_S - 1
    young = letters.put(raw(id="young"), why())
    letters.tidy()
    assert len(letters.all()) == 2

    clock.now += 2
    letters.tidy()
    assert [letter.identity for letter in letters.all()] == [young]
    assert letters.dropped()["reasons"] == {"too old": 1}


def test_the_count_of_the_dropped_grows_over_lives_and_reasons(letters, home, clock):
    letters.drop(letters.put(raw(), why()))
    for i in range(3):
        letters.put(raw(id=f"f{i}"), why())
    again = DeadLetters(home, clock)
    assert again.drop_all() == 3
    clock.now += 1
    again.put(raw(), why())
    clock.now += deadletter.MAX_AGE_S + 1
    again.tidy()
    assert again.dropped()["reasons"] == {"by hand": 4, "too old": 1}
    assert again.dropped()["total"] == 5


def test_a_count_that_cannot_be_read_starts_anew(letters):
    identity = letters.put(raw(), why())
    (letters.directory / "dropped.json").write_text("[")
    letters.drop(identity)
    assert letters.dropped()["total"] == 1


def test_what_a_kill_left_behind_is_swept(letters):
    identity = letters.put(raw(), why())
    (letters.directory / "1795281095000-aaaaaaaaaaaa.json.reason.json").write_text("{}")
    (letters.directory / ".1795281095000-bbbbbbbbbbbb.json.77.tmp").write_text("half")
    letters.tidy()
    assert sorted(path.name for path in letters.directory.iterdir()) == [
        ".lock", f"{identity}.json", f"{identity}.json.reason.json",
    ]  # fmt: skip


def test_files_of_others_in_the_directory_are_not_letters_and_stay(letters):
    identity = letters.put(raw(), why())
    (letters.directory / "notes.json").write_text("{}")
    assert letters.drop_all() == 1
    letters.tidy()
    assert not (letters.directory / f"{identity}.json").exists()
    assert (letters.directory / "notes.json").exists()


def test_somebody_who_keeps_the_lock_is_named_and_not_waited_for_for_ever(letters, monkeypatch):
    monkeypatch.setattr(deadletter, "WAIT_S", 0.05)
    identity = letters.put(raw(), why())
    with (letters.directory / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(EnvironmentTrouble, match="in use by another process"):
            letters.drop(identity)
    assert len(letters.all()) == 1


# -- replay -----------------------------------------------------------------------------------------------------------
def test_a_replayed_letter_is_a_command_again_under_a_new_id(letters, home, clock):
    identity = letters.put(raw(), why())
    clock.now += 3600

    new_id = letters.replay(identity)

    (path,) = commands_in(home)
    said = json.loads(path.read_bytes())
    assert new_id.startswith("f1-r")
    assert path.name == f"{int(clock.now * 1000)}_{new_id}.json"
    assert said["target"] == "reactor_core"
    assert (said["id"], said["intent"], said["payload"]) == (
        new_id,
        "train",
        {"recipe": "dpo"},
    )
    assert (said["source"], said["priority"], said["requires_ack"]) == ("j_prime", 7, True)
    assert said["metadata"] == {"replay_of": "f1", "dead_letter": identity}
    assert said["timestamp"] == clock.now
    assert said["ttl_seconds"] > 86_400
    assert letters.all() == []
    assert letters.dropped()["total"] == 0


def test_a_queued_command_is_replayed_as_a_file_with_its_urgency_and_without_an_ack(letters, home):
    queued = json.dumps({"command_id": "c1", "source": "jarvis_body", "target": "reactor_core", "action": "Drain",
                         "payload": None, "priority": 2, "timestamp": NOW}).encode()  # fmt: skip
    letters.replay(letters.put(queued, why(family="queue", came_from="command_queue.json")))

    said = json.loads(commands_in(home)[0].read_bytes())
    assert (said["intent"], said["priority"], said["requires_ack"]) == ("drain", 5, False)


def test_an_id_does_not_grow_with_every_replay(letters, home):
    identity = "x" * 100
    for _ in range(5):
        new_id = letters.replay(letters.put(raw(id=identity), why()))
        assert len(new_id) <= 100
        identity = new_id
    assert new_id.count("-r") == 1


@pytest.mark.parametrize("bytes_", [b"{", b"[]", b'{"id": "f1"}', b'{"intent": "train"}', b"\xff"])
def test_what_is_no_command_is_not_replayed_and_stays(letters, home, bytes_):
    identity = letters.put(bytes_, why())
    with pytest.raises(BadRequest, match=f"reactord dlq show {identity}"):
        letters.replay(identity)
    assert commands_in(home) == []
    assert len(letters.all()) == 1


def test_what_was_kept_in_part_is_not_replayed(letters):
    with pytest.raises(BadRequest, match="only the ends"):
        letters.replay(letters.put(raw(), why(truncated=True)))


def dying(at, when):
    """A disk on which we are killed before or after the n-th mutating call."""

    def kill(n, call):
        if n == at:
            raise Killed

    return WatchedDisk(**{when: kill})


class Jobs:
    """Counts what is submitted."""

    def __init__(self):
        self.submitted = []

    def submit(self, job_id, payload):
        self.submitted.append(job_id)
        return {"job_id": job_id}


@pytest.fixture
def jobs():
    return Jobs()


@pytest.fixture
def reader(home, clock, jobs):
    made = Commands(home, jobs, clock)
    yield made
    made.close()


#: write, fsync, rename, fsync of the directory for the reason and for the command, then two unlinks
CALLS = 10


def test_a_replay_makes_as_many_calls_as_are_cut_off_below(letters, monkeypatch):
    identity, disk = letters.put(raw(), why()), WatchedDisk()
    monkeypatch.setattr(durable, "disk", disk)
    letters.replay(identity)
    assert disk.calls == CALLS


@pytest.mark.parametrize("cut", [(at, when) for at in range(1, CALLS + 1) for when in ("before", "after")])
def test_a_replay_that_is_cut_off_anywhere_and_repeated_is_done_once(letters, reader, jobs, monkeypatch, cut):
    identity = letters.put(raw(), why())
    monkeypatch.setattr(durable, "disk", dying(*cut))
    with pytest.raises(Killed):
        letters.replay(identity)
    monkeypatch.setattr(durable, "disk", durable.RealDisk())
    reader.turn()  # the daemon is up, and takes what is there
    if letters.all():
        letters.replay(identity)
    for _ in range(2):
        reader.turn()

    assert len(jobs.submitted) == 1
    assert letters.all() == []
    assert reader._files.unread() == []
