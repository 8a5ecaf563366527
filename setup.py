"""How is reactord built? pyproject.toml says all but this: the C kernels, and what a missing compiler says."""

from __future__ import annotations

import sys

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError, PlatformError

NO_COMPILER = """
reactord's kernels are written in C, and compiling them failed (the compiler's own words are above).
They need a C11 compiler and Python's headers. Install them:

    Debian, Ubuntu:   sudo apt-get install build-essential python3-dev
    Fedora, RHEL:     sudo dnf install gcc python3-devel
    macOS:            xcode-select --install

and then run: make install
"""


class BuildKernels(build_ext):
    """setuptools' build_ext, except that a failed compilation tells the reader what to type."""

    def run(self) -> None:
        try:
            super().run()
        except (CompileError, LinkError, PlatformError, OSError) as error:
            sys.stderr.write(NO_COMPILER)
            raise SystemExit(f"error: {error}") from error


setup(
    cffi_modules=["native/build_native.py:ffi"],
    cmdclass={"build_ext": BuildKernels},
    # cffi emits an abi3 module by itself; without this the wheel would be tagged for one Python only
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
