"""The name under which Body's supervisor starts the Reactor: `python run_reactor.py --port 8090`.

The supervisor may use another interpreter than ours. Then this process becomes the one in `.venv`: same pid, no fork.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def main() -> int:
    """Run the daemon in the foreground with the arguments given."""
    ours = ROOT / ".venv" / "bin" / "python"
    try:
        # the package lies beside us, so every interpreter finds it; only the right one has all that the daemon imports
        from reactord.cli import main as command  # noqa: PLC0415
        from reactord.cli import run as _  # noqa: F401, PLC0415
    except (ImportError, TypeError):  # TypeError: a Python before 3.10 does not know dataclass(slots=...)
        if not ours.exists() or Path(sys.prefix) == ours.parent.parent:
            print(f"reactord is not installed. Run: make -C {ROOT} install", file=sys.stderr)  # noqa: T201
            return 1
        os.execv(ours, [str(ours), str(ROOT / "run_reactor.py"), *sys.argv[1:]])  # noqa: S606 - that is the point
    return command(["run", *sys.argv[1:]])


if __name__ == "__main__":
    raise SystemExit(main())
