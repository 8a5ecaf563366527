"""How much memory will a training run take at its peak?

Planned before anything is loaded, from the shape of the base alone; the recipes and the reservation ask the same
formula. It was fitted on eleven measured runs of the embedded model (ML.md 5) and is no better than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson

#: resident before any weight: the interpreter with torch, transformers, trl, datasets; measured
IMPORTS_BYTES = 430 * 1024 * 1024
#: the formula under-estimates LoRA runs by up to a fifth
MARGIN = 1.25


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
    def of(cls, hf: Path, lora_rank: int) -> Sizes:
        """Sizes of the llama in a Hugging Face folder, trained with an adapter of this rank on this machine.

        Raises FileNotFoundError when there is no config.json.
        """
        config = orjson.loads((hf / "config.json").read_bytes())
        layers, hidden, vocabulary = config["num_hidden_layers"], config["hidden_size"], config["vocab_size"]
        heads, inner = config["num_attention_heads"], config["intermediate_size"]
        narrow = hidden // heads * (config.get("num_key_value_heads") or heads)
        matrices = [(hidden, hidden)] * 2 + [(hidden, narrow)] * 2 + [(hidden, inner)] * 3
        embeddings = vocabulary * hidden * (1 if config.get("tie_word_embeddings") else 2)
        return cls(
            parameters=embeddings + layers * sum(a * b for a, b in matrices),
            layers=layers,
            hidden=hidden,
            vocabulary=vocabulary,
            trainable=layers * lora_rank * sum(a + b for a, b in matrices),
            weight_bytes=2 if has_bfloat16() else 4,
        )


def lora_peak_bytes(sizes: Sizes, tokens_per_batch: int) -> int:
    """Predicted peak of a LoRA run whose micro-batch holds `tokens_per_batch` tokens, padding included."""
    weights = sizes.parameters * sizes.weight_bytes
    optimizer = sizes.trainable * (4 + 4 + 8)
    activations = tokens_per_batch * 32 * sizes.layers * sizes.hidden * sizes.weight_bytes
    # trl's fused head projects labelled positions in tiles: one vocabulary row per token at most
    head = tokens_per_batch * sizes.vocabulary * 4
    return int(MARGIN * (IMPORTS_BYTES + weights + optimizer + activations + head))


def has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware; emulated it is slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
