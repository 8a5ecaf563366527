"""How supervisors agree with us and have us leave: contract/lifecycle.md 1 and 2, contract/body.md 1.9."""

from __future__ import annotations

import hashlib
import hmac
import json
import time

import pytest
from support.http_daemon import house_in, served

DRAIN, HANDSHAKE = "/lifecycle/drain", "/lifecycle/handshake"
SESSION, SECRET = "session-1", "swordfish"
ENVELOPE = {
    "liveness", "readiness", "session_id", "pid", "start_time_ns", "exec_fingerprint", "subsystem_role",
    "schema_version", "capability_hash", "observed_at_ns", "wall_time_utc",
}  # fmt: skip


@pytest.fixture
def house(tmp_path, monkeypatch):
    for name in ("JARVIS_ROOT_SESSION_ID", "JARVIS_CONTROL_PLANE_SECRET", "JARVIS_SUBSYSTEM_ROLE"):
        monkeypatch.delenv(name, raising=False)
    with house_in(tmp_path) as house:
        yield house


@pytest.fixture
def managed(monkeypatch):
    monkeypatch.setenv("JARVIS_ROOT_SESSION_ID", SESSION)
    monkeypatch.setenv("JARVIS_CONTROL_PLANE_SECRET", SECRET)


def proof(at=None, nonce="n1", session=SESSION, secret=SECRET) -> str:
    """What the orchestrator signs, written down again from the contract."""
    at = int(time.time()) if at is None else at
    signed = hmac.new(secret.encode(), f"{at}:{nonce}:{session}".encode(), hashlib.sha256).hexdigest()
    return f"{at}:{nonce}:{signed}"


async def drain(at, document, auth=None):
    headers = {"Content-Type": "application/json"} | ({} if auth is None else {"X-Root-Auth": auth})
    return await at.post(DRAIN, data=json.dumps(document).encode(), headers=headers)


# -- draining ----------------------------------------------------------------------------------------------------------


async def test_who_leaves_is_ready_at_no_door(house):
    async with served(house) as at:
        assert (await at.get("/health/ready")) == (200, {"ready": True})
        assert (await drain(at, {}))[0] == 200
        assert (await at.get("/health/ready")) == (503, {"ready": False})
        _, health = await at.get("/health")
        assert (health["status"], health["phase"], health["ready"]) == ("draining", "draining", False)
        _, status = await at.get("/api/v1/status")
        assert (status["status"], status["phase"]) == ("draining", "draining")
        assert (await at.get("/api/trinity/state"))[1]["status"] == "draining"
        assert (await at.post(HANDSHAKE, {}))[1]["metadata"]["phase"] == "draining"
        async with at.session.get(at.base + "/metrics") as scraped:
            assert "reactord_ready 0.0" in (await scraped.text()).splitlines()


@pytest.mark.parametrize("path", ["/api/training/cancel/a1", "/api/v1/training/cancel/a1"])
async def test_while_we_leave_work_is_not_begun_and_can_be_ended(house, path):
    """A job that is not cancelled now goes on after the next start."""
    house.queue("a1")
    async with served(house) as at:
        await drain(at, {})
        assert (await at.post("/api/training/start", {"job_id": "a2"}))[0] == 503
        status, said = await at.post(path)
    assert (status, said["cancelled"]) == (200, True)
    assert house.store.job("a1").state == "cancelled"


@pytest.mark.parametrize("document", [{}, {"timeout_s": 30}, {"timeout_s": 12.5}, {"session_id": "whatever"}])
async def test_without_a_session_and_a_secret_any_local_program_may(house, document):
    async with served(house) as at:
        status, said = await drain(at, document, "")
    assert (status, said["status"]) == (200, "draining")
    assert said["drain_id"] == house.draining


async def test_the_orchestrators_drain_is_a_200_and_the_second_one_changes_nothing(house, managed):
    async with served(house) as at:
        status, first = await drain(at, {"session_id": SESSION}, proof(nonce="n1"))
        assert (status, first["status"], first["session_id"]) == (200, "draining", SESSION)
        status, second = await drain(at, {"session_id": SESSION}, proof(nonce="n2"))
    assert (status, second) == (200, first | {"status": "already_draining"})


async def test_another_session_is_a_409_before_anything_is_proven(house, managed):
    async with served(house) as at:
        for auth in (None, proof(session="session-2"), proof()):
            status, said = await drain(at, {"session_id": "session-2"}, auth)
            assert status == 409
            assert said["hint"]
    assert house.draining is None


#: made when they are sent: a proof is good for 30 s
UNPROVEN = {
    "nothing": lambda: None, "empty": lambda: "", "a word": lambda: "x", "a colon": lambda: ":", "colons": lambda: "::",
    "an empty secret": lambda: proof(secret=""), "a guess": lambda: proof(secret="guess"),
    "another session": lambda: proof(session="session-2"), "1970": lambda: proof(at=0),
    "an hour ago": lambda: proof(at=int(time.time()) - 3600), "in an hour": lambda: proof(at=int(time.time()) + 3600),
    "nan": lambda: proof(at="nan"), "inf": lambda: proof(at="inf"), "1e9": lambda: proof(at="1e9"),
    "-1": lambda: proof(at="-1"), "no nonce": lambda: proof(nonce=""), "a colon in it": lambda: proof(nonce="a:b"),
    "too short": lambda: proof()[:-1], "too long": lambda: proof() + "0", "in capitals": lambda: proof().upper(),
}  # fmt: skip


