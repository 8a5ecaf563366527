"""The same as the command `reactord`: `python -m reactord.cli`."""

from __future__ import annotations

import sys

from reactord.cli import main

if __name__ == "__main__":
    sys.exit(main())
