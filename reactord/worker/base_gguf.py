"""What metadata does the base's GGUF carry? The source's own, or for a Hugging Face folder one whose tokens are proved.

llama.cpp splits text by a rule it knows by name (`tokenizer.ggml.pre`). A Hugging Face folder does not say that name,
and a wrong guess gives a model that reads slightly other tokens than it was trained on. So we try the names llama.cpp
knows, keep the first that gives equal ids on every probe, and refuse when none does - before training, not after a
night.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.numpy import save_file

from reactord.errors import BadRequest
from reactord.worker import parity
from reactord.worker.gguf_file import Array, GgufFile, entry, write
from reactord.worker.gguf_llama import (
    Shape,
    Weights,
    heads_to_permute,
    hf_name,
    model_metadata,
    refuse_unsupported,
    unpermute,
)

if TYPE_CHECKING:
    from reactord.worker.base import Source

PRE_CANDIDATES = (
    "smollm",
    "llama-bpe",
    "gpt-2",
    "qwen2",
    "gpt-4o",
    "tekken",
    "deepseek-llm",
    "starcoder",
    "falcon",
    "mpt",
    "olmo",
    "default",
)
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5


def refuse_foreign(path: Path) -> None:
    """Raise BadRequest unless this GGUF file holds a llama."""
    architecture = GgufFile(path).values.get("general.architecture")
    if architecture != "llama":
        raise BadRequest(f"{path} holds a {architecture} model; reactord trains llama models, choose one as base_model")


def write_hf(path: Path, target: Path) -> None:
    """Write the llama in a GGUF file as float32 safetensors and config.json.

    numpy only: transformers does the same in ten times the time, and keeps a quantiser unless it is told not to.
    Raises BadRequest for a file with parts that a plain llama does not have.
    """
    file = GgufFile(path)
    config = _config(file)
    refuse_unsupported(config)
    target.mkdir(mode=0o700)
    (target / "config.json").write_text(json.dumps(config, indent=2))
    shape = Shape.of(target)
    tensors: dict[str, Array] = {}
    for name in file.tensors:
        try:
            module = hf_name(name.removesuffix(".weight"))
            weight = file.array(name)
        except (KeyError, NotImplementedError) as error:
            kind = file.tensors[name].kind.name
            raise BadRequest(
                f"{path} holds {name} ({kind}), which a plain llama has not; choose another base"
            ) from error
        heads = heads_to_permute(module, shape)
        tensors[f"{module}.weight"] = unpermute(weight, heads) if heads else weight
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})


def _config(file: GgufFile) -> dict[str, Any]:
    """The config.json of the llama that this file holds."""

    def number(name: str, default: Any = None) -> Any:  # noqa: ANN401 - int, float or str
        return file.values.get(f"llama.{name}", default)

    embedding = file.tensors["token_embd.weight"].shape
    scaled = number("rope.scaling.type", "none") != "none" or "rope_freqs.weight" in file.tensors
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "hidden_size": embedding[1],
        "vocab_size": embedding[0],
        "intermediate_size": number("feed_forward_length"),
        "num_hidden_layers": number("block_count"),
        "num_attention_heads": number("attention.head_count"),
        "num_key_value_heads": number("attention.head_count_kv", number("attention.head_count")),
        "head_dim": number("attention.key_length", embedding[1] // number("attention.head_count")),
        "max_position_embeddings": number("context_length"),
        "rms_norm_eps": number("attention.layer_norm_rms_epsilon"),
        "rope_parameters": {
            "rope_type": "scaled" if scaled else "default",
            "rope_theta": number("rope.freq_base", 10_000.0),
        },
        "hidden_act": "silu",
        "attention_bias": any(name.endswith(".bias") for name in file.tensors),
        "mlp_bias": False,
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "bos_token_id": file.values.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": file.values.get("tokenizer.ggml.eos_token_id"),
        "pad_token_id": file.values.get("tokenizer.ggml.padding_token_id"),
    }


def metadata(source: Source, hf: Path, probe: Path, threads: int) -> tuple[dict[str, bytes], str]:
    """(raw metadata entries for the base's f16 file, name of the splitting rule). `probe` is a scratch file name."""
    if source.kind == "gguf":
        file = GgufFile(source.path)
        dropped = ("general.quantization_version", "general.alignment")
        kept = {key: raw for key, raw in file.entries.items() if key not in dropped}
        return kept, str(file.values.get("tokenizer.ggml.pre", "default"))
    entries = {**model_metadata(Shape.of(hf), source.name), **_tokenizer_entries(hf)}
    key = "tokenizer.ggml.pre"
    for pre in PRE_CANDIDATES:
        entries[key] = entry(key, pre)
        write(probe, entries, [], Weights(hf).get)
        equal = parity.texts_equal(hf, probe, threads)
        probe.unlink()
        if equal:
            return entries, pre
    raise BadRequest(
        f"llama.cpp has no tokenizer rule that reads text like the tokenizer of {source.path} (tried"
        f" {', '.join(PRE_CANDIDATES)}); name a GGUF of this model as base_model instead"
    )


def _tokenizer_entries(hf: Path) -> dict[str, bytes]:
    """The vocabulary of a byte-level BPE tokenizer.json as GGUF metadata."""
    tokenizer: dict[str, Any] = json.loads((hf / "tokenizer.json").read_text())
    settings: dict[str, Any] = json.loads((hf / "tokenizer_config.json").read_text())
    model = tokenizer["model"]
    if model["type"] != "BPE" or "ByteLevel" not in json.dumps(tokenizer.get("pre_tokenizer")):
        raise BadRequest(f"{hf.name} uses a {model['type']} tokenizer; only byte-level BPE can be written as GGUF here")
    size = Shape.of(hf).vocabulary
    tokens = [f"[PAD{i}]" for i in range(size)]
    kinds = [_UNUSED] * size
    for token, at in model["vocab"].items():
        tokens[at], kinds[at] = token, _NORMAL
    for added in tokenizer.get("added_tokens", []):
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = _CONTROL if added["special"] else _USER_DEFINED
    values: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": [m if isinstance(m, str) else " ".join(m) for m in model["merges"]],
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.chat_template": _chat_template(hf, settings),
    }
    for key, setting in (
        ("bos", "bos_token"),
        ("eos", "eos_token"),
        ("unknown", "unk_token"),
        ("padding", "pad_token"),
    ):
        content = settings.get(setting)
        content = content["content"] if isinstance(content, dict) else content
        if content in tokens:
            values[f"tokenizer.ggml.{key}_token_id"] = tokens.index(content)
    return {key: entry(key, value) for key, value in values.items()}


def _chat_template(hf: Path, settings: dict[str, Any]) -> str:
    file = hf / "chat_template.jinja"
    return file.read_text() if file.is_file() else str(settings["chat_template"])
