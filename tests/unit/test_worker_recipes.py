from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from reactord import memory
from reactord.errors import BadRequest
from reactord.jobs.correction import MEASURED_MARGIN
from reactord.jobspec import Hyper
from reactord.worker import prepare, recipes
from reactord.worker.examples import Example

ROOT = Path(__file__).resolve().parents[2]
SMOLLM2 = recipes.Sizes(134_479_872, 30, 576, 1536, 9, 49_152, trainable=4_884_480, number_bytes=4)
IN_BFLOAT16 = replace(SMOLLM2, number_bytes=2)
TINY = recipes.Sizes(131_072, 2, 64, 192, 4, 512, trainable=20_480, number_bytes=2)
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


# what runs took (Linux, x86-64, bfloat16), in MiB: the lowest and the highest of up to three, on the demo's day
@pytest.mark.parametrize(
    ("foretold", "lowest", "highest"),
    [
        (recipes.load("dpo").peak_bytes(IN_BFLOAT16, Hyper(), 110), 2103, 2103),
        (
            recipes.load("dpo").peak_bytes(TINY, Hyper(pairs_per_batch=4, lora_rank=8, max_length_tokens=128), 76),
            578,
            578,
        ),
        (memory.prepare_peak_bytes(IN_BFLOAT16), 1192, 1247),
        (memory.export_peak_bytes(IN_BFLOAT16), 615, 617),
        (memory.judge_peak_bytes(IN_BFLOAT16, 110), 1280, 1402),
        (memory.judge_peak_bytes(IN_BFLOAT16, 657), 2281, 2281),  # the benchmark's long conversations
        (memory.prepare_peak_bytes(TINY), 404, 404),
        (memory.export_peak_bytes(TINY), 62, 62),
        (memory.judge_peak_bytes(TINY, 76), 378, 378),
    ],
)
def test_the_predicted_peaks_are_those_that_were_measured(foretold, lowest, highest):
    assert 0.95 * highest * MIB <= MEASURED_MARGIN * foretold <= 1.15 * lowest * MIB


def test_more_tokens_or_more_pairs_need_more_memory_up_to_the_truncation():
    peak = recipes.load("dpo").peak_bytes
    hyper = Hyper(pairs_per_batch=2, max_length_tokens=256)
    assert peak(SMOLLM2, hyper, 100) < peak(SMOLLM2, hyper, 200) < peak(SMOLLM2, hyper, 256)
    assert peak(SMOLLM2, hyper, 256) == peak(SMOLLM2, hyper, 4000)
    assert peak(SMOLLM2, hyper, 100) < peak(SMOLLM2, hyper.model_copy(update={"pairs_per_batch": 4}), 100)


def test_a_rejected_answer_counts_only_where_it_is_trained_on():
    example = Example("a question", None, "short", "very long " * 100, simple=False, check=None, task_type="chat")

    sft, dpo = (prepare._length(example, str.split, both=both) for both in (False, True))

    assert (sft, dpo) == (2 + 1 + prepare.TEMPLATE_TOKENS, 2 + 200 + prepare.TEMPLATE_TOKENS)