@pytest.mark.parametrize("auth", UNPROVEN.values(), ids=UNPROVEN)
async def test_with_a_secret_only_who_proves_it_may(house, managed, auth):
    async with served(house) as at:
        status, said = await drain(at, {"session_id": SESSION}, auth())
        assert (await at.get("/health/ready"))[0] == 200
    assert status == 403
    assert said["hint"]
    assert house.draining is None


async def test_locality_drivers_form_proves_nothing_where_there_is_a_secret(house, managed):
    async with served(house) as at:
        assert (await drain(at, {"timeout_s": 30}))[0] == 403
        assert (await drain(at, {"timeout_s": 30}, proof()))[0] == 200


async def test_an_empty_secret_asks_for_no_proof_and_makes_none(house, monkeypatch):
    monkeypatch.setenv("JARVIS_ROOT_SESSION_ID", SESSION)
    monkeypatch.setenv("JARVIS_CONTROL_PLANE_SECRET", "")
    async with served(house) as at:
        assert (await drain(at, {"session_id": "session-2"}, proof(session="session-2", secret="")))[0] == 409
        assert (await drain(at, {"session_id": SESSION}, proof(secret="")))[0] == 200


async def test_a_proof_counts_once(house, managed):
    async with served(house) as at:
        used = proof()
        assert (await drain(at, {"session_id": SESSION}, used))[0] == 200
        assert (await drain(at, {"session_id": SESSION}, used))[0] == 403
        assert (await drain(at, {"session_id": SESSION}, proof(nonce="n2")))[0] == 200


async def test_a_proof_that_was_made_before_we_started_counts_for_nobody(house, managed):
    """Else what drained the last reactord drains the next one, too: its nonces are forgotten with it."""
    used = proof(at=int(time.time()) - 2)
    async with served(house) as at:
        assert (await drain(at, {"session_id": SESSION}, used))[0] == 403
        assert house.draining is None
        assert (await drain(at, {"session_id": SESSION}, proof()))[0] == 200


# -- managed mode ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/health", "/api/health"])
async def test_without_a_session_the_health_carries_no_envelope(house, path):
    async with served(house) as at:
        _, health = await at.get(path)
    assert not ENVELOPE & set(health)


async def test_with_a_session_the_health_is_in_its_envelope(house, managed):
    async with served(house) as at:
        _, health = await at.get("/health")
        assert set(health) >= ENVELOPE
        assert (health["liveness"], health["session_id"], health["schema_version"]) == ("up", SESSION, "1.0.0")
        assert health["subsystem_role"] == "reactor"
        assert type(health["pid"]) is int
        assert type(health["observed_at_ns"]) is int
        _, capabilities = await at.get("/capabilities")
        assert health["capability_hash"] == capabilities["capability_hash"]
        assert (health["training_ready"], health["phase"]) == (True, "ready"), "for those who read only the health"
        said = [health["readiness"]]
        house.troubles = ("the disk is full",)
        said.append((await at.get("/health"))[1]["readiness"])
        await drain(at, {"session_id": SESSION}, proof())
        _, health = await at.get("/health")
        said.append(health["readiness"])
        assert health["drain_id"] == house.draining
        house.draining, house.phase = None, "starting"
        said.append((await at.get("/health"))[1]["readiness"])
    assert said == ["ready", "degraded", "draining", "not_ready"]


# -- agreeing ----------------------------------------------------------------------------------------------------------


async def test_capabilities_are_hashed_as_the_registry_hashes_them(house):
    async with served(house) as at, at.session.get(at.base + "/capabilities") as answer:
        said, etag = await answer.json(), answer.headers["ETag"]
    found = hashlib.sha256(",".join(sorted(said["capabilities"])).encode()).hexdigest()[:16]
    assert said == {
        "provider_id": "reactor-core", "capabilities": said["capabilities"], "schema_version": [0, 1, 0],
        "capability_hash": f"sha256:{found}", "etag": f'"v0.1.0-{found}"',
    }  # fmt: skip
    assert etag == said["etag"]


PROPOSAL = {
    "supervisor_epoch": 1, "supervisor_instance_id": "s:1:abc", "expected_api_version_min": "1.0.0",
    "expected_api_version_max": "1.9.9", "required_capabilities": ["training"], "health_schema_hash": "abc123",
    "heartbeat_interval_s": 5.0, "heartbeat_ttl_s": 30.0, "protocol_version": "1.0.0",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "accepted"),
    [
        ({}, True),
        ({"expected_api_version_min": "1.0.0", "expected_api_version_max": "1.0.0"}, True),
        ({"expected_api_version_min": "1.0.1"}, False),
        ({"expected_api_version_max": "0.9.9"}, False),
        ({"expected_api_version_max": "1.0"}, True),
        ({"expected_api_version_min": "2.0.0", "expected_api_version_max": "2.9.9"}, False),
        ({"expected_api_version_min": None, "expected_api_version_max": None}, True),
        ({"required_capabilities": []}, True),
        ({"required_capabilities": ["training", "inference"]}, False),
    ],
)
async def test_the_handshake_of_the_contract_enforcer(house, changed, accepted):
    async with served(house) as at:
        status, said = await at.post(HANDSHAKE, PROPOSAL | changed)
        house.phase = "starting"
        assert (await at.post(HANDSHAKE, PROPOSAL | changed))[1]["accepted"] is accepted, "a component that starts, too"
    assert (status, said["accepted"], said["api_version"]) == (200, accepted, "1.0.0")
    assert set(said) == {
        "accepted", "component_instance_id", "api_version", "capabilities", "health_schema_hash", "rejection_reason",
        "metadata",
    }  # fmt: skip
    assert "training" in said["capabilities"]
    assert said["component_instance_id"]
    assert bool(said["rejection_reason"]) is not accepted
