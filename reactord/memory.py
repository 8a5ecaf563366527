"""How much memory does each stage of a job take at its peak?

Foretold before anything is loaded, from the shape of the base alone: what is counted is what the libraries hold for
the backward pass, tensor by tensor, and what a machine adds to that was measured (`MEASURED`). Nothing here is a
margin; what the numbers get wrong elsewhere is found out by running (jobs/correction.py).

    loading     libraries + weights, once as they lie in the file and once as they are trained
    learning    libraries + weights + gradients and moments of what learns + holes * (kept + head) + attention

      kept      what every layer keeps of a token until it is walked back through
      head      one tile of the logits and its gradients: trl goes through vocabulary and tokens by tiles
      attention rows of scores, of every head: grows with the square of the length

The reference of DPO costs nothing: with an adapter it is the model itself without it, and where every weight learns it
is asked before the first step.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import orjson

MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Coefficients:
    """What a platform adds to the tensors that are counted."""

    imported_bytes: int  # resident with torch, transformers, trl, peft and datasets in it
    trainer_bytes: int  # and after some steps of a model that weighs nothing
    holes: float  # what the heap takes for every byte that is alive: freed blocks are kept for a step, for speed


#: by platform_name(). Fitted on the runs in tests/support/measured_peaks.py: sft and dpo, adapter and every weight,
#: three lengths, micro-batches of 1 and 2 of the embedded SmolLM2-135M; half of them foretells the other half.
#: torch 2.13.0, transformers 5.23.0, trl 1.16.0, peft 0.21.2, glibc 2.36; 22 November 2026.
MEASURED = {
    "linux-x86_64-bfloat16": Coefficients(467 * MIB, 515 * MIB, 1.41),
}
#: where nobody has measured: the same libraries, the same tensors
LIKELY = MEASURED["linux-x86_64-bfloat16"]

#: gradient, and the two moments of AdamW, all in float32
OPTIMIZER_BYTES = 4 + 4 + 4
#: weights that learn are rounded for every multiplication, and the rounded ones kept until the step is walked back
ROUNDED_BYTES = 2
#: the head's gradient, and that of the embeddings which it shares its weights with, before they are one
HEAD_GRADIENTS_BYTES = 4 + 4
#: trl's tiles: so many tokens by so much of the vocabulary, and bytes per logit (itself, scaled, exponents, gradient)
TILE_TOKENS, TILE_VOCABULARY, LOGIT_BYTES = 4096, 32768, 26
#: a score of the attention is kept as float32, out of the softmax, and rounded
SCORE_BYTES = 4
#: torch's agent, which starts the processes of a run in several
AGENT_BYTES = 240 * MIB
#: one of two processes against one that trains alone: 1.09 to 1.11 with the embedded model, 0.98 with the tiny one
TOGETHER = 1.1
#: prepare: the tokenizer's process; then float32 weights, their f16 form and the file they come from, side by side
PREPARER_BYTES, PREPARED_BYTES = 400 * MIB, 6.5
#: export: numpy and llama.cpp; then the float32 weights, mapped
EXPORTER_BYTES, EXPORTED_BYTES = 60 * MIB, 4.3
#: judge: llama.cpp and the tokenizer's own process; the f16 file; rows of the vocabulary in float32: of the neutral
#: text, and for every token of a conversation those it is compared by and scored with (at most a context of them)
JUDGE_BYTES, JUDGED_BYTES, JUDGED_ROWS, JUDGED_PER_TOKEN, JUDGED_TOKENS = 380 * MIB, 2.0, 2700, 9, 1024


@dataclass(frozen=True, slots=True)
class Sizes:
    """What decides how much memory a llama takes."""

    parameters: int
    layers: int
    hidden: int
    inner: int  # of the feed-forward part
    heads: int
    vocabulary: int
    trainable: int
    number_bytes: int  # of what is multiplied: 4 for float32, 2 for bfloat16

    @classmethod
    def of(cls, hf: Path, lora_rank: int) -> Sizes:
        """Sizes of the llama in a Hugging Face folder, trained with an adapter of this rank (0: every weight).

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
            inner=inner,
            heads=heads,
            vocabulary=vocabulary,
            trainable=layers * lora_rank * sum(a + b for a, b in matrices) if lora_rank else parameters,
            number_bytes=2 if has_bfloat16() else 4,
        )

    @property
    def full(self) -> bool:
        """Whether every weight learns."""
        return self.trainable == self.parameters

    @property
    def weights_bytes(self) -> int:
        """The model's own numbers: frozen as they are multiplied, and in float32 where they learn."""
        return self.parameters * (4 if self.full else self.number_bytes)


