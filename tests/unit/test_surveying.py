"""What is seen of the machine, of Prime and of the house; and what the settings allow."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest

from reactord.errors import BadConfig
from reactord.jobs.negotiating import NO_PRIME
from reactord.jobs.planning import GIB
from reactord.jobs.surveying import Heard, bounds_of, policy_of, survey
from reactord.prime import memory as prime_memory
from reactord.prime.health import Engine, Health
from reactord.prime.memory import Holding, holding
from reactord.prime.snapshot import look
from reactord.settings import Settings, load

NOW = 2_000_000_000.0
MIB = 1024**2


@pytest.fixture
def seen(home):
    """Prime's own words and process as they were looked at; change what is needed."""
    return replace(look(home, NOW), heard_at=NOW - 3, status="ready", base_url="http://127.0.0.1:1")


@pytest.fixture
def model(fast_dir):
    path = fast_dir / "model.gguf"
    with path.open("wb") as file:
        file.truncate(700 * MIB)
    return str(path)


@pytest.fixture
def prime(seen, model):
    return replace(seen, pid=7, rss_bytes=300 * MIB, model_path=model)


@pytest.fixture
def nothing_remembered(monkeypatch):
    monkeypatch.setattr(prime_memory, "_most_ever", lambda pid: None)


def test_a_prime_that_nobody_heard_of_is_not_there(home):
    assert holding(look(home, NOW), unified=False) == NO_PRIME


@pytest.mark.parametrize(
    ("heard_ago_s", "status", "alive"),
    [(3, "ready", True), (119, None, True), (121, "ready", False), (3, "stopped", False)],
)
def test_a_prime_that_fell_silent_or_said_goodbye_is_not_there(seen, heard_ago_s, status, alive):
    assert holding(replace(seen, heard_at=NOW - heard_ago_s, status=status), unified=False).alive == alive


def test_a_prime_that_lives_and_cannot_be_weighed_is_unknown_and_not_zero(seen, model):
    assert holding(replace(seen, model_path=model), unified=False) == Holding(True, None, None)


@pytest.mark.parametrize(
    ("loaded", "path", "unified", "reach_mib"),  # it holds 300 MiB, its model is of 700
    [
        (True, True, False, 700),  # mapped, and not all of it touched yet
        (True, True, True, 1000),  # given to the GPU, whose memory is the same
        (False, True, False, 1000),
        (None, True, False, 1000),
        (True, False, False, 300),
        (False, False, False, None),
        (None, False, False, None),
    ],
)
@pytest.mark.usefixtures("nothing_remembered")
def test_what_prime_may_reach_is_what_it_holds_and_has_still_to_load(prime, loaded, path, unified, reach_mib):
    looked_at = replace(prime, model_loaded=loaded, model_path=prime.model_path if path else None)

    found = holding(looked_at, unified=unified)

    assert found.held_bytes == 300 * MIB
    assert found.may_reach_bytes == (None if reach_mib is None else reach_mib * MIB)


def test_what_prime_has_held_before_it_may_hold_again(seen, monkeypatch):
    monkeypatch.setattr(prime_memory, "_most_ever", lambda pid: 900 * MIB)

    found = holding(replace(seen, pid=7, rss_bytes=300 * MIB, model_loaded=True), unified=False)

    assert found.may_reach_bytes == 900 * MIB


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="only Linux remembers the most a process has held")  # noqa: PTH110
def test_linux_remembers_the_most_that_a_process_has_held():
    assert prime_memory._most_ever(os.getpid()) >= psutil.Process().memory_info().rss * 0.5
    assert prime_memory._most_ever(None) is None


