"""What did a life of ours leave on the bus that was killed in the middle of a write?

Our temporaries are called `.<name>.<pid>.tmp` (`durable.temporary_beside`). The peers' are called otherwise (`.x.tmp`,
`x.tmp`, `.x.<8 or 32 random characters>.tmp`) and are theirs to remove.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from reactord import durable

#: no write takes so long
OLD_S = 3600.0
#: a process id has seven digits at most
_OURS = re.compile(rf"\A\..+\.\d{{1,7}}{re.escape(durable.TEMPORARY)}\Z", re.DOTALL)


def sweep(directory: Path, now: float) -> None:
    """Remove our own old temporaries; one that may not be removed stays. Raises OSError for the directory itself."""
    for name in os.listdir(directory):  # noqa: PTH208 - names, not paths
        if _OURS.match(name):
            with contextlib.suppress(OSError):
                if now - (directory / name).lstat().st_mtime > OLD_S:
                    durable.remove(directory / name)
