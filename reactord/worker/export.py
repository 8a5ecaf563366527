"""How does what was trained become files that llama.cpp serves?

    adapter.gguf                     the LoRA alone, for a server that adds it to the base at run time; none where every
                                     weight was trained
    f16.gguf                         base weights in float32 plus the LoRA, or the trained weights; rounded once: the
                                     reference of the judge
    Q4_K_M.gguf, Q6_K.gguf, Q8_0.gguf   the ladder, quantised from f16.gguf by llama.cpp

Merging starts from the float32 base, never from a quantised file. f16.gguf and all but one rung of the ladder are
intermediates: the judge removes them when it has chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from reactord import durable
from reactord.worker import quantise
from reactord.worker.base import file_sha256, open_base
from reactord.worker.context import Context, Facts, peak_rss_mb, require_space
from reactord.worker.gguf_file import VERSION, GgufFile
from reactord.worker.gguf_llama import Adapter, Shape, Weights, write_adapter, write_f16


def run(context: Context) -> Facts:
    """Write every form of the trained model into artifacts/ and say what survived in each."""
    work, spec = context.work, context.spec
    base = open_base(context.home, str((work.outcome("prepare") or {}).get("base")))
    # f16.gguf, and a ladder that together weighs less than one and a half of it
    require_space(work.root, 3 * base.f16.stat().st_size, "exporting")
    trained = work.artifacts / "trained"
    title = f"{spec.model_id} {spec.version}"
    total = 2 + len(quantise.LADDER)
    files: list[dict[str, Any]] = []

    adapter = None if spec.hyper.full else Adapter(trained)
    if adapter:
        context.done("writing the adapter", 0, total, "files")
        path = work.artifacts / "adapter.gguf"
        _publish(path, partial(write_adapter, adapter=adapter, shape=Shape.of(base.hf), title=title))
        files.append(_facts("adapter", path, None))

    context.done("merging", 1, total, "files")
    f16_path, base_f16 = work.artifacts / "f16.gguf", GgufFile(base.f16)

    def merge(path: Path) -> None:
        weights = Weights(base.hf if adapter else trained)  # mapped no longer than this takes
        write_f16(path, base_f16.entries, weights, adapter, title)

    _publish(f16_path, merge)
    tuned = GgufFile(f16_path)
    files.append(_facts("f16", f16_path, quantise.survival(base_f16, tuned, tuned)))
    for i, kind in enumerate(quantise.LADDER):
        context.done(f"quantising to {kind}", 2 + i, total, "files")
        path = work.artifacts / f"{kind}.gguf"
        quantise.quantise(f16_path, path, kind, spec.threads)
        files.append(_facts(kind, path, quantise.survival(base_f16, tuned, GgufFile(path))))
    context.done("exported", total, total, "files")
    return {"files": files, "gguf_version": VERSION, "peak_rss_mb": peak_rss_mb()}


def _publish(target: Path, write: Callable[[Path], None]) -> None:
    """Have a file written under a scratch name, and appear when it is complete."""
    scratch = durable.temporary_beside(target)
    write(scratch)
    durable.sync_file(scratch)
    durable.move(scratch, target)


def _facts(name: str, path: Path, survived: quantise.Survival | None) -> dict[str, Any]:
    return {
        "name": name,
        "path": str(path),
        "size_bytes": path.stat().st_size,
        "sha256": file_sha256(path),
        "codes_changed": round(survived.codes_changed, 5) if survived else None,
        "kept_delta": round(survived.kept_delta, 5) if survived else None,
    }
