from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from reactord.errors import BadInput, DiskFull, MissingModel
from reactord.worker.__main__ import failure
from reactord.worker.context import require_space

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("error", "cause", "said"),
    [
        (BadInput("no pairs; wait"), "bad_data", "no pairs; wait"),
        (MissingModel("gone; install it"), "missing_model", "install it"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full", "free some disk space"),
        (RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/0"), "disk_full", "free some"),
        (MemoryError("x"), "out_of_memory", "lower hyper.pairs_per_batch"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "out_of_memory", "lower hyper"),
        (KeyError("dataset"), "bug", "worker.log"),
    ],
)
def test_every_way_to_fail_names_its_cause_and_what_to_do_next(error, cause, said):
    facts = failure(error)
    assert (facts["ok"], facts["error"], facts["cause"]) == (False, type(error).__name__, cause)
    assert said in facts["message"]


def test_a_disk_that_is_too_small_is_noticed_before_the_work(tmp_path):
    require_space(tmp_path, 1, "nothing")
    with pytest.raises(DiskFull, match=r"exporting needs 1000000000.0 GB .* make room"):
        require_space(tmp_path, 10**18, "exporting")


def test_the_entry_point_imports_nothing_heavy():
    script = (
        "import sys, reactord.worker.__main__, reactord.worker.base;"
        "print([m for m in ('torch', 'transformers', 'numpy', 'gguf', 'llama_cpp') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True, timeout=60)
    assert said.stdout.strip() == b"[]"
