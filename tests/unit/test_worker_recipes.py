from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reactord.errors import BadRequest
from reactord.jobspec import Hyper
from reactord.worker import recipes

ROOT = Path(__file__).resolve().parents[2]
SMOLLM2 = recipes.Sizes(134_515_008, 30, 576, 49_152, trainable=4_884_480, weight_bytes=4)
MIB = 1024**2


def test_an_unknown_recipe_is_refused_with_the_names_there_are():
    with pytest.raises(BadRequest, match="choose one of dpo, sft"):
        recipes.load("ppo")


@pytest.mark.parametrize("name", ["dpo", "sft"])
def test_a_recipe_says_what_it_needs_without_loading_torch(name):
    script = (
        "import sys; from reactord.worker import recipes; recipes.load(sys.argv[1]).needs_rejected();"
        "print([m for m in ('torch', 'transformers', 'trl', 'peft', 'datasets') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", script, name], cwd=ROOT, capture_output=True, check=True, timeout=60)
    assert said.stdout.strip() == b"[]"


def test_the_predicted_peak_covers_what_was_measured_on_the_embedded_model():
    # measured: 2 pairs of at most 150 tokens a batch, 2.2 GB in bfloat16 and 2.4 GB in float32
    predicted = recipes.load("dpo").peak_bytes(SMOLLM2, Hyper(pairs_per_batch=2), 150)
    assert 2400 * MIB < predicted < 4800 * MIB


def test_more_tokens_or_more_pairs_need_more_memory_up_to_the_truncation():
    peak = recipes.load("dpo").peak_bytes
    hyper = Hyper(pairs_per_batch=2, max_length_tokens=256)
    assert peak(SMOLLM2, hyper, 100) < peak(SMOLLM2, hyper, 200) < peak(SMOLLM2, hyper, 256)
    assert peak(SMOLLM2, hyper, 256) == peak(SMOLLM2, hyper, 4000)
    assert peak(SMOLLM2, hyper, 100) < peak(SMOLLM2, hyper.model_copy(update={"pairs_per_batch": 4}), 100)
