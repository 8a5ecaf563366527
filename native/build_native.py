"""How do the C kernels become `reactord.kernels._native`? By cffi's API mode: setup.py builds `ffi` below.

`RK_EXTRA_CFLAGS` adds compiler and linker flags, for sanitizers; build with `--force` then, because setuptools does not
notice changed flags. MSVC is not supported.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from cffi import FFI

_HEADER = Path(__file__).parent / "include" / "rk.h"
_EXTRA = shlex.split(os.environ.get("RK_EXTRA_CFLAGS", ""))

ffi = FFI()
ffi.cdef(_HEADER.read_text(encoding="utf-8").split("/* cffi: begin */")[1].split("/* cffi: end */")[0])
ffi.set_source(
    "reactord.kernels._native",
    '#include "rk.h"\nint rk_abi_version(void) { return RK_ABI_VERSION; }\n',
    sources=["native/src/claim.c", "native/src/json_text.c", "native/src/minhash.c"],
    include_dirs=["native/include"],
    depends=["native/include/rk.h"],
    extra_compile_args=[
        "-std=c11",
        "-O3",  # gcc 12 vectorises these loops only here, and the interpreter's own flags say -O2
        "-ffp-contract=off",  # a fused multiply-add gives other bits on other machines
        "-fno-math-errno",
        "-fno-trapping-math",
        "-fvisibility=hidden",
        "-Wall",
        "-Wextra",
        *_EXTRA,
    ],
    extra_link_args=[*(["-Wl,--strip-debug"] if sys.platform == "linux" and not _EXTRA else []), *_EXTRA],
)
