"""What of llama.cpp's narration is worth keeping? Warnings and errors, on stderr, which is worker.log.

llama-cpp-python 0.3.36 installs a filter of its own, built on an older numbering of the levels: it would show debug
lines and hide errors.
"""

from __future__ import annotations

import ctypes
import os

import llama_cpp

_WARN, _ERROR, _CONTINUED = 3, 4, 5  # ggml.h
_kept = [False]


def _say(level: int, text: bytes, _data: object) -> None:
    if level != _CONTINUED:
        _kept[0] = level in (_WARN, _ERROR)
    if _kept[0]:
        os.write(2, text)


#: C keeps a pointer to it: it must live as long as the process
_CALLBACK = llama_cpp.llama_log_callback(_say)


def keep_warnings() -> None:
    """Filter from now on."""
    llama_cpp.llama_log_set(_CALLBACK, ctypes.c_void_p(0))
