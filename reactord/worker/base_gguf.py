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

from reactord.errors import BadRequest
from reactord.worker import parity
from reactord.worker.gguf_file import GgufFile, entry, write
from reactord.worker.gguf_llama import Shape, Weights, model_metadata

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
