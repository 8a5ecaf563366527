"""Do we understand what Prime's engine says of itself, and can we borrow its memory and return it, whatever it does?"""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest
from support.prime_engine import MODELS, running

from reactord.prime import lease as wire
from reactord.prime.asking import MAX_REPLY_BYTES, is_local, request
from reactord.prime.health import ask
from reactord.prime.lease import Lease, acquire, release, renew


@pytest.fixture
def engine():
    with running() as made:
        yield made


@pytest.fixture
def short(monkeypatch):
    """What a hostile Prime can cost, scaled down."""
    monkeypatch.setattr(wire, "DRAIN_S", 0.2)
    monkeypatch.setattr(wire, "FREE_S", 0.1)
    monkeypatch.setattr(wire, "ANSWER_S", 0.7)
    monkeypatch.setattr(wire, "RENEW_DEADLINE_S", 1.0)


# -- health ------------------------------------------------------------------------------------------------------------
def test_the_engine_says_what_is_loaded_who_has_the_lease_and_whether_it_answers_somebody(engine):
    engine.answering = 2
    before = ask(engine.url)
    got = acquire(engine.url, "job-1", 5.0)
    after = ask(engine.url)

    assert (before.is_prime, before.model_loaded) == (True, True)
    assert before.engine.resident == tuple(MODELS)
    assert (before.engine.lease, before.engine.holder, before.engine.answering) == ("serving", None, 2)
    assert before.engine.sees_gpu
    assert isinstance(got, Lease)
    assert (after.engine.lease, after.engine.holder, after.engine.resident) == ("released", "reactord:job-1", ())
    assert after.model_loaded is False


@pytest.mark.parametrize(
    ("said", "is_prime"),
    [({"model_loaded": False}, True), ({"service": "jarvis_prime", "status": "starting"}, True),
     ({"status": "ok"}, False), ({"service": "my web shop", "lease": {"state": "serving"}}, False)],
)  # fmt: skip
def test_only_who_says_that_it_is_prime_is_taken_for_it(engine, said, is_prime):
    engine.health = lambda: said

    found = ask(engine.url)

    assert found.is_prime == is_prime
    assert found.engine is None


@pytest.mark.parametrize(
    "odd",
    [{"lease": "x"}, {"lease": {"state": 5, "lease": []}}, {"resident": {"a": 1}}, {"gpu": []},
     {"resident": [None, 5, {"name": 7, "inflight": "many"}, {"inflight": True}, {"name": "a", "inflight": -3}]}],
)  # fmt: skip
def test_an_engine_that_says_odd_things_is_believed_nothing_of_them(engine, odd):
    engine.health = lambda: {"service": "jarvis_prime", "component": "engine", **odd}

    found = ask(engine.url).engine

    assert (found.lease, found.holder, found.answering, found.sees_gpu) == (None, None, 0, False)
    assert set(found.resident) <= {"a"}


@pytest.mark.parametrize("manner", ["mute", "endless", "garbage", "fails"])
def test_a_health_that_hangs_or_lies_costs_a_moment_and_says_so_in_words(engine, manner):
    engine.manner["health"] = manner

    began = time.monotonic()
    answer = ask(engine.url, 0.3)

    assert isinstance(answer, str)
    assert time.monotonic() - began < 5
    assert "Prime does not answer" in answer or "without a readable object" in answer


def test_an_endless_answer_is_read_no_further_than_its_limit(engine):
    engine.manner["health"] = "endless"

    status, body = request("GET", f"{engine.url}/health", None, 5.0)

    assert (status, len(body)) == (200, MAX_REPLY_BYTES)


def test_where_nobody_listens_nobody_is_there():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"

    assert ask(url) == f"Prime does not answer at {url} (ConnectionRefusedError)"
    assert "is no address" in ask("http://127.0.0.1:99999")


@pytest.mark.parametrize(
    ("url", "local"),
    [("http://127.0.0.1:8000", True), ("http://localhost", True), ("http://[::1]:8000", True),
     ("http://10.0.0.7:8000", False), ("http://127.0.0.1.example.org", False), ("http://[", False), ("", False)],
)  # fmt: skip
def test_only_this_machine_is_local(url, local):
    assert is_local(url) == local