def train_peak_bytes(sizes: Sizes, rows: int, length: int, known: Coefficients | None = None) -> int:
    """Peak of a training run whose micro-batch holds so many rows of so many tokens, padding included."""
    known = known or MEASURED.get(platform_name(), LIKELY)
    mapped = 4 * sizes.parameters
    loading = mapped if sizes.weights_bytes == mapped else mapped + sizes.weights_bytes  # float32 stays where it is
    learning = sizes.weights_bytes + _learned_bytes(sizes)
    tokens = rows * length
    kept = tokens * sizes.layers * _kept_bytes(sizes)
    tile = min(tokens, TILE_TOKENS) * min(sizes.vocabulary, TILE_VOCABULARY) * (LOGIT_BYTES - 2 + sizes.number_bytes)
    scores = rows * length**2 * sizes.layers * sizes.heads * (SCORE_BYTES + sizes.number_bytes)
    alive = known.trainer_bytes + learning + int(known.holes * (kept + tile)) + scores
    return max(known.imported_bytes + loading, alive)


def _learned_bytes(sizes: Sizes) -> int:
    """What belongs to the numbers that learn, beside themselves where they are the model's own."""
    if not sizes.full:
        return sizes.trainable * (4 + OPTIMIZER_BYTES)
    rounded = ROUNDED_BYTES if sizes.number_bytes == 2 else 0
    return sizes.trainable * (OPTIMIZER_BYTES + rounded) + sizes.vocabulary * sizes.hidden * HEAD_GRADIENTS_BYTES


def _kept_bytes(sizes: Sizes) -> int:
    """Of one token in one layer: both norms, in float32 and rounded; q, k, v, their repeats; four rows of the inner."""
    return 16 * sizes.hidden + (7 * sizes.hidden + 4 * sizes.inner) * sizes.number_bytes


def together_bytes(one_bytes: int, ranks: int) -> int:
    """Peak of a run in several processes: each holds all that one would, and what it sends to the others."""
    return one_bytes if ranks == 1 else AGENT_BYTES + int(ranks * TOGETHER * one_bytes)


def prepare_peak_bytes(sizes: Sizes) -> int:
    """Peak of the stage that converts the base, when it was not converted before."""
    return PREPARER_BYTES + int(PREPARED_BYTES * sizes.parameters)


def export_peak_bytes(sizes: Sizes) -> int:
    """Peak of merging and quantising."""
    return EXPORTER_BYTES + int(EXPORTED_BYTES * sizes.parameters)


def judge_peak_bytes(sizes: Sizes, length: int) -> int:
    """Peak of comparing the quantised files with their reference, on conversations of so many tokens."""
    rows = JUDGED_ROWS + JUDGED_PER_TOKEN * min(length, JUDGED_TOKENS)
    return JUDGE_BYTES + int(JUDGED_BYTES * sizes.parameters) + rows * sizes.vocabulary * 4


def platform_name() -> str:
    """What coefficients depend on: system, processor, and the precision that it trains in."""
    return f"{sys.platform}-{platform.machine()}-{'bfloat16' if has_bfloat16() else 'float32'}".lower()


def is_measured() -> bool:
    """Whether the coefficients are this platform's own."""
    return platform_name() in MEASURED


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
