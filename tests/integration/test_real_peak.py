"""One real run of the embedded model: is what the daemon would ask for still what it takes?

A new torch, trl or transformers changes what a run holds, and nothing but a run can tell. The whole grid is
`python benchmarks/memory.py`.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from reactord import memory
from reactord.home import Home

pytestmark = pytest.mark.timeout(300)
BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "memory.py"


@pytest.fixture
def benchmark(monkeypatch):
    """The benchmark as a module."""
    spec = importlib.util.spec_from_file_location("measured_memory", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not memory.is_measured(), reason="nobody has measured the coefficients of this platform")
def test_a_run_of_the_embedded_model_takes_what_was_foretold(tmp_path, benchmark):
    home = Home(tmp_path / "jarvis")
    home.create()

    (row,) = benchmark.measure(home, "dpo/128/1/16", benchmark.fill(home))

    assert row.stage == "train"
    assert benchmark.LEAST <= row.ratio <= benchmark.MOST, row.line()
