"""Are the C kernels here, and are they the ones this Python was written for?

Importing the package is the check: it binds `ffi` and `lib`, or raises `MissingCompiler`. There is no pure-Python
fallback, because a fallback hides for years that the kernels never loaded. Nobody but this package touches `lib`.
"""

from __future__ import annotations

from reactord.errors import MissingCompiler

ABI_VERSION = 5  # RK_ABI_VERSION in native/include/rk.h

try:
    from reactord.kernels._native import ffi, lib
except ImportError as error:
    raise MissingCompiler(f"The C kernels did not load ({error}). Build them: make install") from error

if lib.rk_abi_version() != ABI_VERSION:
    raise MissingCompiler(
        f"The C kernels are version {lib.rk_abi_version()}, this Python needs {ABI_VERSION}. Rebuild them: make install"
    )

__all__ = ["ABI_VERSION", "ffi", "lib"]
