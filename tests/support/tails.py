"""What is new in the file that has a name now?"""

from __future__ import annotations

import os
from pathlib import Path

from reactord.ipc import tail


def read_new(path: Path, position: tail.Position | None) -> tail.Chunk | None:
    descriptor = tail.opened(path)
    if descriptor is None:
        return None
    try:
        return tail.read_on(descriptor, position)
    finally:
        os.close(descriptor)