def test_a_prime_that_names_no_process_is_found_by_the_port_it_listens_on(seen):
    """Prime A's heartbeat has a port and no pid."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = holding(replace(seen, base_url=f"http://127.0.0.1:{port}", model_loaded=True), unified=False)

    assert found.alive
    assert found.held_bytes == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert found.may_reach_bytes >= found.held_bytes


def test_a_prime_on_another_machine_is_not_weighed_on_this_one(seen):
    assert holding(replace(seen, base_url="http://10.0.0.7:8000"), unified=False).held_bytes is None


def test_the_survey_counts_our_workers_and_names_the_others_of_the_house(home):
    pid = os.getpid()
    services = {"jarvis-body": {"pid": pid}, "reactor-core": {"pid": pid}, "jarvis-prime": {"pid": 99999999},
                "gone": {"pid": 99999998}, "odd": "?", "odder": {"pid": True}}  # fmt: skip
    (home.registry / "services.json").write_text(json.dumps(services))

    found = survey(home, NOW, [(3 * GIB, 5 * GIB), (2 * GIB, GIB)])

    assert (found.ours_held_bytes, found.ours_to_come_bytes) == (5 * GIB, 2 * GIB)
    assert [name for name, _ in found.others] == ["jarvis-body"]
    assert 0 < found.available_bytes <= found.total_bytes
    assert found.prime == NO_PRIME


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 10_000])
def test_a_registry_that_cannot_be_read_names_nobody(home, text):
    (home.registry / "services.json").write_text(text)

    assert survey(home, NOW).others == ()


# -- the settings ------------------------------------------------------------------------------------------------------
def test_the_policy_is_the_settings_numbers(home):
    environ = {"MAX_TOTAL_MEMORY_GB": "32", "TRAINING_MEMORY_RESERVE_GB": "20", "JPRIME_MEMORY_THRESHOLD_GB": "8",
               "REACTOR_MEMORY_HEADROOM_GB": "2", "REACTOR_PRIME_LEASE": "yes"}  # fmt: skip
    environ |= {"RESOURCE_CHECK_INTERVAL": "5", "TRAINING_SLOT_TIMEOUT": "60"}
    policy = policy_of(load(home, environ))

    assert (policy.limit_bytes, policy.reserve_bytes, policy.prime_threshold_bytes, policy.headroom_bytes) == (
        32 * GIB, 20 * GIB, 8 * GIB, 2 * GIB,
    )  # fmt: skip
    assert (policy.look_again_s, policy.patience_s, policy.may_lease) == (5, 60, True)
    assert not policy_of(load(home, {})).may_lease  # Prime falls silent only when its owner said that it may


def test_a_reserve_larger_than_the_limit_is_the_limit():
    policy = policy_of(Settings(max_total_memory_gb=16))

    assert (policy.limit_bytes, policy.reserve_bytes, policy.prime_threshold_bytes) == (16 * GIB, 16 * GIB, 16 * GIB)


def test_a_job_shrinks_no_further_than_the_settings_say():
    settings = Settings(min_length_tokens=64, min_lora_rank=2)

    assert (bounds_of(settings).min_length_tokens, bounds_of(settings).min_lora_rank) == (64, 2)
    assert bounds_of(settings, only_batch=True).only_batch


@pytest.mark.parametrize(
    ("name", "value"),
    [("TRAINING_MEMORY_RESERVE_GB", "0"), ("JPRIME_MEMORY_THRESHOLD_GB", "-1"), ("LOCAL_TRAINING_MAX_SIZE_MB", "0"),
     ("CLOUD_TRAINING_MIN_SIZE_MB", "-1"), ("REACTOR_MIN_LENGTH_TOKENS", "8"), ("REACTOR_MIN_LORA_RANK", "0"),
     ("RESOURCE_CHECK_INTERVAL", "0"), ("TRAINING_SLOT_TIMEOUT", "soon")],
)  # fmt: skip
def test_a_setting_out_of_bounds_is_refused_by_its_name(home, name, value):
    with pytest.raises(BadConfig, match=f"the environment variable {name}.*Correct it and start again"):
        load(home, {name: value})


# -- what Prime says when it is asked ----------------------------------------------------------------------------------
HEALTH = Health(model_loaded=True, model_path=None, ready=True)
ENGINE = Engine(lease="serving", holder=None, resident=("m",), answering=0, sees_gpu=True)
MODELS_BYTES = 64 * MIB


@pytest.fixture
def engine_process(seen):
    """A process that listens, and one that it started and that holds a model; (its url, its pid)."""
    holds = f"held = bytearray(b'x') * {MODELS_BYTES}; print('ready', flush=True); input()"
    listens = (
        "import socket, subprocess, sys; server = socket.create_server(('127.0.0.1', 0));"
        f"child = subprocess.Popen([sys.executable, '-S', '-c', {holds!r}], stdin=subprocess.PIPE,"
        " stdout=subprocess.PIPE, text=True); child.stdout.readline();"
        "print(server.getsockname()[1], flush=True); input(); child.kill()"
    )
    process = subprocess.Popen([sys.executable, "-S", "-c", listens], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True)  # fmt: skip
    yield f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid
    process.stdin.close()
    process.wait(timeout=10)
    process.stdout.close()


def test_what_prime_says_at_health_beats_its_files_and_a_silent_one_is_still_what_its_files_say(prime):
    said = replace(HEALTH, model_loaded=False)

    assert holding(prime, unified=False, health=said).may_reach_bytes == 1000 * MIB
    assert holding(replace(prime, model_loaded=True), unified=False, health="no answer").may_reach_bytes is not None
    assert holding(replace(prime, heard_at=None), unified=False, health=said).alive


def test_who_answers_at_the_port_and_does_not_say_that_it_is_prime_is_nobody(seen):
    nobody = replace(seen, heard_at=None)

    assert holding(nobody, unified=False, health=replace(HEALTH, is_prime=False)) == NO_PRIME
    assert holding(nobody, unified=False, health=HEALTH) == Holding(True, None, None)


def test_the_engine_is_weighed_with_its_models_and_would_lend_them(seen, engine_process):
    """It writes no files: nobody would know of it without asking."""
    url, pid = engine_process
    silent, said = replace(seen, heard_at=None, base_url=url), replace(HEALTH, engine=ENGINE)
    found = holding(silent, unified=False, health=said)

    assert found.held_bytes > MODELS_BYTES + psutil.Process(pid).memory_info().rss
    assert found.may_reach_bytes is None  # it loads what it is asked for
    assert MODELS_BYTES < found.leasable_bytes < MODELS_BYTES + 16 * MIB  # of a bare Python, no more
    assert prime_memory.process_at(url) == (pid, psutil.Process(pid).create_time())


@pytest.mark.parametrize(
    "engine",
    [replace(ENGINE, answering=1), replace(ENGINE, lease="released"), replace(ENGINE, lease=None),
     replace(ENGINE, sees_gpu=False)],
)  # fmt: skip
def test_an_engine_that_answers_somebody_or_has_lent_its_memory_or_cannot_prove_that_it_is_free_lends_nothing(
    seen, engine_process, engine
):
    looked_at = replace(seen, base_url=engine_process[0])

    found = holding(looked_at, unified=False, health=replace(HEALTH, engine=engine))

    assert found.held_bytes > MODELS_BYTES
    assert found.leasable_bytes is None


def test_an_engine_that_has_lent_us_its_memory_reaches_no_further_than_what_it_holds(seen, engine_process):
    looked_at = replace(seen, base_url=engine_process[0])
    lent = replace(HEALTH, engine=replace(ENGINE, lease="released"))

    found = holding(looked_at, unified=False, health=lent, leased=True)

    assert found.held_bytes == found.may_reach_bytes


def test_a_process_is_itself_only_with_its_start():
    started = psutil.Process().create_time()

    assert prime_memory.is_there(os.getpid(), started)
    assert not prime_memory.is_there(os.getpid(), started - 60)
    assert not prime_memory.is_there(99999999, started)


def test_the_survey_counts_what_prime_was_heard_to_say(home, monkeypatch, engine_process):
    monkeypatch.setenv("JARVIS_PRIME_URL", engine_process[0])
    said = replace(HEALTH, engine=ENGINE)

    assert survey(home, NOW).prime == NO_PRIME
    assert survey(home, NOW, heard=Heard(said)).prime.leasable_bytes > 0
    lent = survey(home, NOW, heard=Heard(said, leased=True)).prime
    assert (lent.may_reach_bytes, lent.leasable_bytes) == (lent.held_bytes, None)
