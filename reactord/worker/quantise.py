"""How does a model get smaller, and did what it learned survive?

A small fine-tune can vanish without a trace: merged into a base whose weights already sit on a format's grid and
rounded to that grid again, not one code changes (ML.md 2). Two numbers tell, per file, on a fixed sample of matrices:

* `codes_changed` - the share of code bytes that differ from the base quantised the same way. 0 means erased.
* `kept_delta`    - <D, Dq> / <D, D>, where D is what training added to a weight and Dq what is left of it after both
  sides were quantised. 1 means all of it, 0 none. It sees erasure, not noise: for that the judge compares outputs.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import llama_cpp
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from llama_cpp._ggml import libggml

from reactord import durable
from reactord.errors import ReactordError
from reactord.worker import llama_log
from reactord.worker.gguf_file import Array, GgufFile

#: smallest first; the number is llama.cpp's file type
LADDER = {
    "Q4_K_M": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M,
    "Q6_K": llama_cpp.LLAMA_FTYPE_MOSTLY_Q6_K,
    "Q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0,
}
SAMPLED_MATRICES = 12
#: which bytes of a block hold codes, not scales: (block bytes, first, last + 1); ggml-common.h
_CODES = {
    GGMLQuantizationType.F16: (2, 0, 2),
    GGMLQuantizationType.Q4_0: (18, 2, 18),
    GGMLQuantizationType.Q4_1: (20, 4, 20),
    GGMLQuantizationType.Q5_0: (22, 2, 22),
    GGMLQuantizationType.Q5_1: (24, 4, 24),
    GGMLQuantizationType.Q8_0: (34, 2, 34),
    GGMLQuantizationType.Q4_K: (144, 16, 144),
    GGMLQuantizationType.Q5_K: (176, 16, 176),
    GGMLQuantizationType.Q6_K: (210, 0, 192),
}


@dataclass(frozen=True, slots=True)
class Survival:
    """What quantising left of the fine-tune, over the sampled matrices."""

    codes_changed: float
    kept_delta: float


def quantise(source: Path, target: Path, kind: str, threads: int) -> None:
    """Write `source` (f16) as `target` in a format of LADDER, durably, under a scratch name until complete."""
    llama_log.keep_warnings()
    scratch = durable.temporary_beside(target)
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = LADDER[kind]
    parameters.nthread = threads
    code = llama_cpp.llama_model_quantize(str(source).encode(), str(scratch).encode(), ctypes.byref(parameters))
    if code != 0:
        raise ReactordError(f"llama.cpp could not quantise {source.name} to {kind} (code {code}); see worker.log")
    durable.sync_file(scratch)
    durable.move(scratch, target)


def quantise_matrix(numbers: Array, kind: GGMLQuantizationType) -> Array:
    """Code float32 (rows, columns) as llama.cpp does, without an importance matrix: uint8 (rows, bytes per row)."""
    rows, columns = numbers.shape
    block, block_bytes = GGML_QUANT_SIZES[kind]
    coded = np.empty((rows, columns // block * block_bytes), dtype=np.uint8)
    source = np.ascontiguousarray(numbers, dtype=np.float32)
    function = libggml.ggml_quantize_chunk
    function.restype = ctypes.c_size_t
    size = function(
        ctypes.c_int(kind.value),
        source.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
        coded.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_int64(0),
        ctypes.c_int64(rows),
        ctypes.c_int64(columns),
        None,
    )
    assert size == coded.nbytes, (size, coded.nbytes)
    return coded


def survival(base: GgufFile, tuned: GgufFile, quantised: GgufFile) -> Survival:
    """Compare a quantised file with its own f16 form and with the base's f16 form."""
    changed, compared, kept, whole = 0, 0, 0.0, 0.0
    for name in sampled(base, quantised):
        kind = quantised.tensors[name].kind
        before, after = base.array(name), tuned.array(name)
        base_codes, tuned_codes = quantise_matrix(before, kind), quantised.raw(name)
        differ = _only_codes(base_codes, kind) != _only_codes(tuned_codes, kind)
        changed, compared = changed + int(differ.sum()), compared + differ.size
        delta = (after - before).astype(np.float64)
        left = (dequantize(tuned_codes, kind) - dequantize(base_codes, kind)).astype(np.float64).reshape(delta.shape)
        kept, whole = kept + float((delta * left).sum()), whole + float((delta * delta).sum())
    return Survival(changed / compared, kept / whole if whole else 0.0)


def sampled(base: GgufFile, quantised: GgufFile) -> list[str]:
    """A fixed, even sample of the matrices inside the blocks that the file holds in a coded form."""
    names = sorted(
        n for n, t in quantised.tensors.items() if t.kind in _CODES and n.startswith("blk.") and n in base.tensors
    )
    step = max(1, len(names) // SAMPLED_MATRICES)
    return names[::step][:SAMPLED_MATRICES]


def _only_codes(coded: Array, kind: GGMLQuantizationType) -> Array:
    size, first, last = _CODES[kind]
    return coded.reshape(-1, size)[:, first:last]
