"""Does Body's supervisor start us, whatever interpreter it uses?"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reactord import cli

SCRIPT = Path(__file__).parents[2] / "run_reactor.py"
#: finds no package but the standard library: what the supervisor's own interpreter may be like
FOREIGN = (sys.executable, "-S", "-E")


@pytest.fixture
def root(tmp_path):
    """The script with the package beside it, as in a checkout."""
    shutil.copy(SCRIPT, tmp_path)
    (tmp_path / "reactord").symlink_to(SCRIPT.parent / "reactord")
    return tmp_path


def start(root, *arguments):
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [*FOREIGN, str(root / SCRIPT.name), *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
        env=environment,
    )


def put_interpreter(root, script):
    ours = root / ".venv" / "bin" / "python"
    ours.parent.mkdir(parents=True)
    ours.write_text(f"#!/bin/sh\n{script}\n")
    ours.chmod(0o755)


def test_the_arguments_are_passed_on_to_run(monkeypatch):
    asked = []
    monkeypatch.setattr(cli, "main", lambda arguments: asked.append(arguments) or 3)
    monkeypatch.setattr(sys, "argv", ["run_reactor.py", "--port", "8090"])

    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(SCRIPT), run_name="__main__")

    assert (left.value.code, asked) == (3, [["run", "--port", "8090"]])


def test_an_interpreter_that_lacks_what_we_import_becomes_ours_with_the_same_pid_and_arguments(root):
    put_interpreter(root, 'echo "$@"')

    done = start(root, "--port", "8090")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [str(root / "run_reactor.py"), "--port", "8090"]


def test_without_an_installation_one_line_says_what_to_do(root):
    done = start(root)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"reactord is not installed. Run: make -C {root} install\n"
