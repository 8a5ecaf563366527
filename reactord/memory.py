"""How much memory does each stage of a job take at its peak?

Foretold before anything is loaded, from the shape of the base alone. The coefficients were measured on the embedded
model and on the tests' tiny one (Linux, x86-64, bfloat16); what they get wrong elsewhere is found out by running
(jobs/correction.py), so nothing here adds a margin.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import orjson

MIB = 1024**2

#: resident after the first step of a model that weighs nothing: torch, transformers, trl, datasets and their buffers
TRAINER_BYTES = 550 * MIB
#: numbers kept for the backward pass, per token, layer and hidden dimension (ML.md 5)
KEPT_PER_CELL = 32
#: bytes per token and vocabulary entry: logits, their softmax and gradients (ML.md 5)
HEAD_BYTES = 19
#: batches of many lengths leave holes in a heap that hands nothing back (worker/train.py keeps freed memory): 2.2 in
#: three runs of 20 steps on answers of a day, 1.3 in two steps on examples of one length (benchmarks/memory.py)
HOLES = 2.2
#: gradient, and the two moments of AdamW, all in float32
OPTIMIZER_BYTES = 4 + 4 + 4 + 4
#: torch's agent, which starts the processes of a run in several
AGENT_BYTES = 240 * MIB
#: one of two processes against one that trains alone: 1.09 to 1.11 with the embedded model, 0.98 with the tiny one
TOGETHER = 1.1
#: prepare: the tokenizer's process; then float32 weights, their f16 form and the file they come from, side by side
PREPARER_BYTES, PREPARED_BYTES = 400 * MIB, 6.5
#: export: numpy and llama.cpp; then the float32 weights, mapped
EXPORTER_BYTES, EXPORTED_BYTES = 60 * MIB, 4.3
#: judge: llama.cpp and the tokenizer's own process; the f16 file; rows of log-probabilities compared at a time
JUDGE_BYTES, JUDGED_BYTES, JUDGED_ROWS = 380 * MIB, 2.0, 4096


@dataclass(frozen=True, slots=True)
class Sizes:
    """What decides how much memory a llama takes."""

    parameters: int
    layers: int
    hidden: int
    vocabulary: int
    trainable: int
    weight_bytes: int  # per number: 4 for float32, 2 for bfloat16

    @classmethod
    def of(cls, hf: Path, lora_rank: int | None) -> Sizes:
        """Sizes of the llama in a Hugging Face folder, trained with an adapter of this rank (None: every weight).

        Raises FileNotFoundError when there is no config.json.
        """
        config = orjson.loads((hf / "config.json").read_bytes())
        layers, hidden, vocabulary = config["num_hidden_layers"], config["hidden_size"], config["vocab_size"]
        heads, inner = config["num_attention_heads"], config["intermediate_size"]
        narrow = hidden // heads * (config.get("num_key_value_heads") or heads)
        matrices = [(hidden, hidden)] * 2 + [(hidden, narrow)] * 2 + [(hidden, inner)] * 3
        embeddings = vocabulary * hidden * (1 if config.get("tie_word_embeddings") else 2)
        parameters = embeddings + layers * sum(a * b for a, b in matrices)
        return cls(
            parameters=parameters,
            layers=layers,
            hidden=hidden,
            vocabulary=vocabulary,
            trainable=parameters if lora_rank is None else layers * lora_rank * sum(a + b for a, b in matrices),
            weight_bytes=2 if has_bfloat16() else 4,
        )


def train_peak_bytes(sizes: Sizes, tokens_per_batch: int) -> int:
    """Peak of a training run whose micro-batch holds `tokens_per_batch` tokens, padding included."""
    weights = sizes.parameters * sizes.weight_bytes
    optimizer = sizes.trainable * OPTIMIZER_BYTES
    kept = KEPT_PER_CELL * sizes.layers * sizes.hidden * sizes.weight_bytes
    head = HEAD_BYTES * sizes.vocabulary
    return TRAINER_BYTES + weights + optimizer + int(HOLES * tokens_per_batch * (kept + head))


def together_bytes(one_bytes: int, ranks: int) -> int:
    """Peak of a run in several processes: each holds all that one would, and what it sends to the others."""
    return one_bytes if ranks == 1 else AGENT_BYTES + int(ranks * TOGETHER * one_bytes)


def prepare_peak_bytes(sizes: Sizes) -> int:
    """Peak of the stage that converts the base, when it was not converted before."""
    return PREPARER_BYTES + int(PREPARED_BYTES * sizes.parameters)


def export_peak_bytes(sizes: Sizes) -> int:
    """Peak of merging and quantising."""
    return EXPORTER_BYTES + int(EXPORTED_BYTES * sizes.parameters)


def judge_peak_bytes(sizes: Sizes) -> int:
    """Peak of comparing the quantised files with their reference."""
    return JUDGE_BYTES + int(JUDGED_BYTES * sizes.parameters) + JUDGED_ROWS * sizes.vocabulary * 4


def platform_name() -> str:
    """What coefficients depend on: system, processor, and the precision that it trains in."""
    return f"{sys.platform}-{platform.machine()}-{'bfloat16' if has_bfloat16() else 'float32'}".lower()


def is_unified() -> bool:
    """Whether the graphics processor takes its memory out of the same RAM (a Mac with Apple silicon)."""
    return sys.platform == "darwin" and platform.machine() == "arm64"


def has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware; emulated it is slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
