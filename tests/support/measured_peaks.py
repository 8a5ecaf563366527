"""What real training runs of the embedded model took at their peak: the grid that reactord/memory.py was fitted on.

Measured on 22 November 2026 on two shared x86-64 cores with AVX-512 BF16 (24 GB, Linux, glibc 2.36, Python 3.11): torch
2.13.0, transformers 5.23.0, trl 1.16.0, peft 0.21.2, datasets 5.2.0. One worker process each, as the daemon starts it,
two threads, two steps of two micro-batches, every row exactly as long as it says; the kernel's ru_maxrss of the process
that ended. Measured again by `python benchmarks/memory.py --json`.
"""

from __future__ import annotations

from typing import NamedTuple

PLATFORM = "linux-x86_64-bfloat16"
#: config.json of SmolLM2-135M-Instruct, as far as memory depends on it
BASE = """{"num_hidden_layers": 30, "hidden_size": 576, "vocab_size": 49152, "intermediate_size": 1536,
 "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": true}"""


class Row(NamedTuple):
    """One run."""

    recipe: str
    length: int  # tokens of every row
    batch: int  # pairs or answers a micro-batch
    rank: int  # 0: every weight
    measured: int  # MiB


ROWS = [
    Row("sft", 512, 1, 0, 4615),
    Row("sft", 128, 1, 16, 1253),
    Row("dpo", 128, 2, 0, 4376),
    Row("dpo", 128, 2, 16, 2212),
    Row("sft", 512, 1, 16, 2438),
    Row("sft", 128, 1, 0, 3248),
    Row("sft", 256, 2, 16, 2222),
    Row("dpo", 256, 1, 0, 4366),
    Row("dpo", 256, 1, 16, 2224),
    Row("sft", 256, 2, 0, 4469),
    Row("dpo", 512, 1, 16, 4000),
]
