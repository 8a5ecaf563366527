"""What every test starts from: a home of its own, an environment without ours, and the real disk put back."""

from __future__ import annotations

import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from reactord import durable
from reactord.home import Home

pytest.register_assert_rewrite("support", "crash")

settings.register_profile(
    "reactord", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("reactord")

# A shell's background job ignores ^C, and so would every process that a test starts, and tells it to by that signal
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHM = Path("/dev/shm")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """What a test says on its way may be no text, and a report goes to another process, which wants text."""
    report = yield
    report.sections = [(name, said.encode("utf-8", "backslashreplace").decode()) for name, said in report.sections]
    return report


@pytest.fixture(autouse=True)
def _foreign_places_are_not_ours(monkeypatch):
    # COLUMNS: of the terminal of who runs the tests, as pytest-xdist tells its workers
    for name in ("JARVIS_HOME", "TELEMETRY_OUTPUT_DIR", "JARVIS_REGISTRY_DIR", "JARVIS_LOCK_DIR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _the_real_disk(monkeypatch):
    monkeypatch.setattr(durable, "disk", durable.disk)


@pytest.fixture
def fast_dir(tmp_path):
    """A directory in memory where there is one: an fsync there costs microseconds, and means the same to a process."""
    if not SHM.is_dir():
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(prefix="reactord-test-", dir=SHM))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def home(fast_dir):
    """A home with all its directories."""
    made = Home(fast_dir / "jarvis")
    made.create()
    return made
