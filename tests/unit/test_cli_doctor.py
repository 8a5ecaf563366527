"""Does `doctor` find what is wrong, and name the cure?"""

from __future__ import annotations

import importlib.util
import json
import socket
import sys

import pytest
from support.cli_house import House

from reactord.cli import doctor, main
from reactord.errors import MissingCompiler
from reactord.http import token


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path / "jarvis")
    yield made
    made.close()


@pytest.fixture
def check(house, capsys, monkeypatch):
    """Run doctor; its exit status, and {name: check}. The base model is looked for only where a test wants it."""
    monkeypatch.setattr(doctor, "_base", lambda _settings: [])

    def go():
        code = main(["doctor", "--json", "--home", str(house.home.root)])
        said = json.loads(capsys.readouterr().out)
        assert said["schema_version"] == 1
        assert said["ok"] == (code == 0)
        return code, {found["name"]: found for found in said["checks"]}

    return go


def test_a_sound_machine_passes_every_check(check, house, monkeypatch):
    monkeypatch.setenv("REACTOR_PORT", "0")
    monkeypatch.delenv("TRINITY_PORT", raising=False)
    code, found = check()
    assert code == 0, [f for f in found.values() if not f["ok"]]
    assert list(found) == [
        "python", "kernels", "C compiler", "training", "home", "disk", "memory", "settings", "daemon", "port", "ledger",
        "Prime", "clock",
    ]  # fmt: skip
    assert all(not finding["cure"] for finding in found.values())


def test_each_check_is_a_line_and_each_cure_another(house, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_base", lambda _settings: [])
    house.home.reactor.chmod(0o755)
    assert main(["doctor", "--home", str(house.home.root)]) == 4
    lines = capsys.readouterr().out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("✗ home"))
    assert lines[at + 1].strip() == (
        f"→ others can read what was said to the assistant: chmod 700 {house.home.reactor}"
    )


def test_missing_training_packages_are_found_without_importing_any(check, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("trl", "gguf") else real(name))
    code, found = check()
    assert code == 4
    assert found["training"]["found"] == "missing: trl, gguf"
    assert found["training"]["cure"] == "make install"


def test_kernels_that_are_not_built_name_the_command(check, monkeypatch):
    class Broken:
        def __getattr__(self, name):
            raise MissingCompiler("The C kernels did not load. Build them: make install")

    monkeypatch.setitem(sys.modules, "reactord.kernels.minhash", Broken())
    _, found = check()
    assert not found["kernels"]["ok"]
    assert found["kernels"]["cure"].endswith("make install")


def test_kernels_that_compute_nonsense_fail_their_self_test(check, monkeypatch):
    monkeypatch.setattr("reactord.kernels.minhash.near_duplicates", lambda texts: [0, 0, 0])
    _, found = check()
    assert "self-test FAILED" in found["kernels"]["found"]


def test_a_full_disk_and_little_memory_are_told_with_what_is_needed(check, monkeypatch):
    monkeypatch.setattr(doctor, "MIN_FREE_BYTES", 10**18)
    monkeypatch.setattr(doctor, "MIN_MEMORY_BYTES", 10**18)
    _, found = check()
    assert "--home" in found["disk"]["cure"]
    assert "wait" in found["memory"]["cure"]


def test_a_home_that_is_a_file_is_not_one_that_is_yet_to_be_made(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["doctor", "--home", str(tmp_path / "file")]) != 0
    assert "is no directory" in capsys.readouterr().out


def test_a_port_of_somebody_else_is_found(check, monkeypatch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setenv("TRINITY_PORT", str(other.getsockname()[1]))
        _, found = check()
    assert not found["port"]["ok"]
    assert "ss -ltnp" in found["port"]["cure"]


def test_another_address_is_told_with_its_token(check, house, monkeypatch):
    monkeypatch.setenv("TRINITY_PORT", "0")
    monkeypatch.setenv("REACTOR_HOST", "192.0.2.1")
    assert "made at the next start" in check()[1]["reach"]["found"]
    token.made(house.home.http_token)
    found = check()[1]["reach"]
    assert found["ok"]
    assert str(house.home.http_token) in found["found"]
    assert "not encrypted" in found["found"]
    house.home.http_token.chmod(0o644)
    found = check()[1]["reach"]
    assert not found["ok"]
    assert "remove it" in found["cure"]


def test_an_alias_that_is_taken_is_found(check, monkeypatch):
    monkeypatch.setenv("TRINITY_PORT", "0")
    assert "alias ports" not in check()[1]
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setenv("REACTOR_ALIAS_PORTS", str(port))
        found = check()[1]["alias ports"]
    assert (found["ok"], found["found"]) == (False, f"{port} taken")
    assert "REACTOR_ALIAS_PORTS" in found["cure"]


def test_our_own_port_is_not_somebody_elses(check, house):
    with house.running():
        _, found = check()
    assert found["port"]["ok"]
    assert found["port"]["found"].endswith("ours")
    assert found["daemon"]["ok"]


def test_a_broken_config_is_explained(check, house):
    house.home.config.write_text("{")
    _, found = check()
    assert not found["settings"]["ok"]
    assert "not valid JSON" in found["settings"]["cure"]


@pytest.mark.parametrize(("name", "cure"), [("index_db", "from the journal"), ("state_db", "from a backup")])
def test_a_broken_database_names_its_own_cure(check, house, name, cure):
    house.close()
    path = getattr(house.home, name)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.write_bytes(b"this is no database, " * 500)
    _, found = check()
    assert not found["ledger"]["ok"]
    assert cure in found["ledger"]["cure"]


def test_a_clock_behind_the_daemons_last_word_is_wrong(check, house):
    house.state(status="offline", timestamp=4_000_000_000.0)
    _, found = check()
    assert not found["clock"]["ok"]


def test_the_base_model_is_looked_for_by_a_process_of_its_own(house, tmp_path, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "reactord.worker.base", raising=False)  # another test may have wanted it
    house.home.config.write_text(json.dumps({"base_model": str(tmp_path / "no.gguf"), "port": 0}))
    assert main(["doctor", "--json", "--home", str(house.home.root)]) == 4
    found = {f["name"]: f for f in json.loads(capsys.readouterr().out)["checks"]}
    assert f"no base model at {tmp_path}/no.gguf" in found["base model"]["cure"]
    assert "reactord.worker.base" not in sys.modules
