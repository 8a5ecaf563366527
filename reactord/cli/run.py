"""How does the daemon start in the foreground? `reactord run`."""

from __future__ import annotations

import argparse

from reactord import daemon, settings
from reactord.home import Home


def command(home: Home, options: argparse.Namespace) -> int:
    """Run until SIGTERM or ^C. Raises BadConfig, AlreadyRunning and other EnvironmentTrouble in plain words."""
    return daemon.run(home, settings.load(home, port=options.port))
