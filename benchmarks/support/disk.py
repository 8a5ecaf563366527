"""Where do the file benchmarks run? On an ext4 image in memory where that can be mounted, else on the plain disk.

The plain disk of a virtual machine is throttled and differs tenfold from minute to minute; an image in memory is
repeatable, and its file system does the same work.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

IMAGE_BYTES = 6 * 1024**3
MEMORY = Path("/dev/shm")


@contextlib.contextmanager
def workplace() -> Iterator[tuple[Path, str]]:
    """(an empty directory, what it lies on); everything is gone afterwards."""
    scratch = Path(tempfile.mkdtemp(prefix="reactord-bench-", dir=MEMORY if MEMORY.is_dir() else None))
    mounted = scratch / "mounted"
    mounted.mkdir()
    try:
        if _mount(scratch / "image", mounted):
            yield mounted, "ext4 image in memory"
        else:
            with tempfile.TemporaryDirectory(prefix="reactord-bench-") as plain:
                yield Path(plain), "the plain disk"
    finally:
        if os.path.ismount(mounted):
            subprocess.run(["umount", mounted], check=True)
        shutil.rmtree(scratch)


def _mount(image: Path, mounted: Path) -> bool:
    if os.geteuid() != 0 or not MEMORY.is_dir() or not shutil.which("mkfs.ext4"):
        return False
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    made = subprocess.run(["mkfs.ext4", "-q", image], check=False, capture_output=True)
    if made.returncode:
        return False
    return subprocess.run(["mount", "-o", "loop", image, mounted], check=False, capture_output=True).returncode == 0
