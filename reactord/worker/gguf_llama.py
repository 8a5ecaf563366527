"""How does a Hugging Face llama look as GGUF? Weights, adapters and the metadata of a model that has no GGUF yet.

llama.cpp rotates pairs of neighbouring rows where transformers rotates halves of a head, so the rows of q and k (and of
a LoRA's B matrix for them) are permuted on the way. Everything is numpy: no torch, one tensor in memory at a time.

What this does not do: architectures other than llama, rope scaling, biases. `refuse_unsupported` says so by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from reactord.errors import BadRequest
from reactord.worker.gguf_file import FILE_TYPE_F16, Array, entry, write

_BLOCK = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_OUTER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_LORA_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a llama, from its config.json."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int
    rope_base: float
    norm_epsilon: float
    tied: bool

    @classmethod
    def of(cls, hf: Path) -> Shape:
        """Read `hf`/config.json. Raises BadRequest for what this module cannot write."""
        config = json.loads((hf / "config.json").read_text())
        refuse_unsupported(config)
        rope = config.get("rope_parameters") or {}
        return cls(
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            feed_forward=config["intermediate_size"],
            heads=config["num_attention_heads"],
            kv_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
            vocabulary=config["vocab_size"],
            context=config["max_position_embeddings"],
            rope_base=float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0),
            norm_epsilon=config["rms_norm_eps"],
            tied=bool(config.get("tie_word_embeddings", False)),
        )

    @property
    def head(self) -> int:
        return self.hidden // self.heads


def refuse_unsupported(config: Mapping[str, Any]) -> None:
    """Raise BadRequest with the first property of the model that reactord cannot carry into a GGUF."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    head = config.get("head_dim") or 0
    problems = {
        f"its architecture is {config.get('model_type')!r}": config.get("model_type") != "llama",
        "its rope is scaled": rope.get("rope_type", rope.get("type", "default")) != "default",
        "it has biases": bool(config.get("attention_bias") or config.get("mlp_bias")),
        "its head size is not hidden/heads": bool(head)
        and head * config.get("num_attention_heads", 0) != config.get("hidden_size"),
    }
    for problem, found in problems.items():
        if found:
            raise BadRequest(f"this base model cannot be exported: {problem}; choose a plain llama model as base_model")


def gguf_name(hf_name: str) -> str:
    """`model.layers.3.mlp.up_proj` -> `blk.3.ffn_up` (module names, without `.weight`)."""
    if hf_name in _OUTER:
        return _OUTER[hf_name]
    _, _, layer, part = hf_name.split(".", 3)
    return f"blk.{layer}.{_BLOCK[part]}"


def hf_name(name: str) -> str:
    """`blk.3.ffn_up` -> `model.layers.3.mlp.up_proj`, the inverse of `gguf_name`. Raises KeyError for other names."""
    if not name.startswith("blk."):
        return {ours: theirs for theirs, ours in _OUTER.items()}[name]
    _, layer, part = name.split(".", 2)
    return f"model.layers.{layer}.{ {ours: theirs for theirs, ours in _BLOCK.items()}[part] }"


