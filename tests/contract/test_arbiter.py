"""Redis as the arbiter (contract/body.md 5.2), on a real server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

import pytest
from support.peers import KEYS, RedisBody, metadata
from support.redis_server import RedisServer

from reactord.ipc import arbiter as module
from reactord.ipc import dlm
from reactord.settings import Settings

NAME = "training_slot"
KEY = "jarvis:lock:trinity:training_slot"
TTL_S = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = RedisServer(tmp_path_factory.mktemp("redis"))
    made.start()
    yield made
    made.kill()


@pytest.fixture
def client(server):
    made = server.client()
    made.flushdb()
    return made


@pytest.fixture
def body(client):
    return RedisBody(client, NAME)


@pytest.fixture
def arbiter(server, client):
    return connect(server.port)


def connect(port, **more):
    return module.connect(Settings(redis_host="127.0.0.1", redis_port=port, **more), NAME, TTL_S)


@pytest.fixture
def worker():
    made = subprocess.Popen(["sleep", "60"])
    yield made
    made.kill()
    made.wait()


@pytest.fixture(scope="module")
def dead_pid():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(30)
    return gone.pid


def test_the_value_is_bodys_key_for_key_and_body_respects_it_through_renewals_and_a_new_owner(
    arbiter, client, body, worker
):
    now = time.time()
    lease = arbiter.claim(now, 7)
    for owner, renewed_at in ((os.getpid(), now), (worker.pid, now + 12)):
        lease.owner = dlm.owner_of(owner)
        assert lease.renew(renewed_at)
        said = json.loads(client.get(KEY))
        assert tuple(said) == KEYS
        assert said["expires_at"] == renewed_at + TTL_S
        assert (said["owner"], said["token"], said["fencing_token"]) == (lease.owner, f"{lease.claim_id}.7", 7)
        assert (said["backend"], said["lock_name"]) == ("redis", NAME)
        assert not body.is_free(renewed_at + TTL_S - 1)
        assert not body.acquire()
    assert body.is_free(now + 12 + TTL_S)
    worker.kill()
    worker.wait()
    assert body.is_free(now)  # the trainer died


def test_a_renewal_extends_the_life_of_the_key_and_a_release_ends_it(arbiter, client):
    now = time.time()
    lease = arbiter.claim(now, 1)
    client.pexpire(KEY, 5000)
    assert lease.renew(now + 12)
    assert 50_000 < client.pttl(KEY) <= TTL_S * 1000
    assert lease.mine(now + 13)
    assert not lease.mine(now + 12 + TTL_S)
    lease.release()
    assert client.get(KEY) is None
    lease.release()


def test_a_second_claim_is_told_who_holds_it(arbiter, server):
    now = time.time()
    first = arbiter.claim(now, 1)
    assert connect(server.port).claim(now, 2) == dlm.Busy(first.owner, now + TTL_S)


def test_body_keeps_it_as_long_as_the_key_lives_though_what_it_wrote_has_expired(arbiter, client, body):
    assert body.acquire(ttl_s=7200)
    later = time.time() + 7300
    assert body.keep()
    assert isinstance(arbiter.claim(later, 1), dlm.Busy)
    body.release()
    assert isinstance(arbiter.claim(later, 1), module.Lease)


def _put(client, said, **more):
    client.set(KEY, said if isinstance(said, str) else json.dumps(said), **more)


def test_a_dead_owner_of_this_machine_is_taken_over_and_one_of_another_machine_is_not(arbiter, client, dead_pid):
    said = metadata(NAME, "t", 7200) | {"owner": f"jarvis-{dead_pid}-5.0", "machine_id": dlm.this_machine()}
    _put(client, said | {"machine_id": "linux-elsewhere"}, ex=7200)
    assert isinstance(arbiter.claim(time.time(), 1), dlm.Busy)
    _put(client, said, ex=7200)
    assert isinstance(arbiter.claim(time.time(), 1), module.Lease)


@pytest.mark.parametrize("rubbish", ["", "{", "[]", '{"owner": "jarvis-1-1.0"}'])
def test_what_nobody_can_read_is_left_to_run_out_and_taken_if_it_never_would(arbiter, client, rubbish):
    _put(client, rubbish, ex=100)
    assert arbiter.claim(time.time(), 1) == dlm.Busy("", pytest.approx(time.time(), abs=60))
    _put(client, rubbish)
    assert isinstance(arbiter.claim(time.time(), 1), module.Lease)


def test_what_never_runs_out_is_taken_when_it_says_that_it_has(arbiter, client):
    _put(client, metadata(NAME, "t", 7200))
    assert isinstance(arbiter.claim(time.time(), 1), dlm.Busy)
    assert isinstance(arbiter.claim(time.time() + 7210, 1), module.Lease)


def test_only_the_value_that_was_judged_is_taken_over(arbiter, client, dead_pid, server):
    said = metadata(NAME, "t", 7200) | {"owner": f"jarvis-{dead_pid}-5.0", "machine_id": dlm.this_machine()}
    _put(client, said, ex=7200)
    rival = connect(server.port)

    def judge(pid, started):
        arbiter.alive = dlm.process_alive
        assert isinstance(rival.claim(time.time(), 2), module.Lease)  # faster than we are
        return False

    arbiter.alive = judge
    assert isinstance(arbiter.claim(time.time(), 1), dlm.Busy)


def test_a_key_that_is_gone_or_anothers_is_lost_and_the_others_left_alone(arbiter, client, body):
    now = time.time()
    lease = arbiter.claim(now, 1)
    client.delete(KEY)
    assert not lease.mine(now)
    assert not lease.renew(now + 1)
    assert client.get(KEY) is None
    assert body.acquire()
    lease.release()
    assert not lease.renew(now + 1)
    assert body.keep()


def test_a_renewal_that_comes_too_late_is_none(arbiter):
    now = time.time()
    assert not arbiter.claim(now, 1).renew(now + TTL_S * 2 / 3 + 1)


def test_fences_grow_over_bodys_and_never_below_our_own(arbiter, client, body):
    body.acquire()
    assert arbiter.next_fence(1) == 2
    assert arbiter.next_fence(40) == 40
    assert arbiter.next_fence(40) == 41
    body.release()
    body.acquire()
    assert json.loads(client.get(KEY))["fencing_token"] == 42


def test_a_restarted_daemon_continues_what_its_worker_kept(arbiter, server, worker):
    now = time.time()
    lease = arbiter.claim(now, 3)
    lease.owner = dlm.owner_of(worker.pid)
    assert lease.renew(now)
    heir = connect(server.port)
    assert heir.adopt(now + 10, os.getpid()) is None
    assert heir.adopt(now + 70, worker.pid) is None
    adopted = heir.adopt(now + 10, worker.pid)
    assert (adopted.claim_id, adopted.fence) == (lease.claim_id, 3)
    assert adopted.renew(now + 10)
    assert lease.mine(now + 10)


def test_while_redis_does_not_answer_a_lease_is_believed_until_a_third_before_its_end(tmp_path):
    server = RedisServer(tmp_path)
    server.start()
    try:
        arbiter, now = connect(server.port), time.time()
        lease = arbiter.claim(now, 1)
        server.freeze()
        with pytest.raises(ConnectionError, match=f"Redis at 127.0.0.1:{server.port}.*does not answer"):
            arbiter.claim(now, 2)
        with pytest.raises(ConnectionError):
            lease.renew(now + 39)
        assert lease.mine(now + 39)
        assert not lease.mine(now + 41)
        assert not lease.renew(now + 41)
        server.thaw()
        assert lease.renew(now + 39)
        server.kill()
        server.start()  # it has forgotten everything
        assert not lease.renew(now + 40)
    finally:
        server.thaw() if server._process else None
        server.kill()


def test_a_redis_that_is_not_there_is_named_and_so_is_a_wrong_password(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionError, match="start it, or unset REDIS_HOST"):
            connect(closed.getsockname()[1]).claim(time.time(), 1)
    server = RedisServer(tmp_path, password="sesame")
    server.start()
    try:
        assert isinstance(connect(server.port, redis_password="sesame").claim(time.time(), 1), module.Lease)
        with pytest.raises(ConnectionError, match="Redis at") as wrong:
            connect(server.port, redis_password="nonsense").claim(time.time(), 1)
        assert "nonsense" not in str(wrong.value)
    finally:
        server.kill()


def _python(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_the_daemon_imports_redis_only_where_it_is_configured():
    done = _python("import sys, reactord.daemon; sys.exit('redis' in sys.modules)")
    assert done.returncode == 0, done.stderr


def test_without_the_package_a_configured_redis_is_refused_in_words():
    done = _python("import sys; sys.modules['redis'] = None; import reactord.ipc.arbiter")
    assert "EnvironmentTrouble: REDIS_HOST is set" in done.stderr
    assert "pip install" in done.stderr
