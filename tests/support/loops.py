"""How does a test get a file system of its own, and cut its power?

Images in memory, mounted through a loop device. `shutdown` is what `xfs_io -x -c shutdown` calls: the file system stops
at once and writes nothing more, neither the page cache nor the journal it has not committed; mounting it again runs the
real recovery. It is one ioctl, so xfsprogs is not needed; nor is mkfs.xfs, for the image beside this module was made by
`TEST_DIR=x TEST_DEV=x QA_CHECK_FS=1 mkfs.xfs xfs.img` (xfsprogs 6.1, 16 MiB; the variables allow so small a one).
"""

from __future__ import annotations

import fcntl
import functools
import lzma
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHUTDOWN, WITHOUT_LOG = 0x8004587D, struct.pack("I", 2)
IMAGE_BYTES = 16 * 1024 * 1024
XFS_IMAGE = Path(__file__).with_name("xfs.img.xz")
PATH = f"{os.environ.get('PATH', '')}:/sbin:/usr/sbin"
OPTIONS = {"ext4": "loop", "xfs": "loop,nouuid"}


@functools.cache
def missing(kind: str) -> str | None:
    """Why there can be no file system of this kind here, in one line; None when there can. `kind` may be tmpfs."""
    if sys.platform != "linux":
        return f"mounting {kind} needs Linux"
    if os.geteuid() != 0:
        return f"mounting {kind} needs root"
    for tool in ("mount", "umount", *(["mkfs.ext4"] if kind == "ext4" else [])):
        if shutil.which(tool, path=PATH) is None:
            return f"mounting {kind} needs {tool}: apt install e2fsprogs mount"
    directory = Path(tempfile.mkdtemp(prefix="reactord-loop-", dir=_memory()))
    try:
        with tmpfs(directory / "tmpfs", "1m") if kind == "tmpfs" else Image(kind, directory).mounted():
            return None
    except subprocess.CalledProcessError as refused:
        return f"this kernel or container does not mount {kind}: {refused.stderr.strip()}"
    finally:
        shutil.rmtree(directory)


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


class Image:
    """A file with an empty file system of `kind` in it, and the directory where it is mounted."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.kind, self.directory = kind, directory
        self.file, self.root = directory / f"{kind}.img", directory / f"{kind}.mounted"
        self._is_mounted = False  # kept here: after a shutdown XFS answers EIO to whoever asks
        self.root.mkdir()
        if kind == "xfs":
            self.file.write_bytes(lzma.decompress(XFS_IMAGE.read_bytes()))
        else:
            with self.file.open("wb") as file:
                file.truncate(IMAGE_BYTES)
            _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0", self.file)

    def mount(self) -> None:
        _run("mount", "-t", self.kind, "-o", OPTIONS[self.kind], self.file, self.root)
        self._is_mounted = True

    def unmount(self) -> None:
        """Nothing of ours is left mounted, and the loop device goes with it, whatever happened before."""
        if self._is_mounted:
            _run("umount", self.root)
            self._is_mounted = False

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        try:
            self.mount()
            yield self.root
        finally:
            self.unmount()

    def own_its_journal(self) -> None:
        """Before mounting: every block has room below; after `give_back_free_blocks` only new data needs some."""
        self.file.write_bytes(self.file.read_bytes())

    def give_back_free_blocks(self) -> None:
        _run("fstrim", self.root)

    def lose_power(self) -> None:
        """What was not made durable is gone; the file system is mounted again after its recovery."""
        descriptor = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, WITHOUT_LOG)
        finally:
            os.close(descriptor)
        self.unmount()
        self.mount()


@contextmanager
def tmpfs(root: Path, size: str) -> Iterator[Path]:
    """A file system of so many bytes in memory."""
    root.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", root)
    try:
        yield root
    finally:
        _run("umount", root)


def _run(*arguments: str | Path) -> None:
    subprocess.run([*map(str, arguments)], check=True, capture_output=True, text=True, env={**os.environ, "PATH": PATH})