# -- the lease ---------------------------------------------------------------------------------------------------------
def test_a_lease_is_acquired_renewed_and_given_back_with_the_models_that_were_loaded(engine):
    got = acquire(engine.url, "job-1", 5.0)

    assert (got.job_id, got.renewed_at, got.restore_models) == ("job-1", 5.0, tuple(MODELS))
    assert engine.resident == []
    assert engine.posts("acquire")[0] == {"holder": "reactord:job-1", "purpose": "training", "ttl_s": 300.0,
                                          "drain_timeout_s": 60.0, "release_timeout_s": 60.0}  # fmt: skip
    renewed = renew(got, 65.0)
    assert isinstance(renewed, Lease)
    assert renewed.renewed_at == 65.0
    assert release(renewed)
    assert engine.posts("release") == [{"token": got.token, "restore_models": MODELS}]
    assert (engine.lease, engine.resident) == (None, MODELS)


def test_a_lease_that_somebody_has_is_refused_with_his_name(engine):
    acquire(engine.url, "job-1", 5.0)

    why = acquire(engine.url, "job-2", 6.0)

    assert why == "Prime has lent its memory already: lease busy: state=released, held by reactord:job-1"


@pytest.mark.parametrize(
    ("manner", "says"),
    [("missing", "status 404: Not Found"), ("fails", "status 500"), ("garbage", "cannot be read"),
     ("no token", "named no token"), ("mute", "does not answer"), ("deaf", "does not answer"),
     ("endless", "cannot be read")],
)  # fmt: skip
def test_a_lease_that_is_not_given_says_why_within_its_time(engine, short, manner, says):
    engine.manner["acquire"] = manner

    began = time.monotonic()
    why = acquire(engine.url, "job-1", 5.0)

    assert isinstance(why, str)
    assert says in why
    assert time.monotonic() - began < 5


def test_an_engine_without_a_gpu_fails_and_says_so(engine):
    engine.gpu = False

    assert "status 500: Internal Server Error" in acquire(engine.url, "job-1", 5.0)
    assert not ask(engine.url).engine.sees_gpu  # which is why it is not asked (prime/memory.py)


def test_a_prime_that_was_started_again_knows_of_no_lease(engine):
    got = acquire(engine.url, "job-1", 5.0)
    engine.forget()

    assert renew(got, 6.0) == "lost"
    assert release(got)  # there is nothing left to give back


@pytest.mark.parametrize(
    ("manner", "says"),
    [("mute", "unanswered"), ("fails", "unanswered"), ("garbage", "unanswered"), ("missing", "lost")],
)
def test_a_renewal_that_nobody_understood_is_not_taken_for_an_answer(engine, short, manner, says):
    got = acquire(engine.url, "job-1", 5.0)
    engine.manner["renew"] = manner

    assert renew(got, 6.0) == says


@pytest.mark.parametrize(("manner", "heard"), [("mute", True), ("fails", True), ("garbage", True), ("deaf", False)])
def test_a_return_that_is_not_answered_is_looked_up(engine, short, manner, heard):
    """It may take minutes to load its models again; what counts is whether it has the memory back."""
    got = acquire(engine.url, "job-1", 5.0)
    engine.manner["release"] = manner

    assert release(got, 1.0) == heard
    assert (engine.lease is None) == heard


def test_a_lease_is_read_as_it_was_written_and_anything_else_is_none(tmp_path: Path):
    path = tmp_path / "lease.json"
    lease = Lease("http://127.0.0.1:1", "t", "job-1", 5.0, 300.0, ("a",), pid=7, started=3.5)
    path.write_bytes(lease.dumps())

    assert Lease.read(path) == lease
    odd = [{**json.loads(lease.dumps()), name: [1]} for name in ("base_url", "token", "job_id", "renewed_at", "ttl_s")]
    for text in (
        *map(json.dumps, odd),
        "",
        "{",
        "[]",
        "null",
        "7",
        "[" * 100_000,
        json.dumps({"token": "t"}),
        json.dumps({"restore_models": 5}),
    ):
        path.write_text(text)
        assert Lease.read(path) is None
    assert Lease.read(tmp_path / "none") is None