def permute(weight: Array, heads: int) -> Array:
    """Reorder the rows of one q or k matrix, (heads * size, columns), from halves to neighbours."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))


def unpermute(weight: Array, heads: int) -> Array:
    """The inverse of `permute`."""
    rows, columns = weight.shape
    neighbours = weight.reshape(heads, rows // heads // 2, 2, columns)
    return np.ascontiguousarray(neighbours.swapaxes(1, 2).reshape(rows, columns))


def heads_to_permute(name: str, shape: Shape) -> int:
    """How many heads the rows of this module hold, or 0 when its rows stay."""
    return shape.heads if name.endswith("q_proj") else shape.kv_heads if name.endswith("k_proj") else 0


class Weights:
    """The float32 tensors of a Hugging Face folder by module name, read one at a time."""

    def __init__(self, hf: Path) -> None:
        self.shape = Shape.of(hf)
        files: list[Any] = [safe_open(path, framework="numpy") for path in sorted(hf.glob("*.safetensors"))]
        self._where = {name.removesuffix(".weight"): (file, name) for file in files for name in file.keys()}  # noqa: SIM118
        if self.shape.tied:
            self._where.pop("lm_head", None)

    def names(self) -> list[str]:
        return list(self._where)

    def size(self, name: str) -> tuple[int, ...]:
        file, key = self._where[name]
        return tuple(file.get_slice(key).get_shape())

    def get(self, name: str) -> Array:
        file, key = self._where[name]
        return np.asarray(file.get_tensor(key), dtype=np.float32)


class Adapter:
    """A trained LoRA: for each module A (rank, columns), B (rows, rank) and the scale alpha / rank."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "adapter_config.json").read_text())
        self.alpha = float(config["lora_alpha"])
        self.scale = self.alpha / config["r"]
        file: Any = safe_open(folder / "adapter_model.safetensors", framework="numpy")
        self._halves = {name: np.asarray(file.get_tensor(name), dtype=np.float32) for name in file.keys()}  # noqa: SIM118
        ending = ".lora_A.weight"
        self.modules = sorted(n.removeprefix(_LORA_PREFIX).removesuffix(ending) for n in self._halves if ending in n)

    def halves(self, module: str) -> tuple[Array, Array]:
        """(A, B) of one module."""
        stem = f"{_LORA_PREFIX}{module}"
        return self._halves[f"{stem}.lora_A.weight"], self._halves[f"{stem}.lora_B.weight"]

    def delta(self, module: str) -> Array | None:
        """What this adapter adds to a weight, float32 (rows, columns); None when it leaves the module alone."""
        if module not in self.modules:
            return None
        a, b = self.halves(module)
        return np.asarray(self.scale * (b @ a), dtype=np.float32)


def write_f16(path: Path, metadata: Mapping[str, bytes], weights: Weights, adapter: Adapter | None, title: str) -> None:
    """Write the model as f16 GGUF with the given metadata: base weights in float32 plus the adapter, rounded once."""
    modules = {gguf_name(name) + ".weight": name for name in weights.names()}
    norms = {name: len(weights.size(module)) == 1 for name, module in modules.items()}

    def produce(name: str) -> Array:
        module = modules[name]
        weight = weights.get(module)
        delta = adapter.delta(module) if adapter else None
        if delta is not None:
            weight = weight + delta
        heads = heads_to_permute(module, weights.shape)
        return permute(weight, heads) if heads else weight

    entries = {
        **metadata,
        "general.name": entry("general.name", title),
        "general.file_type": entry("general.file_type", FILE_TYPE_F16),
    }
    plan = [(name, weights.size(modules[name]), np.float32 if norms[name] else np.float16) for name in modules]
    write(path, entries, plan, produce)


def write_adapter(path: Path, adapter: Adapter, shape: Shape, title: str) -> None:
    """Write the adapter as a GGUF LoRA that llama.cpp adds to any quantisation of the base at run time."""
    tensors: dict[str, Array] = {}
    for module in adapter.modules:
        a, b = adapter.halves(module)
        heads = heads_to_permute(module, shape)
        name = gguf_name(module) + ".weight"
        tensors[f"{name}.lora_a"] = a
        tensors[f"{name}.lora_b"] = permute(b, heads) if heads else b
    values: dict[str, str | float] = {
        "general.architecture": "llama",
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": adapter.alpha,
        "general.name": title,
        "general.file_type": FILE_TYPE_F16,
    }
    entries = {key: entry(key, value) for key, value in values.items()}
    plan = [(name, array.shape, np.float32) for name, array in tensors.items()]
    write(path, entries, plan, tensors.__getitem__)


def model_metadata(shape: Shape, name: str) -> dict[str, bytes]:
    """The metadata of the model itself, for a base that comes without a GGUF."""
    values: dict[str, str | float] = {
        "general.architecture": "llama",
        "general.type": "model",
        "general.name": name,
        "llama.block_count": shape.layers,
        "llama.context_length": shape.context,
        "llama.embedding_length": shape.hidden,
        "llama.feed_forward_length": shape.feed_forward,
        "llama.attention.head_count": shape.heads,
        "llama.attention.head_count_kv": shape.kv_heads,
        "llama.rope.freq_base": shape.rope_base,
        "llama.rope.dimension_count": shape.head,
        "llama.attention.layer_norm_rms_epsilon": shape.norm_epsilon,
        "llama.vocab_size": shape.vocabulary,
    }
    return {key: entry(key, value) for key, value in values.items()}
