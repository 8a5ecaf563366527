"""What other repositories share with us byte for byte, and what a forger could try."""

from __future__ import annotations

import hashlib
import hmac
import json
import time

import pytest

from reactord import managed

SESSION, SECRET = "s-1", "swordfish"
ENVELOPE = {
    "liveness", "readiness", "session_id", "pid", "start_time_ns", "exec_fingerprint", "subsystem_role",
    "schema_version", "capability_hash", "observed_at_ns", "wall_time_utc",
}  # fmt: skip


def _forged(at, nonce="n", session=SESSION, secret=SECRET):
    total = hmac.new(secret.encode(), f"{at}:{nonce}:{session}".encode(), hashlib.sha256).hexdigest()
    return f"{at}:{nonce}:{total}"


def test_the_numbers_that_are_shared():
    assert managed.SCHEMA_VERSION == "1.0.0"
    assert managed.EXIT_CLEAN == 0
    assert 100 <= managed.EXIT_CONFIG_ERROR < managed.EXIT_CONTRACT_MISMATCH <= 109
    assert 200 <= managed.EXIT_DEPENDENCY_FAILURE <= 209
    assert 300 <= managed.EXIT_RUNTIME_FATAL <= 309
    assert managed.EXIT_RUNTIME_FATAL % 256 == 44


@pytest.mark.parametrize(("value", "is_so"), [("true", True), ("TRUE", True), ("1", False), ("", False)])
def test_managed_is_asked_anew_each_time(monkeypatch, value, is_so):
    monkeypatch.setenv("JARVIS_ROOT_MANAGED", value)
    assert managed.is_root_managed() is is_so


def test_without_a_session_the_health_is_as_it_was(monkeypatch):
    monkeypatch.delenv("JARVIS_ROOT_SESSION_ID", raising=False)
    assert managed.build_health_envelope({"a": 1}, "ready") == {"a": 1}


@pytest.mark.parametrize("readiness", ["ready", "not_ready", "degraded", "draining"])
def test_with_a_session_the_envelope_has_every_key(monkeypatch, readiness):
    monkeypatch.setenv("JARVIS_ROOT_SESSION_ID", SESSION)
    said = managed.build_health_envelope({"status": "healthy"}, readiness)
    assert set(said) >= ENVELOPE | {"status"}
    assert (said["readiness"], said["session_id"], said["liveness"]) == (readiness, SESSION, "up")
    assert (said["start_time_ns"], said["exec_fingerprint"]) == (None, ""), "else the supervisor refuses us"


def test_a_proof_is_of_its_session_and_secret_and_of_now():
    proof = managed.build_hmac_auth(SESSION, SECRET)
    assert managed.verify_hmac_auth(proof, SESSION, SECRET)
    assert not managed.verify_hmac_auth(proof, "s-2", SECRET)
    assert not managed.verify_hmac_auth(proof, SESSION, "other")
    assert managed.verify_hmac_auth(_forged(int(time.time())), SESSION, SECRET), "the format is the shared one"
    for at in (int(time.time()) - 60, int(time.time()) + 60):
        assert not managed.verify_hmac_auth(_forged(at), SESSION, SECRET)


@pytest.mark.parametrize("at", ["nan", "inf", "-1", "1e9", " 1", "1_000", "٣", ""])
def test_a_timestamp_that_is_not_plain_digits_proves_nothing(at):
    assert not managed.verify_hmac_auth(_forged(at), SESSION, SECRET)


def test_an_empty_secret_proves_nothing():
    assert not managed.verify_hmac_auth(_forged(int(time.time()), secret=""), SESSION, "")


def test_a_proof_counts_once():
    proofs, proof = managed.Proofs(), managed.build_hmac_auth(SESSION, SECRET)
    assert proofs.accept(proof, SESSION, SECRET)
    assert not proofs.accept(proof, SESSION, SECRET)
    assert proofs.accept(managed.build_hmac_auth(SESSION, SECRET), SESSION, SECRET)


def test_a_proof_that_is_older_than_we_are_counts_for_nobody():
    used = _forged(int(time.time()) - 1)
    assert managed.verify_hmac_auth(used, SESSION, SECRET)
    assert not managed.Proofs().accept(used, SESSION, SECRET)


def test_fingerprints_are_the_shared_ones():
    said = json.dumps({"binary": "python3", "cmdline": ["x"]}, sort_keys=True, separators=(",", ":"))
    assert managed.compute_exec_fingerprint("python3", ["x"]) == (
        f"sha256:{hashlib.sha256(said.encode()).hexdigest()[:16]}"
    )
    assert len(managed.compute_capability_hash({"a": 1})) == 64
    assert managed.capability_list_hash(["b", "a"]) == f"sha256:{hashlib.sha256(b'a,b').hexdigest()[:16]}"
