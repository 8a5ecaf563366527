"""Does a machine without a compiler, or without the built kernels, say what to type?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(arguments, directory, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def sources(tmp_path):
    """What building the kernels and importing their package needs, without anything built."""
    shutil.copytree(ROOT / "native", tmp_path / "native")
    shutil.copy(ROOT / "setup.py", tmp_path)
    for name in ("__init__.py", "errors.py", "kernels/__init__.py"):
        (tmp_path / "reactord" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "reactord" / name, tmp_path / "reactord" / name)
    return tmp_path


def test_an_install_without_a_compiler_stops_and_says_what_to_install(sources):
    done = run(["setup.py", "build_ext", "--inplace"], sources, CC="/nonexistent/cc")
    assert done.returncode != 0
    for line in ("apt-get install", "dnf install", "xcode-select --install", "make install", "error: "):
        assert line in done.stderr
    assert not list(sources.glob("reactord/kernels/_native*.so"))


def test_an_install_with_broken_c_stops_the_same_way(sources):
    (sources / "native" / "src" / "minhash.c").write_text("this is not C\n")
    done = run(["setup.py", "build_ext", "--inplace"], sources)
    assert done.returncode != 0
    assert "make install" in done.stderr


def test_importing_unbuilt_kernels_names_the_command(sources):
    done = run(["-c", "import reactord.kernels"], sources)
    assert done.returncode != 0
    assert "reactord.errors.MissingCompiler" in done.stderr
    assert "make install" in done.stderr


def test_kernels_of_another_version_are_refused(sources):
    (sources / "reactord" / "kernels" / "_native.py").write_text(
        "class lib:\n    rk_abi_version = staticmethod(lambda: 99)\nffi = None\n"
    )
    done = run(["-c", "import reactord.kernels"], sources)
    assert "reactord.errors.MissingCompiler" in done.stderr
    assert "version 99" in done.stderr
    assert "make install" in done.stderr


def test_the_kernels_need_no_numpy(sources):
    done = run(["-c", "import sys, reactord.kernels.minhash; sys.exit('numpy' in sys.modules)"], ROOT)
    assert done.returncode == 0, done.stderr
